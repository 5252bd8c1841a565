"""The findings that a change of the book brings. Only the accounts that the change touches are looked at.

These are the changed accounts and those whose idents overlap with theirs. A change of many accounts compares the
whole book before it with the whole book after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from identengine.lint.findings import CHECKS, Finding, Keys
from identengine.lint.pages import Part
from identengine.lint.scope import Scope
from identengine.lint.values import network_of
from identengine.lint.walk import lint, walk
from identengine.model.addresses import Network, format_network
from identengine.model.numbers import national
from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.snapshot import View

_MOST = 100
"""Largest number of idents, and of accounts, of a change whose rivals are searched one by one."""
_COMPETING = [
    "client_id",
    "ident_by",
    "ident",
    "tech_prefix",
    "password",
    "gateways",
    "orig_enabled",
    "term_enabled",
    "term_protocol",
    "term_port",
]
"""Columns that decide which account wins a request."""
_RATED = ("parent_id", "rate_table", "term_rate_table")
"""Columns of a client that its accounts inherit."""
_PARTIAL = frozenset(CHECKS) - {"near_typo"}
"""The checks that need no count over the whole book."""


def brought(draft: Draft, changes: Iterable[Change], scope: Scope) -> list[Finding]:
    """Return the findings that the changes of a draft bring. Raise DamagedError."""
    before = draft.before()
    few = _few(changes)
    keys = Keys()
    if few is None:
        walk(before, scope, keys)
        return lint(draft, scope, before=keys).findings
    touched = _Touched(few, scope)
    rivals = list(touched.rivals(draft))
    walk(touched.part(before, rivals, after=False), scope, keys)
    return lint(touched.part(draft, rivals, after=True), scope, _PARTIAL, before=keys).findings


def _few(changes: Iterable[Change]) -> list[Change] | None:
    """Return the changes if they are few enough to be looked at one by one, or None."""
    found: list[Change] = []
    idents = 0
    for change in changes:
        found.append(change)
        idents += sum(len(row.ident) for row in (change.before, change.after) if isinstance(row, Account))
        if len(found) > _MOST or idents > 2 * _MOST:
            return None
    return found


class _Touched:
    """The rows that a few changes touch."""

    def __init__(self, changes: Sequence[Change], scope: Scope) -> None:
        self._changes = changes
        self._scope = scope
        self._ids = {int(change.key) for change in changes if change.table == "account"}
        competing = [change for change in changes if _competes(change)]
        self._idents = {
            (account.ident_by, item)
            for change in competing
            for account in _states(change)
            for item in account.ident
        }

    def rivals(self, book: View) -> Iterator[Account]:
        """Yield the accounts whose idents overlap with changed ones, and those of clients whose rates changed."""
        patterns = [_pattern(kind, item, self._scope) for kind, item in self._idents]
        patterns += [b"client_id" + re.escape(msgspec.msgpack.encode(client)) for client in self._rated()]
        owners = {
            row.account_id
            for change in self._changes
            for row in (change.before, change.after)
            if isinstance(row, Did)
        }
        for account_id in owners - self._ids:
            if (owner := book.account(account_id)) is not None:
                yield owner
        if patterns:
            for account in book.accounts_like(re.compile(b"|".join(patterns))):
                if account.id not in self._ids and account.id not in owners:
                    yield account

    def part(self, book: View, rivals: Sequence[Account], *, after: bool) -> Part:
        """Return the part of a book before or after the changes."""
        accounts = list(rivals)
        dids: list[Did] = []
        clients: dict[int, Client] = {}
        for change in self._changes:
            row = change.after if after else change.before
            if isinstance(row, Account):
                accounts.append(row)
            elif isinstance(row, Did):
                dids += self._equal(book, row)
            elif isinstance(row, Client):
                clients[row.id] = row
        for account in accounts:
            client_id: int | None = account.client_id
            while client_id is not None and client_id not in clients:
                client = book.client(client_id)
                if client is None:
                    break
                clients[client_id] = client
                client_id = client.parent_id
        return Part(book, clients.values(), accounts, dids)

    def _equal(self, book: View, did: Did) -> Iterator[Did]:
        """Yield a DID and those that an international prefix makes equal to it."""
        yield did
        number = national(did.number, self._scope.prefixes)
        for prefix in self._scope.prefixes:
            other = book.did(prefix + number)
            if other is not None and other.number != did.number:
                yield other

    def _rated(self) -> list[int]:
        """Return the clients whose accounts inherit other rate tables."""
        found = []
        for change in self._changes:
            before, after = change.before, change.after
            if isinstance(before, Client) and isinstance(after, Client):
                found += (
                    [after.id] if any(getattr(before, name) != getattr(after, name) for name in _RATED) else []
                )
        return found


def _states(change: Change) -> list[Account]:
    return [row for row in (change.before, change.after) if isinstance(row, Account)]


def _competes(change: Change) -> bool:
    """Return True if a change can decide anew which account wins a request, and the account can win one."""
    before, after = change.before, change.after
    if not isinstance(after, Account) or after.disabled:
        return False
    return not isinstance(before, Account) or any(
        getattr(before, name) != getattr(after, name) for name in _COMPETING
    )


def _pattern(kind: IdentBy, item: str, scope: Scope) -> bytes:
    """Return a pattern that each stored account matches whose idents may overlap with an item.

    Other accounts may match too. Addresses of IPv6 have many spellings, so that all accounts with IPv6 match.
    """
    if kind is IdentBy.ANI:
        return re.escape(national(item, scope.prefixes).encode())
    if kind is IdentBy.NAME:
        return re.escape(item.encode())
    network = network_of(item)
    if len(network.address) == 16:
        return rb"[0-9a-fA-F]*:[0-9a-fA-F]*:"
    return b"|".join((*_wider(network), _inside(network), rb"[fF]{4}:[0-9a-fA-F]"))


def _wider(network: Network) -> Iterator[bytes]:
    """Yield the texts of the networks of IPv4 that contain a network, itself included."""
    number = int.from_bytes(network.address, "big")
    for length in range(network.length + 1):
        address = (number >> (32 - length) << (32 - length)).to_bytes(4, "big")
        text = format_network(Network(address, length)).encode()
        yield rb"(?<![0-9.])" + re.escape(text) + rb"(?![0-9.])"


def _inside(network: Network) -> bytes:
    """Return a pattern of the addresses of IPv4 inside a network: the octets that all of them share."""
    shared = network.length // 8
    if shared == 0:
        return rb"[0-9]\.[0-9]"
    octets = ".".join(map(str, network.address[:shared])).encode()
    return rb"(?<![0-9.])" + re.escape(octets) + (rb"\." if shared < 4 else rb"(?![0-9.])")
