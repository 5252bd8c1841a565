"""The findings that a change of the book brings. Only the accounts that the change touches are looked at.

These are the changed accounts and those whose idents overlap with theirs. A change of many accounts compares the
whole book before it with the whole book after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from identengine.lint.findings import CHECKS, Finding, Keys
from identengine.lint.overlap import Overlap
from identengine.lint.pages import Part
from identengine.lint.scope import Scope
from identengine.lint.walk import lint, walk
from identengine.model.numbers import national
from identengine.model.records import Account, BookRow, Client, Did
from identengine.store.draft import Draft
from identengine.store.format import Change, field_changes
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
_UNREAD = frozenset(("name", "notes", "orig_tag", "term_tag"))
"""Columns that no check reads."""
_LIMITS = frozenset(("capacity", "orig_capacity", "term_capacity", "orig_cps"))
"""Columns of which checks read only the value 0."""
_PARTIAL = frozenset(CHECKS) - {"near_typo"}
"""The checks that need no count over the whole book."""


def brought(draft: Draft, changes: Iterable[Change], scope: Scope) -> list[Finding]:
    """Return the findings that the changes of a draft bring. Raise DamagedError."""
    before = draft.before()
    few = _few(filter(_matters, changes))
    if few == []:
        return []
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


def _matters(change: Change) -> bool:
    """Return True if a check reads one of the columns that change, so that a finding may be new."""
    if change.before is None or change.after is None:
        return True
    return any(
        not (name in _UNREAD or (name in _LIMITS and after != 0)) for name, _, after in field_changes(change)
    )


def _never(_row: bytes) -> bool:
    return False


class _Touched:
    """The rows that a few changes touch."""

    def __init__(self, changes: Sequence[Change], scope: Scope) -> None:
        self._changes = changes
        self._scope = scope
        self._ids = {int(change.key) for change in changes if change.table == "account"}
        competing = (account for change in changes if _competes(change) for account in _states(change))
        idents = {(account.ident_by, item) for account in competing for item in account.ident}
        self._overlap = Overlap(idents, scope.prefixes)

    def rivals(self, book: View) -> Iterator[Account]:
        """Yield the accounts whose idents overlap with changed ones, of changed DIDs, and of changed clients."""
        rows = [row for change in self._changes for row in (change.before, change.after)]
        found = dict.fromkeys(self._ids)
        for owner in {row.account_id for row in rows if isinstance(row, Did)}:
            if owner not in found and (account := book.account(owner)) is not None:
                found[owner] = None
                yield account
        rated = self._rated()
        if not self._overlap and not rated:
            return
        may_have = self._overlap.may_have() if self._overlap else _never
        texts = [b"client_id" + msgspec.msgpack.encode(client_id) for client_id in rated]
        for account in book.accounts_like(lambda row: may_have(row) or any(text in row for text in texts)):
            if account.id not in found and (account.client_id in rated or self._overlap.has(account)):
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

    def _rated(self) -> set[int]:
        """Return the clients whose accounts inherit other rate tables."""
        return {
            change.after.id
            for change in self._changes
            if isinstance(change.before, Client)
            and isinstance(change.after, Client)
            and _differ(change.before, change.after, _RATED)
        }


def _states(change: Change) -> list[Account]:
    return [row for row in (change.before, change.after) if isinstance(row, Account)]


def _competes(change: Change) -> bool:
    """Return True if a change can change which account wins a request, and the account can win one."""
    before, after = change.before, change.after
    if not isinstance(after, Account) or after.disabled:
        return False
    return not isinstance(before, Account) or _differ(before, after, _COMPETING)


def _differ(before: BookRow, after: BookRow, columns: Iterable[str]) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in columns)
