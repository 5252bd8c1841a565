"""Explain: each account that a request touches, its rank, and all that ruled it out (engine.md 8.7).

It walks the chains with the functions of :mod:`identengine.identify.matching`. Rule: it decides nothing itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from identengine.identify import index
from identengine.identify.chains import outwards
from identengine.identify.index import AccountEntry, Book, IndexClass, Lookup, counted_by
from identengine.identify.matching import (
    FURTHEST,
    MATCHED_BY,
    Match,
    MatchedBy,
    Reveal,
    best_of,
    credentials_of,
    head_of,
    refusal,
    verified,
)
from identengine.identify.matching import unmet as first_unmet
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

MOST = 250
"""Largest number of candidates, so that an address of many accounts does not delay other requests."""
NEAREST = 20
"""Number of candidates that are shown to a person: the nearest (:func:`nearness`)."""
MOST_VALUES = 10
"""Largest number of gateways that a candidate shows. An account may have thousands."""


class CandidateLimits(msgspec.Struct, frozen=True):
    """The numbers of candidates that an explanation examines and shows. None stands for all."""

    examined: int | None = MOST
    """Number of accounts that are examined, in the order in which they are tried."""
    shown: int | None = MOST
    """Number of examined accounts that are shown: the nearest."""


class Rank(msgspec.Struct, frozen=True):
    """The criteria that order candidates, the first one first with ``mask_first`` (engine.md 3.3)."""

    mask: int
    """Length of the network mask that matched; 0 for a name or number."""
    tech_prefix: int
    """Length of the account's tech prefix."""
    gateway: bool
    """True if the account names gateways."""
    port: bool
    """True if the account names a port, and ``match_port`` is on."""
    protocol: bool
    """True if the account names a protocol, and ``match_protocol`` is on."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account whose ident the request hit. ``ruled_out_by`` names the first check that ruled it out.

    ``ruled_out_by`` is ``None`` for the account that was found. The other values are:

    - the reason of a constraint, as ``port_mismatch``;
    - ``account_disabled``: both parts of the account are off;
    - ``direction``: the part for this direction is off;
    - ``passwordless_name``: this option denies a name account without a password;
    - ``class``: an earlier class has a candidate;
    - ``rank``: another candidate is more specific;
    - ``bad_password`` or ``auth_required``: its credentials do not hold;
    - ``account_id``: it is equal to the account that was found, but its id is higher;
    - ``ambiguous``: ``strict_ambiguity`` rejected the tie.
    """

    account_id: int
    """Id of the account."""
    account_name: str
    """Name of the account."""
    client_id: int
    """Id of the account's client."""
    client_name: str
    """Name of the account's client."""
    matched_by: MatchedBy
    """Kind of the value that the request hit: ``ip``, ``name``, ``ani`` or ``account_id``."""
    matched: str
    """Network, name or number that the request hit."""
    rank: Rank
    """Place among the candidates."""
    ruled_out_by: str | None
    """First condition that ruled the account out; null for the account that was found."""
    requires: dict[str, tuple[str, ...]] = {}
    """All conditions of the account that the request does not meet, as columns of the account. Each has the values
    of which one would suffice, at most 10. Absent if another account was preferred."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its candidates. ``cut`` is True if some candidates are left out."""

    decision: Decision
    """Decision, as ``identify`` returns it."""
    candidates: tuple[Candidate, ...] = ()
    """Accounts that the request touches, in the order in which they are tried."""
    cut: bool = False
    """True if further candidates are not shown: at most 250, and over UDP what fits into 1,400 bytes."""
    hidden: int = 0
    """Number of candidates that were examined and are not shown."""


class Verdict(NamedTuple):
    """An account that a request touches, and the first condition that ruled it out."""

    kind: IndexClass
    node: index.Candidate
    entry: AccountEntry
    ruled_out_by: str | None
    unmet: tuple[Reason, ...] = ()
    """The constraints that fail, in the order of :data:`~identengine.identify.matching.FURTHEST`."""
    off: bool = False
    """True if the account does not exist for this request, also if its constraints hold."""


Nearness = tuple[int, int, bool, int, int]
"""The key that orders candidates by their distance from the request. The nearest has the least."""


def nearness(verdict: Verdict, dialled: str) -> Nearness:
    """Return the distance of an account from a request: this is the only definition of *nearest*.

    The account that was found comes first, then accounts whose constraints all hold, then near misses by how far
    they got (engine.md 3.7). Among equals, an account that is on comes first. Fewer failing constraints are next,
    then the tech prefix that shares the longest beginning with the dialled number. The order of trial is the last.
    """
    unmet, prefix = verdict.unmet, verdict.entry.tech_prefix
    missed = len(FURTHEST) - FURTHEST.index(unmet[0]) if unmet else 0
    shared = 0
    while missed and shared < len(prefix) and prefix[shared] == dialled[shared : shared + 1]:
        shared += 1
    return int(verdict.ruled_out_by is not None), missed, verdict.off, len(unmet), -shared


def candidates(
    book: Book,
    query: Query,
    options: IdentifyOptions,
    reveal: Reveal,
    outcome: Match | Reason,
    limits: CandidateLimits,
) -> tuple[tuple[Candidate, ...], int, bool]:
    """Return the nearest candidates in the order in which they are tried, and the number of the others.

    The third value is True if more accounts than those examined may be candidates.
    """
    verdicts = _verdicts(book, query, options, reveal, outcome)
    examined = limits.examined
    seen: list[Verdict] = [*(verdicts if examined is None else islice(verdicts, examined))]
    more = examined is not None and next(verdicts, None) is not None
    shown = seen if limits.shown is None or len(seen) <= limits.shown else _nearest(seen, query, limits.shown)
    return tuple([_candidate(each, query, options) for each in shown]), len(seen) - len(shown), more


def _nearest(verdicts: Sequence[Verdict], query: Query, most: int) -> list[Verdict]:
    """Return the nearest accounts, in the order of trial."""
    dialled = query.dst_number
    keys = ((nearness(verdict, dialled), place) for place, verdict in enumerate(verdicts))
    return [verdicts[place] for place in sorted(place for _, place in heapq.nsmallest(most, keys))]


def _verdicts(
    book: Book, query: Query, options: IdentifyOptions, reveal: Reveal, outcome: Match | Reason
) -> Iterator[Verdict]:
    """Yield each account that the request touches, in the order in which they are tried."""
    decided = False
    for kind in book.classes:
        head = head_of(kind, book.enabled[query.direction], query, query.source)
        found = best_of(book, head, query, options) if head is not None and not decided else None
        seen: set[int] = set()
        if found is not None:
            for entry, ruled_out_by in _equal(kind, found, query, options, reveal, outcome):
                seen.add(entry.account.id)
                yield Verdict(kind, found, entry, ruled_out_by)
        for node, entry in _unseen(head, seen):  # only the longest network of an account counts
            missed = unmet(entry, query, options)
            why = missed[0].value if missed else "class" if decided else "rank"
            yield Verdict(kind, node, entry, why, missed)
        decided = decided or found is not None
    yield from _absent(book, query, options)


def _equal(
    kind: IndexClass,
    found: index.Candidate,
    query: Query,
    options: IdentifyOptions,
    reveal: Reveal,
    outcome: Match | Reason,
) -> Iterator[tuple[AccountEntry, str | None]]:
    """Yield the best candidate and its ties, each with the check that ruled it out.

    The account that was found comes first, then the accounts that are equal to it: a cut keeps them. An account is
    looked at only when it is asked for, since many can be equal.
    """
    won = outcome.entry.account.id if isinstance(outcome, Match) else None
    if isinstance(outcome, Match):
        yield outcome.entry, None
    given = credentials_of(query)
    checked = query.direction is Direction.ORIGINATION
    equal = "ambiguous" if outcome is Reason.AMBIGUOUS else "account_id"
    for entry in found.entries():
        if entry.account.id != won:
            holds = not checked or verified(entry, kind == "name", given, options, reveal)
            yield entry, equal if holds else refusal(given).value


def _absent(book: Book, query: Query, options: IdentifyOptions) -> Iterator[Verdict]:
    """Yield the accounts that have the ident but do not exist for this request."""
    seen: set[int] = set()
    for kind, head in _heads(book, book.disabled[query.direction], query):
        for node, entry in _unseen(head, seen):
            missed = unmet(entry, query, options)
            why = missed[0].value if missed else Reason.ACCOUNT_DISABLED.value
            yield Verdict(kind, node, entry, why, missed, off=True)
    denied = book.enabled[Direction.ORIGINATION].denied.get(query.name or "")
    if denied is not None and "name" in book.classes and query.direction is Direction.ORIGINATION:
        for node, entry in _unseen(denied, set()):
            yield Verdict("name", node, entry, "passwordless_name", unmet(entry, query, options), off=True)
    other = Direction.TERMINATION if query.direction is Direction.ORIGINATION else Direction.ORIGINATION
    for kind, head in _heads(book, book.enabled[other], query):
        for node, entry in _unseen(head, seen):
            if not (entry.account.orig_enabled and entry.account.term_enabled):
                yield Verdict(kind, node, entry, "direction", unmet(entry, query, options), off=True)


def _heads(book: Book, lookup: Lookup, query: Query) -> Iterator[tuple[IndexClass, index.Candidate | None]]:
    """Yield the chain of the request's ident value in each class."""
    source = lookup.source(query.src_ip) if query.src_ip is not None else None
    for kind in book.classes:
        yield kind, head_of(kind, lookup, query, source)


def _unseen(head: index.Candidate | None, seen: set[int]) -> Iterator[tuple[index.Candidate, AccountEntry]]:
    """Yield each account of a chain that was not seen yet, with its node, and add it to ``seen``."""
    for node in outwards(head):
        for entry in node.entries():
            if entry.account.id not in seen:
                seen.add(entry.account.id)
                yield node, entry


def unmet(entry: AccountEntry, query: Query, options: IdentifyOptions) -> tuple[Reason, ...]:
    """Return all constraints of an account that fail, in the order in which they are tested.

    After each one that fails, the matching is asked again with a value that satisfies it.
    """
    dialled, gateway, protocol, port = query.dst_number, query.gateway, query.protocol, query.src_port
    failed: list[Reason] = []
    while (reason := first_unmet(entry, dialled, gateway, protocol, port, options)) is not None:
        failed.append(reason)
        if reason is Reason.GATEWAY_MISMATCH and entry.gateways is not None:
            gateway = next(iter(entry.gateways))
        elif reason is Reason.PROTOCOL_MISMATCH:
            protocol = entry.protocol
        elif reason is Reason.PORT_MISMATCH:
            port = entry.port
        else:
            dialled = entry.tech_prefix
    return tuple(failed)


def _candidate(verdict: Verdict, query: Query, options: IdentifyOptions) -> Candidate:
    kind, node, entry = verdict.kind, verdict.node, verdict.entry
    account = entry.account
    return Candidate(
        account_id=account.id,
        account_name=account.name,
        client_id=account.client_id,
        client_name=entry.client_entry.client.name,
        matched_by=MATCHED_BY[kind],
        matched=node.matched,
        rank=Rank(node.mask, len(entry.tech_prefix), *entry.shape_of(counted_by(options))),
        ruled_out_by=verdict.ruled_out_by,
        requires=dict(_requirements(verdict, query.direction)),
    )


def _requirements(verdict: Verdict, direction: Direction) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the columns and values that a request does not meet. That which ruled the account out is the first."""
    account, why = verdict.entry.account, verdict.ruled_out_by
    if why in _OF_PASSWORD:
        yield "password", ()
    part = "orig_enabled" if direction is Direction.ORIGINATION else "term_enabled"
    if why == "direction":
        yield part, ("true",)
    for reason in verdict.unmet:
        if reason is Reason.GATEWAY_MISMATCH:
            yield "gateways", account.gateways[:MOST_VALUES]
        elif reason is Reason.PROTOCOL_MISMATCH:
            yield "term_protocol", (account.term_protocol or "",)
        elif reason is Reason.PORT_MISMATCH:
            yield "term_port", (str(account.term_port),)
        else:
            yield "tech_prefix", (verdict.entry.tech_prefix,)
    if verdict.off and why not in ("direction", "passwordless_name"):
        yield part, ("true",)


_OF_PASSWORD = frozenset((Reason.BAD_PASSWORD.value, Reason.AUTH_REQUIRED.value, "passwordless_name"))
"""The values of ``ruled_out_by`` that are about the account's password."""
