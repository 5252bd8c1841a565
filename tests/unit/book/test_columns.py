"""What the columns of interfaces.md 1 may hold, and what is said of what they may not."""

from __future__ import annotations

import msgspec
import pytest
from unit.book.row import ACCOUNT, CLIENT, DID, account, mistakes, one_mistake

from identengine.book import columns
from identengine.book.mistakes import Mistake, RowError
from identengine.book.records import account_from, client_from, did_from
from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.store.vault import Vault


def test_columns_are_those_of_the_interface_in_its_order() -> None:
    assert Client.__struct_fields__ == columns.CLIENT_COLUMNS
    assert Account.__struct_fields__ == columns.ACCOUNT_COLUMNS
    assert Did.__struct_fields__ == columns.DID_COLUMNS


def test_what_is_not_set_has_the_defaults_of_the_interface() -> None:
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
"""The account of which every column is set, but for its password."""


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
    assert warnings == [Mistake("ident", written, f"bits after the mask were set; taken as {kept}")]


def test_names_are_exact() -> None:
    assert account(ident_by="name", ident="acme; Acme ;acme;ac me").ident == ("acme", "Acme", "ac me")


@pytest.mark.parametrize("word", ["true", "TRUE", " 1 ", "yes", 1, True])
def test_true(word: object) -> None:
    assert account(term_enabled=word).term_enabled is True


@pytest.mark.parametrize("word", ["false", "0", "No", 0, False])
def test_false(word: object) -> None:
    assert account(orig_enabled=word).orig_enabled is False


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", "0", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "-3", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "1.0", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "\u0661", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "1_000", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "9223372036854775808", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", "9" * 10_000, "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", True, "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", 1.0, "a whole number from 1 to 9223372036854775807 is wanted"),
        ("id", ["1"], "a whole number from 1 to 9223372036854775807 is wanted"),
        ("client_id", "none", "a whole number from 1 to 9223372036854775807 is wanted"),
        ("name", "a\tb", "no control characters (tab, line end) are wanted; character 2 is '\\t'"),
        ("name", "a\x00b", "no control characters (tab, line end) are wanted; character 2 is '\\x00'"),
        ("name", "a\u2028b", "no control characters (tab, line end) are wanted; character 2 is '\\u2028'"),
        ("name", "ab\ud800", "characters are wanted; '\\ud800' at 3 is half of one"),
        ("name", "n" * 256, "at most 255 characters are wanted, these are 256"),
        ("name", 17, "a text is wanted, in quotes"),
        ("name", {"a": 1}, "a text is wanted, in quotes"),
        ("notes", "a\x00", "no control characters (tab, line end) are wanted; character 2 is '\\x00'"),
        ("notes", "n" * 65_537, "at most 65536 characters are wanted, these are 65537"),
        ("ident_by", "IP", "ip, name or ani is wanted; ip is meant?"),
        ("ident_by", "dns", "ip, name or ani is wanted"),
        ("ident_by", 4, "ip, name or ani is wanted"),
        ("src_policy", "allow", "allow_any, reject or overwrite is wanted; allow_any is meant?"),
        ("ident", "10.1", "an IPv4 address has four parts (10.0.0.1)"),
        ("ident", "10.0.0.5:5060", "an address without port is wanted"),
        ("ident", "010.0.0.5", "an IPv4 address has no leading zeros"),
        ("ident", "fe80::1%eth0", "an address without zone id (%...) is wanted"),
        ("ident", "10.0.0.0/255.255.255.0", "a mask is a length from 0 to 32 (10.0.0.0/24), not an address"),
        ("ident", "10.0.0.0/33", "the length after / must be a number from 0 to 32, without leading zeros"),
        ("ident", "pbx.example", "an IPv4 or IPv6 address is wanted (10.0.0.1, 2001:db8::1)"),
        ("ident", 10, "a text with ; between the items is wanted, or an array of texts"),
        ("ident", [10], "a text is wanted, in quotes"),
        ("ident", ["10.0.0.1;10.0.0.2"], "no ; may stand within an item of a list, as in '10.0.0.1;10.0.0.2'"),
        ("tech_prefix", "7\t7", "a number is digits, letters, * and # in plain ASCII; '\\t' has no place in it"),
        ("tech_prefix", "5" * 65, "a number of at most 64 characters is wanted, this one has 65"),
        ("tech_prefix", "+", "a number is wanted; nothing is left of this one without its punctuation"),
        ("tech_prefix", 77, "a text is wanted, in quotes"),
        ("gateways", "g1;g\x012", "no control characters (tab, line end) are wanted; character 2 is '\\x01'"),
        ("gateways", ["g;1"], "no ; may stand within an item of a list, as in 'g;1'"),
        ("orig_enabled", "on", "true, false, 1, 0, yes or no is wanted"),
        ("orig_enabled", 2, "true, false, 1, 0, yes or no is wanted"),
        ("orig_enabled", [], "true, false, 1, 0, yes or no is wanted"),
        ("orig_capacity", "-1", "a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)"),
        ("orig_capacity", "ten", "a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)"),
        ("orig_capacity", -1, "a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)"),
        ("orig_cps", "-0.5", "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", "nan", "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", "inf", "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", "1e999", "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", "1_0", "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", 10**400, "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("orig_cps", False, "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"),
        ("term_port", "0", "a port from 1 to 65535 is wanted"),
        ("term_port", "65536", "a port from 1 to 65535 is wanted"),
        ("term_routing_ip", "192.0.2.1", "only where ident_by is ani a value is wanted here"),
        ("orig_tagg", "x", "no such column; orig_tag is meant?"),
    ],
)
def test_a_value_that_cannot_be_used_says_what_would_be_right(column: str, value: object, expected: str) -> None:
    assert one_mistake(**{column: value}) == expected


@pytest.mark.parametrize(
    ("ident", "expected"),
    [
        ("44 20x,", None),
        ("+", "a number is wanted; nothing is left of this one without its punctuation"),
        ("44é", "a number is digits, letters, * and # in plain ASCII; 'é' has no place in it"),
        (["44;5"], "no ; may stand within an item of a list, as in '44;5'"),
    ],
)
def test_numbers_that_identify(ident: object, expected: str | None) -> None:
    if expected is None:
        assert account(ident_by="ani", ident=ident).ident == ("4420x,",)
    else:
        [(column, _, said)] = mistakes(ident_by="ani", ident=ident)
        assert (column, said) == ("ident", expected)


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
def test_an_account_is_never_known_by_nothing(ident: object) -> None:
    assert one_mistake(ident=ident) == "a value is wanted here"


@pytest.mark.parametrize("ident", [";;", [" "]], ids=repr)
def test_an_account_is_never_known_by_separators_alone(ident: object) -> None:
    assert one_mistake(ident=ident) == "at least one item is wanted; here are separators or blanks alone"


def test_a_missing_column_and_a_long_value() -> None:
    with pytest.raises(RowError, match="client_id: a value is wanted here"):
        account_from({"id": "1", "name": "n", "ident_by": "ip", "ident": "::1"}, None, None)
    [(_, value, _)] = mistakes(name="n" * 1000)
    assert value == "n" * 79 + "…"


def test_a_client_is_not_its_own_reseller() -> None:
    with pytest.raises(RowError, match="parent_id '1': a client cannot be its own reseller"):
        client_from(CLIENT | {"parent_id": "1"})
