"""Undoing: ``revert`` undoes the changes of one version, ``rollback`` all changes since a version (engine.md 8.3).

Both undo the difference of two versions by the same rules. Rule: a field that changed again is left as it is, and
reported. Rows are read and written one by one, so that memory does not grow with the book.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec

from identengine.book.loosening import FieldChange, loosened
from identengine.book.report import FieldChanges, Listing
from identengine.errors import DamagedError
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope
from identengine.model.records import Account, BookRow, Client, Did
from identengine.provisioning.changes import changed
from identengine.provisioning.checks import check_resellers
from identengine.provisioning.findings import NO_SCOPE, findings_of
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, DIDS
from identengine.store.draft import Draft
from identengine.store.format import Change, VersionInfo, field_changes
from identengine.store.versions import Store

SHOWN = 100
"""Largest number of changes that an undoing keeps for people."""
_PROGRESS_ROWS = 1000
"""Rows between two calls of the progress function."""

Progress = Callable[[int], None]
"""A function that is called repeatedly with the number of rows so far."""


class Undoing(NamedTuple):
    """The choices of the operator who undoes changes."""

    remove: bool = False
    """True if accounts and clients that were added are removed. Otherwise accounts are disabled, clients kept."""
    passwords: bool = False
    """True if passwords are restored, too."""
    dry_run: bool = False
    """True if nothing is changed, and the result shows what would change."""
    yes: bool = False
    """True if rows may be removed and fields loosened."""


class Undone:
    """The result of an undoing: its changes, and the parts of them that need ``--yes``."""

    def __init__(
        self,
        most: int | None = SHOWN,
        show: Callable[[Change], object] = lambda change: change,
        scope: Scope = NO_SCOPE,
    ) -> None:
        """Keep ``show`` of the first ``most`` changes, or of all if it is None. Findings are by ``scope``."""
        self.scope = scope
        self._most = most
        self._show = show
        self.info: VersionInfo | None = None
        """The new version. None if nothing changed, after a dry run, or if the undoing was refused."""
        self.refused = False
        """True if nothing was changed because ``--yes`` is missing. In a dry run: if it would be necessary."""
        self.restored = False
        """True if the store is damaged, so that the rows of the version were restored as they were."""
        self.changes: list[object] = []
        """The first changes, as ``show`` returns them."""
        self.total = 0
        """Number of all changes."""
        self.removed = Listing()
        """Rows that are removed, as ``account 5``."""
        self.loosens = FieldChanges()
        """Fields that let more calls pass (engine.md 9.2)."""
        self.left = FieldChanges()
        """Fields that changed again: the value now, and the value that they would have."""
        self.findings: tuple[Finding, ...] = ()
        """Troubles that the undoing brings (engine.md 8.5)."""

    @property
    def needs_yes(self) -> bool:
        """True if the undoing removes a row or loosens a field."""
        return bool(self.removed.total or self.loosens.total)

    def take(self, changes: Iterable[Change]) -> None:
        """Record the changes of the undoing. An earlier attempt does not count."""
        self.changes, self.total = [], 0
        self.removed, self.loosens = Listing(), FieldChanges()
        for change in changes:
            self.total += 1
            if self._most is None or self.total <= self._most:
                self.changes.append(self._show(change))
            if change.after is None:
                self.removed.add(f"{change.table} {change.key}")
            for field in loosened(change):
                self.loosens.add(field)


def revert(
    store: Store, version: int, who: str, allowed: Undoing, undone: Undone, progress: Progress | None = None
) -> None:
    """Undo what ``version`` alone changed, as a new version.

    Raise RowError if a row cannot be restored, or StoreError. Nothing was changed then.
    """
    _undo(store, f"revert {version}", who, allowed, undone, lambda _head: (version - 1, version), progress)


def roll_back(
    store: Store, version: int, who: str, allowed: Undoing, undone: Undone, progress: Progress | None = None
) -> None:
    """Undo everything that changed since ``version``, as a new version.

    If the store is damaged, restore the rows of the version as they were, with passwords, in a new file. Raise
    DamagedError if the version itself is damaged, and otherwise as :func:`revert` does.
    """
    what = f"rollback to version {version}"
    try:
        _undo(store, what, who, allowed, undone, lambda head: (version, head), progress)
        if undone.total or version != store.head() or not store.is_damaged():
            return
    except DamagedError:
        pass
    undone.restored, undone.left, undone.findings = True, FieldChanges(), ()

    def inspect(changes: Iterator[Change]) -> None:
        undone.take(changes)
        _consent(allowed, undone)

    try:
        undone.info = store.rollback(version, who, inspect)
    except _StoppedError:
        undone.info = None


def _undo(
    store: Store,
    what: str,
    who: str,
    allowed: Undoing,
    undone: Undone,
    span: Callable[[int], tuple[int, int]],
    progress: Progress | None,
) -> None:
    """Undo the changes between two versions, which ``span`` returns for the newest version."""

    def edit(draft: Draft) -> None:
        undone.left = FieldChanges()
        with closing(store.diff(*span(draft.version - 1))) as changes:
            _Undo(draft, allowed, undone.left).run(_counted(changes, progress))
        draft.verify()
        undone.take(draft.changes())
        undone.findings = findings_of(draft, draft.changes(), undone.scope)
        _consent(allowed, undone)

    try:
        info, _ = store.change(who, what, edit)
    except _StoppedError:
        return
    undone.info = info if undone.total else None


def _consent(allowed: Undoing, undone: Undone) -> None:
    """Raise _StoppedError if the changes are not to be committed."""
    undone.refused = undone.needs_yes and not allowed.yes
    if undone.refused or allowed.dry_run:
        raise _StoppedError


def _counted(changes: Iterator[Change], progress: Progress | None) -> Iterator[Change]:
    for count, change in enumerate(changes):
        if progress is not None and count % _PROGRESS_ROWS == 0:
            progress(count)
        yield change


class _StoppedError(Exception):
    """Rolls back the transaction of an undoing that is a dry run or needs ``--yes``."""


class _Undo:
    """One undoing in a draft.

    Rows are removed after all others were restored. A DID that an added account took over is its former account's
    again before the added account is removed with its DIDs.
    """

    def __init__(self, draft: Draft, allowed: Undoing, left: FieldChanges) -> None:
        self._draft = draft
        self._allowed = allowed
        self._left = left
        self._accounts = array("Q")
        """Accounts to remove."""
        self._clients: set[int] = set()
        """Clients to remove."""
        self._parents: dict[int, int | None] | None = None
        """The reseller of each client before the undoing, if a client was restored."""
        self._restored: list[Client] = []

    def run(self, changes: Iterable[Change]) -> None:
        """Undo changes, which must be in the order of the tables. Raise RowError if a row cannot be restored."""
        checked = False
        for change in changes:
            if change.table != "client" and not checked:
                self._check_clients()
                checked = True
            self._undo(change, self._now(change))
        if not checked:
            self._check_clients()
        for account_id in self._accounts:
            if (account := self._draft.account(account_id)) is not None:
                ACCOUNTS.delete(self._draft, account)
        self._remove_clients()

    def _undo(self, change: Change, now: BookRow | None) -> None:
        if change.before is None:
            self._undo_added(change, now)
        elif now is None and change.after is None:
            self._put(change.before)
        elif now is None or change.after is None:  # removed since, or added again since
            self._leave(now, change.before)
        else:
            self._undo_fields(change, change.before, now)

    def _undo_added(self, change: Change, now: BookRow | None) -> None:
        """Remove or disable a row that was added. A client is only removed if the operator asks for it."""
        if isinstance(now, Did):
            if now == change.after:
                DIDS.delete(self._draft, now)
            else:
                self._leave(now, None)
        elif isinstance(now, Client) and self._allowed.remove:
            self._clients.add(now.id)
        elif isinstance(now, Account) and self._allowed.remove:
            self._accounts.append(now.id)
        elif isinstance(now, Account):
            self._draft.put_account(msgspec.structs.replace(now, orig_enabled=False, term_enabled=False))

    def _undo_fields(self, change: Change, before: BookRow, now: BookRow) -> None:
        """Restore the fields of a row that still have the value after the change."""
        restored: dict[str, object] = {}
        for name in now.__struct_fields__:
            old, new, current = (getattr(row, name) for row in (before, change.after, now))
            if old == new or (name == "password" and not self._allowed.passwords):
                continue
            if current == new:
                restored[name] = old
            elif current != old:
                self._leave(now, msgspec.structs.replace(now, **{name: old}))
        after = msgspec.structs.replace(now, **restored)
        if after != now:
            self._put(after)

    def _put(self, row: BookRow) -> None:
        """Write a row. Raise RowError if it refers to a row that does not exist.

        Clients are checked when all of them are restored, since a reseller may follow its clients.
        """
        if isinstance(row, Client):
            if self._parents is None:
                self._parents = {one.id: one.parent_id for one in self._draft.clients()}
            self._restored.append(row)
            CLIENTS.put(self._draft, row)
        elif isinstance(row, Account):
            ACCOUNTS.check(self._draft, row)
            ACCOUNTS.put(self._draft, row)
        else:
            DIDS.check(self._draft, row)
            DIDS.put(self._draft, row)

    def _check_clients(self) -> None:
        """Raise RowError if a client that was restored has an impossible reseller."""
        if self._parents is not None:
            check_resellers(self._draft, self._restored, self._parents)

    def _remove_clients(self) -> None:
        """Remove the clients that were added, but for those that other rows refer to."""
        if not self._clients:
            return
        used = {account.client_id for account in self._draft.accounts()} & self._clients
        parents = {client.id: client.parent_id for client in self._draft.clients()}
        keep = [parent for one, parent in parents.items() if one not in self._clients or one in used]
        while keep:
            parent = keep.pop()
            if parent in self._clients and parent not in used:
                used.add(parent)
                keep.append(parents[parent])
        for client_id in sorted(self._clients):
            client = self._draft.client(client_id)
            if client_id not in used:
                self._draft.delete_client(client_id)
            elif client is not None:
                self._leave(client, None)

    def _now(self, change: Change) -> BookRow | None:
        if change.table == "did":
            return self._draft.did(str(change.key))
        if change.table == "client":
            return self._draft.client(int(change.key))
        return self._draft.account(int(change.key))

    def _leave(self, now: BookRow | None, before: BookRow | None) -> None:
        """Report the fields that stay as they are."""
        change = changed(now, before)
        for name, current, wanted in field_changes(change):
            self._left.add(FieldChange(change.table, change.key, name, current, wanted))
