"""Explain: each account that a request touches, its rank, and the first check that ruled it out (engine.md 8.7).

It walks the chains with the functions of :mod:`identengine.identify.matching`. Rule: it decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from identengine.identify import index
from identengine.identify.chains import outwards
from identengine.identify.index import AccountEntry, Book, IndexClass, Lookup, counted_by
from identengine.identify.matching import (
    MATCHED_BY,
    Match,
    MatchedBy,
    Reveal,
    best_of,
    credentials_of,
    head_of,
    refusal,
    unmet,
    verified,
)
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

MOST = 250
"""Largest number of candidates, so that an address of many accounts does not delay other requests."""


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


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
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


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its candidates. ``cut`` is True if some candidates are left out."""

    decision: Decision
    """Decision, as ``identify`` returns it."""
    candidates: tuple[Candidate, ...] = ()
    """Accounts that the request touches, in the order in which they are tried."""
    cut: bool = False
    """True if further candidates are not shown: at most 250, and over UDP what fits into 1,400 bytes."""


def candidates(
    book: Book, query: Query, options: IdentifyOptions, reveal: Reveal, outcome: Match | Reason
) -> tuple[tuple[Candidate, ...], bool]:
    """Return the candidates in the order in which they are tried, and True if there are more than :data:`MOST`."""
    shown = tuple(islice(_candidates(book, query, options, reveal, outcome), MOST + 1))
    return shown[:MOST], len(shown) > MOST


def _candidates(
    book: Book, query: Query, options: IdentifyOptions, reveal: Reveal, outcome: Match | Reason
) -> Iterator[Candidate]:
    decided = False
    for kind in book.classes:
        head = head_of(kind, book.enabled[query.direction], query, query.source)
        found = best_of(book, head, query, options) if head is not None and not decided else None
        seen: set[int] = set()
        if found is not None:
            for entry, ruled_out_by in _verdicts(kind, found, query, options, reveal, outcome):
                seen.add(entry.account.id)
                yield _candidate(kind, found, entry, options, ruled_out_by)
        for node, entry in _unseen(head, seen):  # only the longest network of an account counts
            why = _unmet(entry, query, options)
            yield _candidate(kind, node, entry, options, why or ("class" if decided else "rank"))
        decided = decided or found is not None
    yield from _absent(book, query, options)


def _verdicts(
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


def _absent(book: Book, query: Query, options: IdentifyOptions) -> Iterator[Candidate]:
    """Yield the accounts that have the ident but do not exist for this request."""
    seen: set[int] = set()
    for kind, head in _heads(book, book.disabled[query.direction], query):
        for node, entry in _unseen(head, seen):
            why = _unmet(entry, query, options) or Reason.ACCOUNT_DISABLED.value
            yield _candidate(kind, node, entry, options, why)
    denied = book.enabled[Direction.ORIGINATION].denied.get(query.name or "")
    if denied is not None and "name" in book.classes and query.direction is Direction.ORIGINATION:
        for node, entry in _unseen(denied, set()):
            yield _candidate("name", node, entry, options, "passwordless_name")
    other = Direction.TERMINATION if query.direction is Direction.ORIGINATION else Direction.ORIGINATION
    for kind, head in _heads(book, book.enabled[other], query):
        for node, entry in _unseen(head, seen):
            if not (entry.account.orig_enabled and entry.account.term_enabled):
                yield _candidate(kind, node, entry, options, "direction")


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


def _unmet(entry: AccountEntry, query: Query, options: IdentifyOptions) -> str | None:
    reason = unmet(entry, query.dst_number, query.gateway, query.protocol, query.src_port, options)
    return reason.value if reason else None


def _candidate(
    kind: IndexClass,
    node: index.Candidate,
    entry: AccountEntry,
    options: IdentifyOptions,
    ruled_out_by: str | None,
) -> Candidate:
    account = entry.account
    return Candidate(
        account_id=account.id,
        account_name=account.name,
        client_id=account.client_id,
        client_name=entry.client_entry.client.name,
        matched_by=MATCHED_BY[kind],
        matched=node.matched,
        rank=Rank(node.mask, len(entry.tech_prefix), *entry.shape_of(counted_by(options))),
        ruled_out_by=ruled_out_by,
    )
