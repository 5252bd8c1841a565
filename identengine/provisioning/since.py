"""The changes of the book since a version for one account: its row, its client and resellers, and its DIDs.

Rule: a field counts if it differs between that version and the newest one. The author is that of its last change.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from identengine.model.records import Account, BookRow, Client
from identengine.provisioning.changes import change_object, changed
from identengine.provisioning.listing import Clients
from identengine.store.format import Change, VersionInfo, field_changes
from identengine.store.snapshot import View

MOST_DIDS = 20
"""Largest number of changed DIDs that are listed."""


class Later(NamedTuple):
    """A row that differs between a version and the newest one."""

    change: Change
    versions: dict[str, VersionInfo]
    """The version that changed each field last."""

    def fields(self) -> Iterator[tuple[str, tuple[object, object]]]:
        """Yield each field that differs, with its values then and now. A password is only set or not set."""
        return ((name, (before, after)) for name, before, after in field_changes(self.change))

    def as_object(self) -> dict[str, object]:
        """Return the row for JSON: as ``diff`` has it, with version, time and author of each field."""
        found = change_object(self.change)
        fields: dict[str, dict[str, object]] = found["fields"]  # type: ignore[assignment]  # see change_object
        for name, values in fields.items():
            info = self.versions[name]
            values |= {"version": info.version, "at": info.at, "who": info.who}
        return found


def changes_since(then: View, now: View, account: Account) -> tuple[list[Later], int]:
    """Return the changes that concern an account of an earlier version, and the number of DIDs that are left out.

    Raise DamagedError if a row cannot be read.
    """
    found = [_later(then, now, row) for row in _rows(then, now, account)]
    dids = now.did_changes(account.id, then.version)
    listed = [_did(info, before, after) for info, before, after in islice(dids, MOST_DIDS)]
    return [one for one in found if one is not None] + listed, sum(1 for _ in dids)


def _rows(then: View, now: View, account: Account) -> Iterator[Account | Client]:
    """Yield the account, then its client and resellers: those of the earlier version, then those of now."""
    yield account
    seen = set[int]()
    current = now.account(account.id) or account
    for view, client_id in ((then, account.client_id), (now, current.client_id)):
        for client in Clients(view).chain(client_id):
            if client.id not in seen:
                seen.add(client.id)
                yield client


def _later(then: View, now: View, row: Account | Client) -> Later | None:
    """Return the difference of a row, or None if it has none."""
    before, after = (
        view.account(row.id) if isinstance(row, Account) else view.client(row.id) for view in (then, now)
    )
    if before == after:
        return None
    history = list(now.history(row, since=then.version))
    change = changed(before, after)
    return Later(change, {name: _last(history, name) for name, _, _ in field_changes(change)})


def _last(history: list[tuple[VersionInfo, BookRow | None, BookRow | None]], field: str) -> VersionInfo:
    """Return the version that changed a field last. ``history`` is the newest first."""
    for info, before, after in history:
        if getattr(before, field, None) != getattr(after, field, None):
            return info
    return history[0][0]  # the row was added or removed with the field's default


def _did(info: VersionInfo, before: BookRow | None, after: BookRow | None) -> Later:
    change = changed(before, after)
    return Later(change, {name: info for name, _, _ in field_changes(change)})
