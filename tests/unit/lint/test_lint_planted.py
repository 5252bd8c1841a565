"""Each trouble of engine.md 8.5, planted once in a clean book of 1,000 accounts. Its example shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pytest
from support.pages import Pages

from benchmarks import books
from identengine.engine.core import Engine
from identengine.identify.builder import build
from identengine.identify.explain import Explanation
from identengine.lint.findings import CHECKS, Finding
from identengine.lint.scope import Scope, scope_of
from identengine.lint.walk import lint
from identengine.model.addresses import Network, parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Did, IdentBy, Request, SrcPolicy

SWITCHES: tuple[tuple[str, Network], ...] = (("sbc1", parse_network("203.0.113.0/30")[0]),)
SCOPE = scope_of(IdentifyOptions(), switches=SWITCHES)
PASSWORD = "enc:none"
SOURCE = "203.0.113.77"
"""An address that no account of the generator has."""


@cache
def clean() -> tuple[list[Client], list[Account], list[Did]]:
    """Return a book of the generator, with passwords for names and gateways for calling numbers."""
    made = books.make(1000, requests=0)
    rows = [
        msgspec.structs.replace(
            row,
            password=PASSWORD if row.ident_by is IdentBy.NAME else None,
            gateways=("EDGE",) if row.ident_by is IdentBy.ANI else (),
        )
        for row in made.accounts
    ]
    return made.clients, rows, made.dids


def account(account_id: int, ident: str, ident_by: str = "ip", client_id: int = 1, **fields: Any) -> Account:
    return Account(
        id=account_id,
        client_id=client_id,
        name=f"planted {account_id}",
        ident_by=IdentBy(ident_by),
        ident=tuple(ident.split(";")),
        **fields,
    )


def vendor(account_id: int, ident: str, ident_by: str = "ip", **fields: Any) -> Account:
    rated: dict[str, Any] = {"term_rate_table": "rates-1", "orig_enabled": False, "term_enabled": True}
    return account(account_id, ident, ident_by, **rated | fields)


class Planted(NamedTuple):
    """Rows that have one trouble, and the finding that they must have."""

    name: str
    rows: list[Account | Client | Did]
    expected: list[tuple[str, str, tuple[int, ...]]]
    """Check, severity and accounts (or clients) of each finding."""
    shows: Callable[[Explanation], bool] | None = None
    """The test of the explained example; None if there is no example."""
    scope: Scope = SCOPE


def accepted(account_id: int) -> Callable[[Explanation], bool]:
    return lambda told: told.decision.accepted and told.decision.account_id == account_id


def rejected(reason: str) -> Callable[[Explanation], bool]:
    return lambda told: told.decision.reason == reason


def other_than(account_id: int) -> Callable[[Explanation], bool]:
    """Return the test that the account is a candidate, and another one is found."""

    def test(told: Explanation) -> bool:
        ids = [one.account_id for one in told.candidates]
        return told.decision.account_id != account_id and account_id in ids

    return test


OFTEN = [account(900 + n, f"203.0.113.{100 + n}", orig_routing_plan="LCR-Standard") for n in range(5)]
GATEWAYS = [account(900 + n, f"203.0.113.{100 + n}", gateways=("LON-GATE",)) for n in range(5)]
PREFIXED = scope_of(IdentifyOptions(international_prefixes=("00",)))
NORMAL = scope_of(IdentifyOptions(passwordless_name="normal"))
ONLY_IP = scope_of(IdentifyOptions(classes=("ip",)))

PLANTED = (
    Planted(
        "a tie of two clients",
        [account(2001, SOURCE), account(2002, SOURCE, client_id=2)],
        [("tie", "error", (2001, 2002)), ("shadowed", "warning", (2002,))],
        lambda told: told.decision.ambiguous is True,
    ),
    Planted(
        "a tie of one client",
        [account(2001, SOURCE, tech_prefix="5#"), account(2002, SOURCE, tech_prefix="5#")],
        [("tie", "warning", (2001, 2002)), ("shadowed", "warning", (2002,))],
        lambda told: told.decision.ambiguous is True,
    ),
    Planted(
        "a tie of terminators",
        [vendor(2001, SOURCE), vendor(2002, SOURCE, client_id=2)],
        [("tie", "error", (2001, 2002))],
        lambda told: told.decision.ambiguous is True,
    ),
    Planted(
        "a tie in one of two gateways",
        [account(2001, SOURCE, gateways=("A", "B")), account(2002, SOURCE, gateways=("b", "C"))],
        [("tie", "warning", (2001, 2002))],
        lambda told: told.decision.ambiguous is True,
    ),
    Planted(
        "a network that narrower networks fill",
        [
            account(2001, "203.0.113.64/26"),
            account(2002, "203.0.113.64/27;203.0.113.96/28", client_id=2),
            account(2003, "203.0.113.112/28", client_id=3),
        ],
        [("shadowed", "warning", (2001,))],
        other_than(2001),
    ),
    Planted(
        "IPv6 networks that fill another",
        [account(2001, "2001:db8::/32", tech_prefix="9#"), account(2002, "2001:db8::/33;2001:db8:8000::/33")],
        [("shadowed", "warning", (2001,))],
        other_than(2001),
    ),
    Planted(
        "no DIDs",
        [account(2001, SOURCE, src_policy=SrcPolicy.OVERWRITE)],
        [("no_dids", "warning", (2001,))],
        rejected("no_did"),
    ),
    Planted(
        "no password",
        [account(2001, "someone", "name")],
        [("no_password", "warning", (2001,))],
        lambda told: [one.ruled_out_by for one in told.candidates] == ["passwordless_name"],
    ),
    Planted(
        "no password, and a name is enough",
        [account(2001, "someone", "name")],
        [("no_password", "warning", (2001,))],
        accepted(2001),
        NORMAL,
    ),
    Planted(
        "a number through any gateway",
        [account(2001, "442079460999", "ani")],
        [("ani_without_gateway", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "a port of its own",
        [account(2001, SOURCE, term_enabled=True, term_rate_table="rates-1", term_port=5060)],
        [("own_constraint", "error", (2001,))],
        rejected("port_mismatch"),
    ),
    Planted(
        "a protocol of its own",
        [account(2001, SOURCE, term_enabled=True, term_rate_table="rates-1", term_protocol="SIP")],
        [("own_constraint", "error", (2001,))],
        rejected("protocol_mismatch"),
    ),
    Planted(
        "a country code as tech prefix",
        [account(2001, SOURCE, tech_prefix="44")],
        [("prefix_begins_number", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "a tech prefix that begins another one",
        [account(2001, SOURCE, tech_prefix="88"), account(2002, SOURCE, tech_prefix="8844", client_id=2)],
        [("prefix_begins_number", "warning", (2001,))],
        other_than(2001),
    ),
    Planted(
        "a tech prefix that begins a number of the same address",
        [
            account(2001, SOURCE, tech_prefix="4420"),
            account(2002, SOURCE, client_id=2),
            Did(number="442079460999", account_id=2002),
        ],
        [("prefix_begins_number", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "half of the Internet",
        [account(2001, "128.0.0.0/1", tech_prefix="5#")],
        [("whole_internet", "warning", (2001,)), ("covers_switch", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "all of IPv6",
        [account(2001, "::/0")],
        [("whole_internet", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "the address of a switch",
        [account(2001, "203.0.113.2")],
        [("covers_switch", "warning", (2001,))],
        accepted(2001),
    ),
    Planted(
        "no rate table",
        [Client(id=5000, name="poor"), account(2001, SOURCE, client_id=5000)],
        [("never_pays", "info", (2001,))],
        lambda told: accepted(2001)(told) and told.decision.rate_table is None,
    ),
    Planted(
        "no rate table of termination",
        [vendor(2001, SOURCE, term_rate_table=None)],
        [("never_pays", "info", (2001,))],
        lambda told: accepted(2001)(told) and told.decision.rate_table is None,
    ),
    Planted("a limit of 0", [account(2001, SOURCE, orig_capacity=0)], [("zero_limit", "info", (2001,))]),
    Planted(
        "a client's limit of 0",
        [Client(id=5000, name="closed", rate_table="rates-1", term_capacity=0)],
        [("zero_limit", "info", (5000,))],
    ),
    Planted(
        "a vendor without an address",
        [vendor(2001, "203.0.113.64/28")],
        [("unreachable_vendor", "warning", (2001,))],
        lambda told: accepted(2001)(told) and not (told.decision.host or told.decision.proxy),
    ),
    Planted(
        "a mistyped routing plan",
        [*OFTEN, account(2001, SOURCE, orig_routing_plan="LCR-Standrd")],
        [("near_typo", "warning", (2001,))],
        lambda told: told.decision.routing_plan == "LCR-Standrd",
    ),
    Planted(
        "a mistyped gateway",
        [*GATEWAYS, account(2001, SOURCE, gateways=("lon-gats",))],
        [("near_typo", "warning", (2001,))],
        rejected("gateway_mismatch"),
    ),
    Planted(
        "two DIDs with and without 00",
        [
            account(2001, SOURCE, src_policy=SrcPolicy.REJECT),
            account(2002, "203.0.113.78"),
            Did(number="00442079460999", account_id=2001),
            Did(number="442079460999", account_id=2002),
        ],
        [("did_collision", "warning", (2002, 2001))],
        accepted(2001),
        PREFIXED,
    ),
)


def book_with(rows: Iterable[Account | Client | Did]) -> tuple[list[Client], list[Account], list[Did]]:
    clients, accounts, dids = clean()
    return (
        [*clients, *(row for row in rows if isinstance(row, Client))],
        [*accounts, *(row for row in rows if isinstance(row, Account))],
        [*dids, *(row for row in rows if isinstance(row, Did))],
    )


def summary(found: Iterable[Finding]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(one.check, one.severity, one.accounts or one.clients) for one in found]


def test_a_clean_book_has_no_findings() -> None:
    assert lint(Pages(*clean()), SCOPE).findings == []


def test_the_generators_own_book_has_two_honest_findings() -> None:
    made = books.make(1000, requests=0)
    found = lint(Pages(made.clients, made.accounts, made.dids), SCOPE).findings
    assert {one.check for one in found} == {"no_password", "ani_without_gateway"}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_trouble_is_the_only_finding_and_its_example_shows_it(planted: Planted) -> None:
    clients, accounts, dids = book_with(planted.rows)
    found = lint(Pages(clients, accounts, dids), planted.scope).findings
    assert summary(found) == planted.expected
    engine = Engine()
    engine.take_up(build(planted.scope.options, 1, bytes(32), clients, accounts, dids))
    for finding in found:
        assert finding.message
        assert finding.remedy == CHECKS[finding.check].remedy
        if planted.shows is None:
            assert finding.example is None
            continue
        assert finding.example is not None
        explained = engine.explain(msgspec.convert(finding.example, Request), planted.scope.options)
        assert planted.shows(explained), explained
        if finding.check == "shadowed":
            assert other_than(finding.accounts[0])(explained)


def test_every_check_is_planted() -> None:
    assert {check for planted in PLANTED for check, _, _ in planted.expected} == set(CHECKS)


def test_accounts_of_a_class_that_is_not_tried_are_shadowed() -> None:
    rows = [account(2001, "someone", "name", password=PASSWORD)]
    found = lint(Pages([Client(id=1, name="one", rate_table="r")], rows), ONLY_IP).findings
    assert summary(found) == [("shadowed", "warning", (2001,))]
    assert found[0].example == {"name": "someone", "dst_number": "442079460123"}


HARMLESS = (
    [account(2001, SOURCE), account(2002, "203.0.113.64/26"), account(2003, SOURCE, tech_prefix="5#")],
    [account(2001, SOURCE, term_port=5060), account(2002, SOURCE, term_port=5080), account(2003, SOURCE)],
    [account(2001, SOURCE, gateways=("A",)), account(2002, SOURCE, gateways=("B",))],
    [account(2001, SOURCE), vendor(2002, SOURCE)],
    [account(2001, SOURCE), account(2002, SOURCE, orig_enabled=False)],
    [account(2001, "desk", "name", password=PASSWORD), account(2002, "desk", "name", password=PASSWORD + "2")],
    [account(2001, SOURCE, tech_prefix="99"), account(2002, SOURCE, tech_prefix="990")],
    [account(2001, SOURCE, tech_prefix="88"), account(2002, SOURCE, tech_prefix="8801")],
    [account(2001, SOURCE, orig_capacity=5, term_capacity=0)],
    [account(900 + n, f"203.0.113.{100 + n}", orig_routing_plan="plan-A" if n else "plan-B") for n in range(7)],
    [account(900 + n, f"203.0.113.{100 + n}", term_protocol="SIP" if n else "SIPS") for n in range(7)],
    [account(900 + n, f"203.0.113.{100 + n}", gateways=("GW2" if n else "GW1",)) for n in range(7)],
    [
        account(2001, "203.0.113.64/31"),
        account(2002, "203.0.113.64", tech_prefix="5#"),
        account(2003, "203.0.113.65"),
    ],
)


@pytest.mark.parametrize("rows", HARMLESS)
def test_settings_that_are_no_trouble_are_not_reported(rows: list[Account]) -> None:
    assert lint(Pages(*book_with(rows)), SCOPE).findings == []


def test_many_accounts_with_one_trouble_are_one_finding() -> None:
    rows = [account(2000 + n, f"name-{n}", "name") for n in range(150)]
    (found,) = lint(Pages(*book_with(rows)), SCOPE).findings
    assert found.count == 150
    assert len(found.accounts) == 100
    assert found.message.startswith("150 accounts log in by name without a password: 2000, 2001, 2002 and more.")


def test_a_switch_that_ignores_the_port_makes_a_tie() -> None:
    options = IdentifyOptions()
    scope = scope_of(options, (options, options.for_switch("never", None)))
    rows = [account(2001, SOURCE, term_port=5060), account(2002, SOURCE, term_port=5080)]
    assert summary(lint(Pages(*book_with(rows)), scope).findings) == [("tie", "warning", (2001, 2002))]
