"""Matching: the account of a request (engine.md 3.1-3.8).

Classes are tried in order. In a class, the chain of the ident value is walked from the longest network outwards:
:mod:`identengine.identify.chains` has put it in order. :func:`first_fit` finds the best candidate, then
:func:`check_credentials` chooses among the accounts that are equal to it. The functions take the fields of a
request one by one, so that no object is needed. :mod:`identengine.identify.explain` shows the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, final

import msgspec

from identengine.identify.chains import one_client, reordered
from identengine.identify.credentials import Credentials, verifies
from identengine.identify.index import AccountEntry, Book, Candidate, IndexClass, Lookup, Ties, counted_by
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Direction

Reveal = Callable[[str], str]
"""A function that decrypts the password of an ``enc:…`` token (:meth:`identengine.store.vault.Vault.reveal`)."""

MatchedBy = Literal["ip", "name", "ani", "account_id"]

MATCHED_BY: dict[IndexClass, MatchedBy] = {"ip": "ip", "name": "name", "ani": "ani", "passwordless": "name"}
"""The name of each class in answers."""

FURTHEST = (
    Reason.GATEWAY_MISMATCH,
    Reason.PROTOCOL_MISMATCH,
    Reason.PORT_MISMATCH,
    Reason.TECH_PREFIX_MISMATCH,
)
"""The order in which constraints are tested. The near miss that got furthest counts (engine.md 3.7)."""

_ORIGINATION = Direction.ORIGINATION  # access to a member of an enum is slow
_GATEWAY, _PROTOCOL, _PORT, _TECH_PREFIX = FURTHEST
_UNKNOWN_SOURCE = Reason.UNKNOWN_SOURCE


@final
class Match(msgspec.Struct, frozen=True, gc=False):
    """The account that was identified."""

    entry: AccountEntry
    matched_by: MatchedBy
    matched: str | None
    """The network, name or number that matched; None if the request named the account by ``account_id``."""
    ambiguous: bool


def identify(book: Book, query: Query, options: IdentifyOptions, reveal: Reveal | None) -> Match | Reason:
    """Return the account of a request, or the reason if no account is found or its credentials do not hold.

    Without ``reveal`` credentials are not checked, since the call exists already (engine.md 5.4).
    """
    if query.account_id is not None:
        return _by_id(book, query.account_id)
    lookup = book.enabled[query.direction]
    for kind in book.classes:
        head = head_of(kind, lookup, query, query.source)
        if head is None:
            continue
        found = best_of(book, head, query, options)
        if found is None:
            continue
        given = credentials_of(query) if query.brings_credentials else None
        checks = reveal if query.direction is _ORIGINATION else None
        checked = check_credentials(found, kind == "name", given, options, checks)
        if type(checked) is Reason:
            return checked
        return Match(checked[0], MATCHED_BY[kind], found.matched, checked[1])
    return why_none(book, query, options)


def head_of(kind: IndexClass, lookup: Lookup, query: Query, source: Candidate | None) -> Candidate | None:
    """Return the chain of the request's ident value in a class, or None. ``source`` is that of its address."""
    if kind == "ip":
        return source
    if kind == "ani":
        return lookup.anis.get(query.ani) if query.ani is not None else None
    if query.name is None:
        return None
    return (lookup.names if kind == "name" else lookup.passwordless).get(query.name)


def for_switch(book: Book, head: Candidate, options: IdentifyOptions) -> Candidate:
    """Return a chain in the order for the options of a switch.

    It is the chain itself unless it varies, and ``match_port`` or ``match_protocol`` is not that of the book.
    """
    if not head.varies or (counted := counted_by(options)) == counted_by(book.options):
        return head
    found = book.reordered.get((counted, id(head)))
    if found is None:
        found = book.reordered[counted, id(head)] = reordered(head, counted)
    return found


def best_of(book: Book, head: Candidate, query: Query, options: IdentifyOptions) -> Candidate | None:
    """Return the best candidate of a chain for a request and a switch, or None (engine.md 3.3)."""
    return first_fit(
        for_switch(book, head, options) if head.varies else head,
        query.dst_number,
        query.gateway,
        query.protocol,
        query.src_port,
        options,
    )


def first_fit(
    candidate: Candidate | None,
    dialled: str,
    gateway: str | None,
    protocol: str | None,
    port: int | None,
    options: IdentifyOptions,
) -> Candidate | None:
    """Return the best candidate from a node of a chain on, or None. All nodes before it must not fit.

    The chain is in the order for ``options`` (:func:`for_switch`). With ``mask_first`` the first node that fits is
    the best. With ``tech_prefix_first`` it has the longest prefix, and of equal prefixes it is the first.
    """
    mask_first = options.rank == "mask_first"
    best: Candidate | None = None
    while candidate is not None:
        found: Candidate | None = None
        if candidate.crowd is not None:
            found = candidate.crowd.best(dialled, gateway, protocol, port, counted_by(options))
        elif dialled.startswith(candidate.tech_prefix) and (
            candidate.plain or unmet(candidate.entry, dialled, gateway, protocol, port, options) is None
        ):
            found = candidate
        if found is not None:
            if mask_first:
                return found
            if best is None or found.cut > best.cut:
                best = found
        candidate = candidate.next
    return best


def unmet(
    entry: AccountEntry,
    dialled: str,
    gateway: str | None,
    protocol: str | None,
    port: int | None,
    options: IdentifyOptions,
) -> Reason | None:
    """Return the first constraint that fails, in the order of :data:`FURTHEST`, or None for a candidate.

    An absent field of the request never satisfies a constraint (engine.md 3.1).
    """
    if entry.gateways is not None and gateway not in entry.gateways:
        return _GATEWAY
    if entry.protocol is not None and options.match_protocol == "always" and protocol != entry.protocol:
        return _PROTOCOL
    if entry.port is not None and options.match_port == "always" and port != entry.port:
        return _PORT
    if not dialled.startswith(entry.tech_prefix):
        return _TECH_PREFIX
    return None


def check_credentials(
    found: Candidate, by_name: bool, given: Credentials | None, options: IdentifyOptions, reveal: Reveal | None
) -> tuple[AccountEntry, bool] | Reason:
    """Return the account of a candidate and its ties, and True if it is ambiguous (engine.md 3.4, 3.6).

    Return the reason if no credentials hold, or if ``strict_ambiguity`` rejects the tie. ``by_name`` is True for
    the class ``name``. Without ``reveal`` nothing is checked. The time depends on the number of ties only if
    there is a password to verify.
    """
    ties = found.ties
    if ties is None:
        entry = found.entry
        if reveal is None or entry.account.password is None or verified(entry, by_name, given, options, reveal):
            return entry, False
        return refusal(given)
    entries, same_client = _verified_ties(ties, by_name, given, options, reveal)
    if len(entries) > 1:
        return Reason.AMBIGUOUS if options.strict_ambiguity and not same_client else (entries[0], True)
    return (entries[0], False) if entries else refusal(given)


def verified(
    entry: AccountEntry, by_name: bool, given: Credentials | None, options: IdentifyOptions, reveal: Reveal
) -> bool:
    """Return True if the credentials of a request hold for an account. Without a password they always do."""
    token = entry.account.password
    if token is None:
        return True
    if given is None:
        return not by_name and not options.require_password
    return verifies(reveal(token), given.password, given.digest, given.name, given.chap)


def _verified_ties(
    ties: Ties, by_name: bool, given: Credentials | None, options: IdentifyOptions, reveal: Reveal | None
) -> tuple[Sequence[AccountEntry], bool]:
    """Return the ties whose credentials hold, and True if they are of one client."""
    if reveal is not None:
        if given is not None:
            held = [entry for entry in ties.entries if verified(entry, by_name, given, options, reveal)]
            return held, one_client(held)
        if by_name or options.require_password:
            return ties.without_password, ties.one_client_without_password
    return ties.entries, ties.one_client


def credentials_of(query: Query) -> Credentials | None:
    """Return the credentials of a request, or None if it brings none."""
    if not query.brings_credentials:
        return None
    return Credentials(query.password, query.digest, query.name, query.chap)


def refusal(given: Credentials | None) -> Reason:
    """Return the reason of a reject if the credentials of no candidate hold (engine.md 3.6)."""
    return Reason.AUTH_REQUIRED if given is None else Reason.BAD_PASSWORD


def _by_id(book: Book, account_id: int) -> Match | Reason:
    """Return the account with the id that a request of termination names (engine.md 3.9)."""
    entry = book.accounts.get(account_id)
    if entry is None:
        return Reason.UNKNOWN_SOURCE
    if not entry.account.term_enabled:
        return Reason.ACCOUNT_DISABLED
    return Match(entry, "account_id", None, ambiguous=False)


def why_none(book: Book, query: Query, options: IdentifyOptions) -> Reason:
    """Return the reason of a reject if no enabled account is a candidate (engine.md 3.5, 3.7).

    Either a disabled account would be a candidate, or an enabled account failed a constraint, or no ident value
    hit.
    """
    lookup = book.disabled[query.direction]
    source = lookup.source(query.src_ip) if query.src_ip is not None else None
    for kind in book.classes:
        head = head_of(kind, lookup, query, source)
        if head is not None and best_of(book, head, query, options) is not None:
            return Reason.ACCOUNT_DISABLED
    lookup, furthest = book.enabled[query.direction], -1
    for kind in book.classes:
        head = head_of(kind, lookup, query, query.source)
        if head is not None:
            miss = nearest_miss(head, query.dst_number, query.gateway, query.protocol, query.src_port, options)
            furthest = max(furthest, miss)
    return FURTHEST[furthest] if furthest >= 0 else _UNKNOWN_SOURCE


def nearest_miss(
    candidate: Candidate | None,
    dialled: str,
    gateway: str | None,
    protocol: str | None,
    port: int | None,
    options: IdentifyOptions,
) -> int:
    """Return the place in :data:`FURTHEST` of the nearest miss in a chain that has no candidate, or -1."""
    furthest = -1
    while candidate is not None:
        if candidate.crowd is not None:
            furthest = max(furthest, candidate.crowd.reached(gateway, protocol, port, counted_by(options)))
        else:
            for entry in candidate.entries():  # ties can differ by the options of a switch
                reason = unmet(entry, dialled, gateway, protocol, port, options)
                if reason is not None:
                    furthest = max(furthest, FURTHEST.index(reason))
        candidate = candidate.next
    return furthest
