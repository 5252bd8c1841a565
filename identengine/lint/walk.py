"""The walk over a book that serves all checks, and the findings of a whole version (engine.md 8.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from identengine.lint.competition import Competition
from identengine.lint.didchecks import collisions, no_dids
from identengine.lint.examples import Examples
from identengine.lint.findings import CHECKS, Collector, Finding, Keys, Probe, Sink, Trouble
from identengine.lint.pages import Pages
from identengine.lint.places import Places
from identengine.lint.rowchecks import (
    ROW_CHECKS,
    SwitchAddresses,
    Tables,
    client_troubles,
    found_probe,
    missed_probe,
    vendor_probe,
)
from identengine.lint.scope import Scope
from identengine.lint.typos import Typos, Use
from identengine.lint.values import request_of, values_of
from identengine.model.records import Account, Client

Tell = Callable[[int], None]
"""A function that receives the number of accounts that were read."""
_STEP = 1000
_SHARED = frozenset({"tie", "shadowed", "prefix_begins_number"})


class Linted(NamedTuple):
    """The findings of a book."""

    findings: list[Finding]
    more: dict[str, int]
    """Findings of each check that were counted and not kept."""


def lint(
    book: Pages,
    scope: Scope,
    checks: Iterable[str] = CHECKS,
    before: Keys | None = None,
    tell: Tell = lambda _: None,
) -> Linted:
    """Return the findings of a book. Troubles that it had ``before`` are left out."""
    collector = Collector(checks, before)
    places = walk(book, scope, collector, tell)
    examples = Examples(book, places, scope)
    return Linted(collector.findings(examples.example), collector.more)


def walk(book: Pages, scope: Scope, sink: Sink, tell: Tell = lambda _: None) -> Places:
    """Pass all troubles of a book to ``sink``. Return the values of its enabled accounts, sorted."""
    wanted = sink.checks
    tables = _Inherited()
    typos = Typos() if "near_typo" in wanted else None
    for client in book.clients():
        tables.add(client)
        sink.add(client_troubles(client))
        if typos is not None:
            typos.add_client(client)
    checks = ROW_CHECKS
    if scope.switches is not None and "covers_switch" in wanted:
        checks = (*checks, SwitchAddresses(scope.switches).check)
    places = Places()
    for done, account in enumerate(book.accounts()):
        if done % _STEP == 0:
            tell(done)
        if account.disabled:
            continue
        inherited = tables.of(account.client_id)
        for check in checks:
            for trouble in check(account, inherited, scope):
                sink.add((trouble,))
        if "no_dids" in wanted:
            sink.add(no_dids(account, book))
        if typos is not None:
            typos.add_account(account)
        for key, _, network in values_of(account, scope.prefixes):
            places.add(key, network, account.id)
    places.sort()
    if not wanted.isdisjoint(_SHARED):
        sink.add(Competition(book, places, scope).troubles())
    if "did_collision" in wanted:
        sink.add(collisions(book, scope.prefixes))
    if typos is not None:
        sink.add(_with_probe(book, *found) for found in typos.near())
    return places


class _Inherited:
    """The rate tables that the accounts of each client inherit."""

    def __init__(self) -> None:
        self._own: dict[int, tuple[int | None, Tables]] = {}
        self._distinct: dict[Tables, Tables] = {}

    def add(self, client: Client) -> None:
        """Add a client."""
        tables = Tables(client.rate_table, client.term_rate_table)
        self._own[client.id] = client.parent_id, self._distinct.setdefault(tables, tables)

    def of(self, client_id: int) -> Tables:
        """Return the tables of a client, or else those of the nearest reseller above."""
        parent, tables = self._own.get(client_id, (None, _NO_TABLES))
        if parent is None or (tables.rate_table and tables.term_rate_table):
            return tables
        self._own[client_id] = None, tables  # a loop of resellers ends here
        above = self.of(parent)
        tables = Tables(tables.rate_table or above.rate_table, tables.term_rate_table or above.term_rate_table)
        self._own[client_id] = None, self._distinct.setdefault(tables, tables)
        return tables


_NO_TABLES = Tables(None, None)


def _with_probe(book: Pages, trouble: Trouble, use: Use, common: str) -> Trouble:
    """Return the trouble of a name that is probably mistyped, with a request that shows it."""
    account = book.account(use.id) if use.table == "account" else None
    return trouble if account is None else trouble._replace(probe=_typo_probe(account, use, common))


def _typo_probe(account: Account, use: Use, common: str) -> Probe | None:
    if use.column == "term_rate_table":
        return vendor_probe(account) if account.term_enabled else None
    if not account.orig_enabled:
        return None
    if use.column in ("gateways", "term_protocol"):
        name = "gateway" if use.column == "gateways" else "protocol"
        request = msgspec.structs.replace(request_of(account, account.ident[0]), **{name: common})
        return missed_probe(account, request, account.ident[0])
    return found_probe(account)
