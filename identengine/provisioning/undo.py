"""Undoing one version, field by field (engine.md 8.3).

Rule: a field that a later version changed again is left as it is, and reported.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from identengine.book.loosening import FieldChange, loosened
from identengine.model.records import Account, BookRow, Client, Did
from identengine.provisioning.changes import changed
from identengine.provisioning.edits import Edited
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, DIDS
from identengine.store.draft import Draft
from identengine.store.format import Change, field_changes


class Undoing(NamedTuple):
    """The choices of the operator who undoes a version."""

    remove: bool = False
    """True if accounts that the version added are removed. Otherwise they are disabled."""
    passwords: bool = False
    """True if passwords are restored, too."""


class Revert:
    """The edit that undoes the changes of one version."""

    def __init__(self, changes: list[Change], allowed: Undoing) -> None:
        self._changes = changes
        self._allowed = allowed
        self.left: list[FieldChange] = []
        """Fields that a later version changed again: the value now, and the value that they would have."""

    def edit(self, draft: Draft) -> Edited:
        """Undo the changes in the draft. Raise RowError if a row cannot be restored."""
        self.left = []
        done: list[Change] = []
        for change in self._changes:
            now = _now(draft, change)
            if change.before is None:
                done += self._undo_added(draft, change, now)
            elif now is None and change.after is None:
                _put(draft, change.before)
                done.append(changed(None, change.before))
            elif now is None or change.after is None:  # removed since, or added again since
                self._leave(changed(now, change.before))
            else:
                done += self._undo_fields(draft, change, now)
        return Edited(tuple(done))

    def _undo_added(self, draft: Draft, change: Change, now: BookRow | None) -> list[Change]:
        """Remove or disable a row that the version added. Clients are kept."""
        if isinstance(now, Did):
            if now == change.after:
                return DIDS.delete(draft, now)
            self._leave(changed(now, None))
        if not isinstance(now, Account):
            return []
        if self._allowed.remove:
            return ACCOUNTS.delete(draft, now)
        off = msgspec.structs.replace(now, orig_enabled=False, term_enabled=False)
        draft.put_account(off)
        return [changed(now, off)] if now != off else []

    def _undo_fields(self, draft: Draft, change: Change, now: BookRow) -> list[Change]:
        """Restore the fields of a row that still have the value of the version."""
        restored: dict[str, object] = {}
        for name in now.__struct_fields__:
            old, new, current = (getattr(row, name) for row in (change.before, change.after, now))
            if old == new or (name == "password" and not self._allowed.passwords):
                continue
            if current == new:
                restored[name] = old
            elif current != old:
                self._leave(changed(now, msgspec.structs.replace(now, **{name: old})))
        after = msgspec.structs.replace(now, **restored)
        if after == now:
            return []
        _put(draft, after)
        return [changed(now, after)]

    def _leave(self, change: Change) -> None:
        """Report the fields that stay as they are."""
        for name, before, after in field_changes(change):
            self.left.append(FieldChange(change.table, change.key, name, before, after))


class Opened(NamedTuple):
    """The parts of an undoing that need ``--yes``."""

    removed: tuple[Change, ...]
    """Rows that are removed."""
    loosens: tuple[FieldChange, ...]
    """Fields that let more calls pass (engine.md 9.2)."""


def opened_by(changes: tuple[Change, ...]) -> Opened:
    """Return the changes that need ``--yes``."""
    removed = tuple(change for change in changes if change.after is None)
    return Opened(removed, tuple(field for change in changes for field in loosened(change)))


def _now(draft: Draft, change: Change) -> BookRow | None:
    if change.table == "did":
        return draft.did(str(change.key))
    return draft.client(int(change.key)) if change.table == "client" else draft.account(int(change.key))


def _put(draft: Draft, row: BookRow) -> None:
    """Write a row. Raise RowError if it refers to a row that does not exist."""
    if isinstance(row, Client):
        CLIENTS.check(draft, row)
        CLIENTS.put(draft, row)
    elif isinstance(row, Account):
        ACCOUNTS.check(draft, row)
        ACCOUNTS.put(draft, row)
    else:
        DIDS.check(draft, row)
        DIDS.put(draft, row)
