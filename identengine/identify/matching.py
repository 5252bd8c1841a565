"""Matching: the account of a request (engine.md 3.1-3.8). Only this module knows the precedence.

Classes are tried in order. In a class, buckets are tried from the longest network outwards. In a bucket, tech
prefixes are tried from the longest down. The first group with a candidate is the best by mask and prefix, and
:func:`specificity` ranks its accounts. :mod:`identengine.identify.explain` shows the same steps one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, final

import msgspec

from identengine.identify.credentials import verifies
from identengine.identify.index import (
    AccountEntry,
    Book,
    Bucket,
    ConstraintTables,
    Counted,
    IndexClass,
    Lookup,
    Shape,
    Ties,
)
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
        innermost = bucket_of(kind, lookup, query)
        if innermost is None:
            continue
        found = best_group(innermost, query, options)
        if found is not None:
            bucket, candidates, ties = found
            if ties is not None:
                verified, one_client = _verified_ties(kind, ties, query, options, reveal)
            else:
                if len(candidates) > 1:
                    candidates = most_specific(candidates, options)
                verified = check_credentials(kind, candidates, query, options, reveal) if reveal else candidates
                one_client = len(verified) == 1 or _one_client(verified)
            if len(verified) == 1:
                return Match(verified[0], MATCHED_BY[kind], bucket.matched, False)
            if not verified:
                return refusal(query)
            if options.strict_ambiguity and not one_client:
                return Reason.AMBIGUOUS
            return Match(verified[0], MATCHED_BY[kind], bucket.matched, True)
    return _why_none(book, query, options)


def bucket_of(kind: IndexClass, lookup: Lookup, query: Query) -> Bucket | None:
    """Return the bucket of the request's ident value in a class, or None. For networks it is the longest one."""
    if kind == "ip":
        return query.source
    if kind == "ani":
        return lookup.anis.get(query.ani) if query.ani is not None else None
    if query.name is None:
        return None
    return (lookup.names if kind == "name" else lookup.passwordless).get(query.name)


def best_group(
    innermost: Bucket, query: Query, options: IdentifyOptions
) -> tuple[Bucket, Sequence[AccountEntry], Ties | None] | None:
    """Return the best bucket with a candidate, and its candidates of the best tech prefix (engine.md 3.3).

    Return None if there is no candidate. From a large group, only the best candidates are returned, also as ties.

    With ``mask_first`` the best bucket is the first one on the way outwards. With ``tech_prefix_first`` it has the
    longest prefix, and of equal prefixes it is the first one on the way outwards.
    """
    best: tuple[Bucket, Sequence[AccountEntry], Ties | None] | None = None
    candidates: Sequence[AccountEntry]
    length = -1
    dst_number = query.dst_number
    prefix_first = options.rank == "tech_prefix_first"
    bucket: Bucket | None = innermost
    while bucket is not None:
        groups = bucket.groups if bucket.index is None else bucket.beginning(dst_number)
        for group in groups:
            tech_prefix = group.tech_prefix
            if tech_prefix and not dst_number.startswith(tech_prefix):
                continue
            if prefix_first and len(tech_prefix) <= length:
                break
            ties = group.ties
            if not group.constrained:
                candidates = group.entries
            elif group.by_constraints is not None:
                ties = _best_by_constraints(group.by_constraints, query, options)
                candidates = ties.entries if ties is not None else ()
            else:
                candidates = [
                    entry
                    for entry in group.entries
                    if not entry.constrained or unmet(entry, query, options) is None
                ]
            if candidates:
                if not prefix_first:
                    return bucket, candidates, ties
                best, length = (bucket, candidates, ties), len(tech_prefix)
                break
        bucket = bucket.wider
    return best


def unmet(entry: AccountEntry, query: Query, options: IdentifyOptions) -> Reason | None:
    """Return the first constraint that fails, in the order of :data:`FURTHEST`, or None for a candidate.

    An absent field of the request never satisfies a constraint (engine.md 3.1).
    """
    if entry.gateways is not None and query.gateway not in entry.gateways:
        return Reason.GATEWAY_MISMATCH
    if entry.protocol is not None and options.match_protocol == "always" and query.protocol != entry.protocol:
        return Reason.PROTOCOL_MISMATCH
    if entry.port is not None and options.match_port == "always" and query.src_port != entry.port:
        return Reason.PORT_MISMATCH
    if not query.dst_number.startswith(entry.tech_prefix):
        return Reason.TECH_PREFIX_MISMATCH
    return None


def _counted(options: IdentifyOptions) -> Counted:
    """Return which of port and protocol count."""
    return options.match_port == "always", options.match_protocol == "always"


def _best_by_constraints(
    tables: dict[Counted, ConstraintTables], query: Query, options: IdentifyOptions
) -> Ties | None:
    """Return the best candidates of a large group, by a look-up of the constraints that the request satisfies."""
    for (gateway, port, protocol), entries in tables[_counted(options)]:
        wanted = (
            query.gateway if gateway else None,
            query.src_port if port else None,
            query.protocol if protocol else None,
        )
        if found := entries.get(wanted):
            return found
    return None


def specificity(entry: AccountEntry, options: IdentifyOptions) -> Shape:
    """Return the rank of a candidate among equal masks and tech prefixes. The greatest wins (engine.md 3.3)."""
    return entry.shape_of(_counted(options))


def most_specific(candidates: Sequence[AccountEntry], options: IdentifyOptions) -> list[AccountEntry]:
    """Return the best candidates, which differ only in their ids, lowest id first."""
    best = max(specificity(entry, options) for entry in candidates)
    return [entry for entry in candidates if specificity(entry, options) == best]


def check_credentials(
    kind: IndexClass, candidates: Sequence[AccountEntry], query: Query, options: IdentifyOptions, reveal: Reveal
) -> Sequence[AccountEntry]:
    """Return the candidates of equal rank whose credentials hold (engine.md 3.6).

    If there is no such candidate, :func:`refusal` returns the reason.
    """
    if query.direction is not _ORIGINATION:
        return candidates
    if query.brings_credentials:
        return [
            entry
            for entry in candidates
            if (token := entry.account.password) is None
            or verifies(reveal(token), query.password, query.digest, query.name)
        ]
    if kind == "name" or options.require_password:
        return [entry for entry in candidates if entry.account.password is None]
    return candidates


def _verified_ties(
    kind: IndexClass, ties: Ties, query: Query, options: IdentifyOptions, reveal: Reveal | None
) -> tuple[Sequence[AccountEntry], bool]:
    """Return what :func:`check_credentials` does, and True if the accounts are of one client, for many ties.

    Without a password to verify, the time does not depend on the number of accounts.
    """
    if reveal is not None and query.direction is _ORIGINATION:
        if query.brings_credentials:
            verified = check_credentials(kind, ties.entries, query, options, reveal)
            return verified, _one_client(verified)
        if kind == "name" or options.require_password:
            return ties.without_password, ties.one_client_without_password
    return ties.entries, ties.one_client


def refusal(query: Query) -> Reason:
    """Return the reason of a reject if the credentials of no candidate hold (engine.md 3.6)."""
    return Reason.BAD_PASSWORD if query.brings_credentials else Reason.AUTH_REQUIRED


def _by_id(book: Book, account_id: int) -> Match | Reason:
    """Return the account with the id that a request of termination names (engine.md 3.9)."""
    entry = book.accounts.get(account_id)
    if entry is None:
        return Reason.UNKNOWN_SOURCE
    if not entry.account.term_enabled:
        return Reason.ACCOUNT_DISABLED
    return Match(entry, "account_id", None, ambiguous=False)


def _one_client(entries: Sequence[AccountEntry]) -> bool:
    return len({entry.account.client_id for entry in entries}) == 1


def _why_none(book: Book, query: Query, options: IdentifyOptions) -> Reason:
    """Return the reason of a reject if no enabled account is a candidate (engine.md 3.5, 3.7).

    Either a disabled account would be a candidate, or an enabled account failed a constraint, or no ident value
    hit.
    """
    disabled = disabled_buckets(book, query)
    if any(best_group(bucket, query, options) is not None for _, bucket in disabled):
        return Reason.ACCOUNT_DISABLED
    lookup = book.enabled[query.direction]
    furthest = -1
    for kind in book.classes:
        bucket = bucket_of(kind, lookup, query)
        while bucket is not None:
            furthest = max(furthest, _nearest_miss(bucket, query, options))
            bucket = bucket.wider
    return FURTHEST[furthest] if furthest >= 0 else Reason.UNKNOWN_SOURCE


def _nearest_miss(bucket: Bucket, query: Query, options: IdentifyOptions) -> int:
    """Return the place in :data:`FURTHEST` of the nearest miss in a bucket without a candidate."""
    if bucket.index is None:
        reasons = (unmet(entry, query, options) for entry in bucket.entries())
        return max(FURTHEST.index(reason) for reason in reasons if reason is not None)
    reach = bucket.index.reach[_counted(options)]
    gateways = [gateway for gateway in (None, query.gateway) if gateway in reach.gateways]
    if not gateways:
        return FURTHEST.index(Reason.GATEWAY_MISMATCH)
    protocols = [(g, p) for g in gateways for p in (None, query.protocol) if (g, p) in reach.protocols]
    if not protocols:
        return FURTHEST.index(Reason.PROTOCOL_MISMATCH)
    if not any((g, port, p) in reach.ports for g, p in protocols for port in (None, query.src_port)):
        return FURTHEST.index(Reason.PORT_MISMATCH)
    return FURTHEST.index(Reason.TECH_PREFIX_MISMATCH)


def disabled_buckets(book: Book, query: Query) -> Iterator[tuple[IndexClass, Bucket]]:
    """Yield the innermost bucket of disabled accounts of each class."""
    lookup = book.disabled[query.direction]
    source = lookup.source(query.src_ip) if query.src_ip is not None else None
    asked = msgspec.structs.replace(query, source=source)
    for kind in book.classes:
        bucket = bucket_of(kind, lookup, asked)
        if bucket is not None:
            yield kind, bucket
