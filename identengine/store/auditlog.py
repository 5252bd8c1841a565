"""The audit log: the changes of all versions, and the events between them (engine.md 8.4).

The values before and after are read from the rows. Rule: damage to one version does not hide the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from identengine.errors import DamagedError
from identengine.model.records import Account, Client, Did
from identengine.store.format import (
    ACCOUNTS,
    BOOK,
    CLIENTS,
    DIDS,
    OWNED,
    STAMP_BYTES,
    AuditEntry,
    Change,
    Event,
    VersionInfo,
    account_row,
    change_of,
    did_key,
    did_row,
    id_key,
    number_bytes,
    stamp_of,
    version_of,
)
from identengine.store.history import RawChange, changes_between
from identengine.store.keys import events_of, info_of, rows_under, versions_of
from identengine.store.transaction import Finder, Txn


class Rows(NamedTuple):
    """The rows that entries concern. None means any."""

    client: int | None = None
    account: int | None = None
    number: str | None = None
    """A DID in normal form."""


class Narrowed(NamedTuple):
    """Restrictions of the audit log that need no row. None means no restriction."""

    by: str | None = None
    """Name of the author, or of the user who called ``sudo``, in any case of letters."""
    since: float | None = None
    until: float | None = None
    """First and last instant, in seconds of Unix time."""
    version: int | None = None
    """A version. Events belong to none."""

    def keeps(self, record: VersionInfo | Event) -> bool:
        """Return True if the restrictions of author and time keep the entries of a record."""
        if self.since is not None and record.at < self.since:
            return False
        if self.until is not None and record.at > self.until:
            return False
        if self.by is None:
            return True
        return self.by.casefold() in (record.who.casefold(), (record.sudo_user or "").casefold())


NARROWED = Narrowed()
"""No restriction."""


class _Step(NamedTuple):
    """A record of the log with its changes. An event has none."""

    record: VersionInfo | Event
    changes: Callable[[], Iterable[RawChange]]


class AuditLog:
    """The entries that concern certain rows, under certain restrictions."""

    def __init__(self, txn: Txn, rows: Rows, narrowed: Narrowed, hash_key: bytes) -> None:
        self._txn = txn
        self._rows = rows
        self._narrowed = narrowed
        self._hash_key = hash_key
        self._search = None if rows == Rows() else _Search(txn, rows)

    def entries(self, last: int | None = None) -> Iterator[AuditEntry]:
        """Yield the entries, the oldest first: the newest ``last`` entries, or all."""
        steps = (step for step in self._steps() if self._narrowed.keeps(step.record))
        if last is None:
            for step in steps:
                yield from _entries(step)
            return
        found: deque[AuditEntry] = deque()
        for step in reversed(list(steps)):
            if len(found) >= last:
                break
            newest = deque(_entries(step, last - len(found)), maxlen=last - len(found))
            found.extendleft(reversed(newest))
        yield from found

    def _steps(self) -> Iterator[_Step]:
        """Yield the records in order of time.

        An event records the version that preceded it, so that the order is right even if the clock was set back.
        """
        events = iter(()) if self._narrowed.version is not None else filter(self._concerns, events_of(self._txn))
        event = next(events, None)
        for step in self._versions():
            while event is not None and event.version < _number(step.record):
                yield _Step(event, tuple)
                event = next(events, None)
            yield step
        while event is not None:
            yield _Step(event, tuple)
            event = next(events, None)

    def _concerns(self, event: Event) -> bool:
        return self._search is None or self._search.concerns(event)

    def _versions(self) -> Iterator[_Step]:
        only = self._narrowed.version
        if self._search is None:
            infos = versions_of(self._txn) if only is None else (info_of(self._txn, only),)
            for info in infos:
                yield _Step(info, lambda number=info.version: self._changes(number))  # type: ignore[misc]
            return
        finder = Finder(self._txn)
        for stamp, group in groupby(self._search.in_order(), key=lambda entry: entry[:8]):
            number = int.from_bytes(stamp, "big")
            if only in (None, number):
                keys = [entry[8:] for entry in group]
                found = _changes_at(finder, number, keys)
                yield _Step(info_of(self._txn, number), lambda found=found: found)  # type: ignore[misc]

    def _changes(self, version: int) -> Iterator[RawChange]:
        return changes_between(self._txn, version - 1, version, self._hash_key)


def _number(record: VersionInfo | Event) -> int:
    return record.version


def _entries(step: _Step, most: int | None = None) -> Iterator[AuditEntry]:
    """Yield the entries of a record: all, or its last ``most``. Damage ends them with an entry that names it."""
    record = step.record
    if isinstance(record, Event):
        yield _entry(record, record.what, account=record.account, client=record.client, number=record.number)
        return
    damage: list[DamagedError] = []

    def sound() -> Iterator[RawChange]:
        try:
            yield from step.changes()
        except DamagedError as error:  # after a roll back, the log of the other versions must stay readable
            damage.append(error)

    try:
        for raw in sound() if most is None else deque(sound(), maxlen=most):
            yield _of_change(record, change_of(*raw))
    except DamagedError as error:
        damage.append(error)
    if damage:
        yield _entry(record, f"{record.what}: {damage[0]}", version=record.version)


def _of_change(info: VersionInfo, change: Change) -> AuditEntry:
    """Return the entry of a change, with the rows that it is about. Their former owners do not count."""
    row = change.before if change.after is None else change.after
    client = account = number = None
    if isinstance(row, Client):
        client = row.id
    elif isinstance(row, Account):
        client, account = row.client_id, row.id
    elif isinstance(row, Did):
        account, number = row.account_id, row.number
    return _entry(
        info, info.what, version=info.version, change=change, client=client, account=account, number=number
    )


def _entry(
    record: VersionInfo | Event,
    what: str,
    *,
    version: int | None = None,
    change: Change | None = None,
    account: int | None = None,
    client: int | None = None,
    number: str | None = None,
) -> AuditEntry:
    return AuditEntry(
        at=record.at,
        who=record.who,
        what=what,
        version=version,
        change=change,
        account=account,
        client=client,
        number=number,
        uid=record.uid,
        sudo_user=record.sudo_user,
        previous_hash=record.previous_hash,
    )


def _changes_at(finder: Finder, version: int, keys: list[bytes]) -> Iterator[RawChange]:
    now, then = stamp_of(version), stamp_of(version - 1)
    for key in keys:
        before, after = finder.value(key, then), finder.value(key, now)
        if before != after:
            yield key, before, after


class _Search:
    """A search for the entries (version as 8 bytes, and row key) that concern a client, an account or a DID."""

    def __init__(self, txn: Txn, rows: Rows) -> None:
        self.entries: set[bytes] = set()
        self._txn = txn
        self._finder = Finder(txn)
        self._client, self._account, self._number = rows
        if rows.account is not None:
            self.add_account(rows.account)
        elif rows.client is not None:
            self.add_client(rows.client)
        if rows.number is not None:
            key = did_key(rows.number)
            if rows.account is None and rows.client is None:
                self._add_row(key)
            self.entries = {entry for entry in self.entries if entry[8:] == key}

    def in_order(self) -> list[bytes]:
        """Return the entries by version, and within a version in the order of :func:`changes_between`."""
        return sorted(self.entries, key=lambda entry: (entry[:8], BOOK.index(entry[8:9]), entry))

    def add_client(self, client: int) -> None:
        """Add the client's own row, and the accounts for the time during which they belonged to it."""
        self._add_row(id_key(CLIENTS, client))
        accounts = {
            key[1:9]
            for key, value in rows_under(self._txn, ACCOUNTS)
            if value and account_row(value).client_id == client
        }
        for account in sorted(accounts):
            self.add_account(int.from_bytes(account, "big"))

    def add_account(self, account: int) -> None:
        """Add the rows of the account and its DIDs."""
        key = id_key(ACCOUNTS, account)
        for full, _value in rows_under(self._txn, key):
            version = version_of(full[-STAMP_BYTES:])
            if self._client in (None, self._owner(account, version), self._owner(account, version - 1)):
                self.entries.add(number_bytes(version) + key)
        owned = id_key(OWNED, account)
        for full, _value in rows_under(self._txn, owned):
            version = version_of(full[-STAMP_BYTES:])
            if self._had(account, full, version) or self._had(account, full, version - 1):
                self.entries.add(number_bytes(version) + DIDS + full[9:-STAMP_BYTES])

    def concerns(self, event: Event) -> bool:
        """Return True if an event concerns the rows. An account concerns the client that had it at the time."""
        if self._number not in (None, event.number) or self._account not in (None, event.account):
            return False
        if self._client in (None, event.client):
            return True
        return event.account is not None and self._client == self._owner(event.account, event.version)

    def _add_row(self, key: bytes) -> None:
        for full, _value in rows_under(self._txn, key):
            self.entries.add(number_bytes(version_of(full[-STAMP_BYTES:])) + key)

    def _owner(self, account: int, version: int) -> int | None:
        """Return the client id of the account in ``version``, or 0 if the account did not exist."""
        value = self._finder.value(id_key(ACCOUNTS, account), stamp_of(version))
        return account_row(value).client_id if value else 0

    def _had(self, account: int, owned: bytes, version: int) -> bool:
        """Return True if in ``version`` the DID belonged to the account, and the account to the client.

        An edit that moves a DID twice leaves a row of the account between, which never had the DID.
        """
        key = DIDS + owned[9:-STAMP_BYTES]
        value = self._finder.value(key, stamp_of(version))
        return (
            bool(value)
            and did_row(key, value).account_id == account
            and self._client in (None, self._owner(account, version))
        )
