"""The values that the columns of interfaces.md 1 accept, and the messages for other values."""

from __future__ import annotations

import msgspec
import pytest
from unit.book.row import ACCOUNT, CLIENT, DID, account, mistakes, one_mistake

from identengine.book import columns
from identengine.book.mistakes import Mistake, RowError
from identengine.book.records import account_from, client_from, did_from
from identengine.errors import expected, quoted
from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.store.vault import Vault


def test_columns_are_those_of_the_interface_in_its_order() -> None:
    assert Client.__struct_fields__ == columns.CLIENT_COLUMNS
    assert Account.__struct_fields__ == columns.ACCOUNT_COLUMNS
    assert Did.__struct_fields__ == columns.DID_COLUMNS


def test_columns_that_are_not_set_have_the_defaults_of_the_interface() -> None:
    found = account(tech_prefix="", gateways="  ", notes="  ", orig_capacity=None)
    assert found == Account(id=7, client_id=1, name="trunk", ident_by=IdentBy.IP, ident=("10.0.0.5",))
    assert (found.orig_enabled, found.term_enabled, found.src_policy) == (True, False, SrcPolicy.ALLOW_ANY)
    assert client_from(CLIENT).status is ClientStatus.ACTIVE
    assert did_from(DID) == Did(number="442070001", account_id=7, status=DidStatus.ACTIVE)


def test_every_column_of_a_client() -> None:
    cells = {
        "id": " 0012 ",
        "name": ' Reseller, "B" ',
        "status": "blocked",
        "parent_id": "3",
        "rate_table": "r1",
        "routing_plan": "p1",
        "term_rate_table": "t1",
        "capacity": "0",
        "orig_capacity": "10",
        "term_capacity": "20",
        "orig_cps": "0.5",
        "notes": "two\r\nlines\tand a tab",
    }
    assert client_from(cells) == Client(
        id=12,
        name='Reseller, "B"',
        status=ClientStatus.BLOCKED,
        parent_id=3,
        rate_table="r1",
        routing_plan="p1",
        term_rate_table="t1",
        capacity=0,
        orig_capacity=10,
        term_capacity=20,
        orig_cps=0.5,
        notes="two\r\nlines\tand a tab",
    )


WHOLE = Account(
    id=7,
    client_id=1,
    name="Zoë",
    ident_by=IdentBy.ANI,
    ident=("442070001", "442070002"),
    tech_prefix="77#",
    gateways=("GW1", "gw2"),
    orig_enabled=False,
    orig_rate_table="r",
    orig_routing_plan="p",
    orig_tag="t",
    src_policy=SrcPolicy.OVERWRITE,
    orig_capacity=5,
    orig_cps=30.0,
    term_enabled=True,
    term_rate_table="tr",
    term_tag="tt",
    term_routing_ip="2001:DB8::1",
    term_capacity=9223372036854775807,
    term_protocol="SIP",
    term_proxy="proxy.example:5070",
    term_port=65535,
)
"""An account with every column set except the password."""


def test_every_column_of_an_account(vault: Vault) -> None:
    cells = {
        "id": 7,
        "client_id": "1",
        "name": "Zoë",
        "ident_by": "ani",
        "ident": ["+44 20 7000-1", "442070002", "442070001"],
        "tech_prefix": "77#",
        "password": " s p ",
        "gateways": "GW1; gw1 ;gw2",
        "notes": None,
        "orig_enabled": "NO",
        "orig_rate_table": "r",
        "orig_routing_plan": "p",
        "orig_tag": "t",
        "src_policy": "overwrite",
        "orig_capacity": 5,
        "orig_cps": 30,
        "term_enabled": True,
        "term_rate_table": "tr",
        "term_tag": "tt",
        "term_routing_ip": " 2001:DB8::1 ",
        "term_capacity": "9223372036854775807",
        "term_protocol": "SIP",
        "term_proxy": "proxy.example:5070",
        "term_port": "65535",
    }
    found = account_from(cells, None, vault)
    assert found.password is not None
    assert vault.decrypt(found.password) == " s p "
    assert found == msgspec.structs.replace(WHOLE, password=found.password)


def test_addresses_stay_as_written_and_repeats_are_one() -> None:
    found = account(ident="10.0.0.5; ;10.0.0.5/32;::ffff:10.0.0.5;2001:DB8::1;2001:db8:0::1;10.0.0.0/24;")
    assert found.ident == ("10.0.0.5", "2001:DB8::1", "10.0.0.0/24")


@pytest.mark.parametrize(
    ("written", "kept"),
    [("10.0.0.5/24", "10.0.0.0/24"), ("::ffff:10.0.0.5/120", "10.0.0.0/24"), ("2001:DB8::1/32", "2001:db8::/32")],
)
def test_host_bits_are_cleared_with_a_warning(written: str, kept: str, vault: Vault) -> None:
    warnings: list[Mistake] = []
    found = account_from(ACCOUNT | {"ident": f"192.0.2.1;{written}"}, None, vault, warnings=warnings)
    assert found.ident == ("192.0.2.1", kept)
    text = f'"{written}" has bits set after the mask; stored as "{kept}"'
    assert [warning[:3] for warning in warnings] == [("ident", written, text)]


def test_names_are_exact() -> None:
    assert account(ident_by="name", ident="acme; Acme ;acme;ac me").ident == ("acme", "Acme", "ac me")


@pytest.mark.parametrize("word", ["true", "TRUE", " 1 ", "yes", 1, True])
def test_true(word: object) -> None:
    assert account(term_enabled=word).term_enabled is True


@pytest.mark.parametrize("word", ["false", "0", "No", 0, False])
def test_false(word: object) -> None:
    assert account(orig_enabled=word).orig_enabled is False


ID = "a whole number from 1 to 9223372036854775807"
LIMIT = "a whole number from 0 (no calls) up or an empty cell (no limit)"
CPS = "calls per second from 0 (no calls) up or an empty cell (no limit)"
BOOLEAN = "true, false, 1, 0, yes or no"
CONTROL = "text without control characters"
ASCII = "a number in printable ASCII (digits, letters, * and #)"


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("id", "0", ID),
        ("id", "-3", ID),
        ("id", "1.0", ID),
        ("id", "\u0661", ID),
        ("id", "1_000", ID),
        ("id", "9223372036854775808", ID),
        ("id", "9" * 10_000, ID),
        ("id", True, ID),
        ("id", 1.0, ID),
        ("id", 10**5000, ID),
        ("id", ["1"], ID),
        ("client_id", "none", ID),
        ("name", {"a": 1}, "a string"),
        ("ident_by", "dns", '"ip", "name" or "ani"'),
        ("ident_by", 4, '"ip", "name" or "ani"'),
        ("ident", "10.1", "an IPv4 address of four parts (10.0.0.1)"),
        ("ident", "10.0.0.5:5060", "an address without a port"),
        ("ident", "010.0.0.5", "an IPv4 address without leading zeros"),
        ("ident", "fe80::1%eth0", "an address without a zone id (%...)"),
        (
            "ident",
            "10.0.0.0/255.255.255.0",
            "the mask as a length from 0 to 32 (10.0.0.0/24), not as an address",
        ),
        ("ident", "10.0.0.0/33", "a length from 0 to 32 after the /, without leading zeros"),
        ("ident", "pbx.example", "an IPv4 or IPv6 address (10.0.0.1, 2001:db8::1)"),
        ("ident", 10, "a string with ; between items, or an array of strings"),
        ("tech_prefix", "+", "a number, not only separators"),
        ("orig_enabled", "on", BOOLEAN),
        ("orig_enabled", 2, BOOLEAN),
        ("orig_enabled", 10**5000, BOOLEAN),
        ("orig_enabled", [], BOOLEAN),
        ("orig_capacity", "-1", LIMIT),
        ("orig_capacity", "ten", LIMIT),
        ("orig_capacity", -1, LIMIT),
        ("orig_cps", "-0.5", CPS),
        ("orig_cps", "nan", CPS),
        ("orig_cps", "inf", CPS),
        ("orig_cps", "1e999", CPS),
        ("orig_cps", "1_0", CPS),
        ("orig_cps", 10**400, CPS),
        ("orig_cps", False, CPS),
        ("term_port", "0", "a port from 1 to 65535"),
        ("term_port", "65536", "a port from 1 to 65535"),
        ("term_routing_ip", "192.0.2.1", 'an empty cell unless ident_by is "ani"'),
    ],
    ids=lambda part: quoted(part)[:30],
)
def test_the_message_for_a_wrong_value_names_what_is_expected(column: str, value: object, what: str) -> None:
    assert one_mistake(**{column: value}) == expected(what, value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("name", "a\tb", f'expected {CONTROL}, got "a\\tb" (U+0009 at character 2)'),
        ("name", "a\x00b", f'expected {CONTROL}, got "a\\u0000b" (U+0000 at character 2)'),
        ("name", "a\u2028b", f'expected {CONTROL}, got "a\\u2028b" (U+2028 at character 2)'),
        ("name", "ab\ud800", "expected text, got half a surrogate pair (U+D800) at character 3"),
        ("name", "ab\udcff", "expected UTF-8, got the byte FF at character 3"),
        ("name", "n" * 256, "expected at most 255 characters, got 256"),
        ("name", 17, 'expected a string, got 17; did you mean "17"?'),
        ("name", True, "expected a string, got true"),
        ("notes", "a\x00", f'expected {CONTROL}, got "a\\u0000" (U+0000 at character 2)'),
        ("notes", "n" * 65_537, "expected at most 65536 characters, got 65537"),
        ("ident_by", "IP", 'expected "ip", "name" or "ani", got "IP"; did you mean "ip"?'),
        (
            "src_policy",
            "allow",
            'expected "allow_any", "reject" or "overwrite", got "allow"; did you mean "allow_any"?',
        ),
        ("ident", [10], 'expected a string, got 10; did you mean "10"?'),
        ("ident", ["10.0.0.1;10.0.0.2"], 'expected items without ;, got "10.0.0.1;10.0.0.2"'),
        ("tech_prefix", "7\t7", f'expected {ASCII}, got "7\\t7"; "\\t" is not allowed'),
        (
            "tech_prefix",
            "5" * 65,
            "expected a number of at most 64 characters, got 65",
        ),
        ("tech_prefix", 77, 'expected a string, got 77; did you mean "77"?'),
        ("gateways", "g1;g\x012", f'expected {CONTROL}, got "g\\u00012" (U+0001 at character 2)'),
        ("gateways", ["g;1"], 'expected items without ;, got "g;1"'),
        ("orig_tagg", "x", 'no such column; did you mean "orig_tag"?'),
    ],
)
def test_the_whole_message_for_a_wrong_value(column: str, value: object, message: str) -> None:
    assert one_mistake(**{column: value}) == message


@pytest.mark.parametrize(
    ("ident", "message"),
    [
        ("44 20y!", None),
        ("+", 'expected a number, not only separators, got "+"'),
        ("44é", f'expected {ASCII}, got "44é"; "é" is not allowed'),
        (["44;5"], 'expected items without ;, got "44;5"'),
    ],
)
def test_numbers_that_identify(ident: object, message: str | None) -> None:
    if message is None:
        assert account(ident_by="ani", ident=ident).ident == ("4420y!",)
    else:
        [(column, _, found)] = mistakes(ident_by="ani", ident=ident)
        assert (column, found) == ("ident", message)


@pytest.mark.parametrize("address", ["10.0.0.0/24", "10.0.0.1;10.0.0.2", "example.com", "::1%1"])
def test_the_routing_address_is_one_address(address: str) -> None:
    [(column, value, _)] = mistakes(ident_by="ani", ident="44", term_routing_ip=address)
    assert (column, value) == ("term_routing_ip", address)


def test_each_bad_item_of_a_list_is_named_and_the_row_has_all_its_mistakes() -> None:
    found = mistakes(ident="10.0.0.1;x;10.0.0.0/40", orig_capacity="-1", name="")
    assert [(column, value) for column, value, _ in found] == [
        ("orig_capacity", "-1"),
        ("name", ""),
        ("ident", "x"),
        ("ident", "10.0.0.0/40"),
    ]


@pytest.mark.parametrize("ident", ["", " ", [], None], ids=repr)
def test_an_ident_is_required(ident: object) -> None:
    assert one_mistake(ident=ident) == "a value is required"


@pytest.mark.parametrize("ident", [";;", [" "]], ids=repr)
def test_an_ident_is_more_than_separators(ident: object) -> None:
    assert one_mistake(ident=ident) == expected("at least one item", ident)


def test_a_missing_column_and_a_long_value() -> None:
    with pytest.raises(RowError, match="client_id: a value is required"):
        account_from({"id": "1", "name": "n", "ident_by": "ip", "ident": "::1"}, None, None)
    [(_, value, _)] = mistakes(name="n" * 1000)
    assert value == "n" * 79 + "…"


def test_a_client_is_not_its_own_reseller() -> None:
    with pytest.raises(RowError, match="parent_id: reseller loop: 1 → 1"):
        client_from(CLIENT | {"parent_id": "1"})
