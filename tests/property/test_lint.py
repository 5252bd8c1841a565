"""``tie`` and ``shadowed`` of lint, against every request of a small and dense book (engine.md 8.5)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import Pages

from identengine.identify.builder import build
from identengine.identify.explain import CandidateLimits, candidates
from identengine.identify.index import Book
from identengine.identify.matching import Match, identify
from identengine.identify.query import Query, read
from identengine.lint.findings import Collector
from identengine.lint.scope import scope_of
from identengine.lint.walk import lint, walk
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, Direction, IdentBy, Request

NETWORKS = ("10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3")
ADDRESSES = ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3")
NAMES = ("n1", "n2")
ANIS = ("41", "42")
PREFIXES = (None, "7", "77")
CLIENTS = [Client(id=1, name="one"), Client(id=2, name="two")]


@st.composite
def accounts(draw: st.DrawFn, account_id: int) -> Account:
    kind = draw(st.sampled_from((IdentBy.IP, IdentBy.IP, IdentBy.IP, IdentBy.NAME, IdentBy.ANI)))
    values = {IdentBy.IP: NETWORKS, IdentBy.NAME: NAMES, IdentBy.ANI: ANIS}[kind]
    ident = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
    gateways = draw(st.sampled_from(((), (), (), ("G1",), ("g1", "G2"), ("G2",))))
    return Account(
        id=account_id,
        client_id=draw(st.integers(1, 2)),
        name=f"account {account_id}",
        ident_by=kind,
        ident=tuple(ident),
        tech_prefix=draw(st.sampled_from(PREFIXES)),
        password=draw(st.sampled_from((None, f"password {account_id}"))),
        gateways=gateways,
        term_port=draw(st.sampled_from((None, None, 5060))),
        term_protocol=draw(st.sampled_from((None, None, "SIP"))),
        orig_enabled=draw(st.sampled_from((True, True, True, False))),
        term_enabled=kind is not IdentBy.ANI and draw(st.sampled_from((False, False, True))),
    )


@st.composite
def books(draw: st.DrawFn) -> Pages:
    rows = [draw(accounts(number)) for number in range(1, draw(st.integers(2, 6)) + 1)]
    return Pages(CLIENTS, rows)


OPTIONS = st.builds(
    IdentifyOptions,
    classes=st.sampled_from((("name", "ip", "ani"), ("ip", "name", "ani"), ("ani", "name"))),
    rank=st.sampled_from(("mask_first", "tech_prefix_first")),
    match_port=st.sampled_from(("always", "never")),
    match_protocol=st.sampled_from(("always", "never")),
    strict_ambiguity=st.booleans(),
    require_password=st.booleans(),
    passwordless_name=st.sampled_from(("deny", "after_ip", "normal")),
)


def requests(rows: Pages) -> Iterator[Request]:
    """Yield a request for each combination of the values of a book."""
    every = list(rows.accounts())
    passwords = [None, "wrong", *(row.password for row in every if row.password)]
    kinds = {row.ident_by for row in every}
    values = [
        *(("src_ip", value) for value in ADDRESSES if IdentBy.IP in kinds),
        *(("name", value) for value in NAMES if IdentBy.NAME in kinds),
        *(("src_number", value) for value in ANIS if IdentBy.ANI in kinds),
    ]
    gateways = {None, *(gateway for row in every for gateway in row.gateways)}
    ports, protocols = ({getattr(row, name) for row in every} | {None} for name in ("term_port", "term_protocol"))
    dialled = {f"{row.tech_prefix or ''}5" for row in every}
    for (field, value), number, gateway, port, protocol in product(values, dialled, gateways, ports, protocols):
        plain = Request(dst_number=number, gateway=gateway, src_port=port, protocol=protocol)
        one = msgspec.structs.replace(plain, **{field: value})
        for password in passwords:
            yield msgspec.structs.replace(one, password=password)
        yield msgspec.structs.replace(one, direction="termination")


class Truth(NamedTuple):
    """The result of all requests."""

    winners: set[int]
    """The accounts that a request of origination finds."""
    tied: set[int]
    """The accounts that a request cannot distinguish."""


def truth(book: Book, rows: Pages, options: IdentifyOptions) -> Truth:
    winners: set[int] = set()
    tied: set[int] = set()
    for request in requests(rows):
        query = read(request, book)
        assert isinstance(query, Query)
        outcome = identify(book, query, options, str)
        if isinstance(outcome, Match) and query.direction is Direction.ORIGINATION:
            winners.add(outcome.entry.account.id)
        if outcome is Reason.AMBIGUOUS or (isinstance(outcome, Match) and outcome.ambiguous):
            found, _, _ = candidates(book, query, options, str, outcome, CandidateLimits(None, None))
            equal = (None, "account_id", "ambiguous")
            tied |= {one.account_id for one in found if one.ruled_out_by in equal}
    return Truth(winners, tied)


def can_win(account: Account, options: IdentifyOptions) -> bool:
    """Return True if ``no_password`` does not report an account already."""
    denied = account.ident_by is IdentBy.NAME and account.password is None and options.passwordless_name == "deny"
    return account.orig_enabled and not (denied and "name" in options.classes)


@settings(max_examples=100, deadline=None)
@given(books(), OPTIONS)
def test_ties_and_shadowed_accounts_are_those_that_every_request_shows(
    rows: Pages, options: IdentifyOptions
) -> None:
    book = build(options, 1, bytes(32), CLIENTS, rows.accounts(), ())
    shown = truth(book, rows, options)
    found = lint(rows, scope_of(options), ("tie", "shadowed")).findings
    shadowed = {one for finding in found if finding.check == "shadowed" for one in finding.accounts}
    assert shadowed == {row.id for row in rows.accounts() if can_win(row, options)} - shown.winners
    tied = {one for finding in found if finding.check == "tie" for one in finding.accounts}
    assert tied == shown.tied


@settings(max_examples=40, deadline=None)
@given(books(), st.lists(OPTIONS, min_size=2, max_size=2))
def test_an_account_is_shadowed_only_if_no_switch_finds_it(rows: Pages, each: list[IdentifyOptions]) -> None:
    base = each[0]
    other = base.for_switch(each[1].match_port, each[1].match_protocol)
    both = Collector(("shadowed",))
    walk(rows, scope_of(base, (base, other)), both)
    found = {one for finding in both.findings(lambda _: None) for one in finding.accounts}
    book = build(base, 1, bytes(32), CLIENTS, rows.accounts(), ())
    winners = truth(book, rows, base).winners | truth(book, rows, other).winners
    assert found == {row.id for row in rows.accounts() if can_win(row, base)} - winners
