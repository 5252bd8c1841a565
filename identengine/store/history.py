"""Changes of the book's rows between versions: comparison (engine.md 8.3) and audit log (engine.md 8.4).

The values before and after are always read from the rows. The lists of changed keys only name the rows to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from identengine.errors import DamagedError
from identengine.store.format import (
    ACCOUNTS,
    BOOK,
    CHANGES,
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
    damaged,
    did_row,
    id_key,
    keys_row,
    number_bytes,
    stamp_of,
    version_of,
)
from identengine.store.keys import (
    MAX_LISTED_KEYS,
    events_of,
    info_of,
    rows_under,
    stored_rows,
    versions_of,
)
from identengine.store.sums import add_change, reduced, row_hash, sums_of
from identengine.store.transaction import Finder, Txn

RawChange = tuple[bytes, bytes, bytes]
"""Row key, value before, value after. An empty value means that the row does not exist."""


def changes_between(txn: Txn, a: int, b: int, hash_key: bytes) -> Iterator[RawChange]:
    """Yield the differences between two versions, by table and key.

    Raise DamagedError at the end if they do not account for the difference between the sums of the two versions.
    """
    older, newer = info_of(txn, min(a, b)), info_of(txn, max(a, b))
    sums, wanted = sums_of(txn, older.version), sums_of(txn, newer.version)
    of = row_hash(hash_key)
    for table in BOOK:
        for key, before, after in _table_changes(txn, table, older, newer):
            if sums is not None:
                add_change(sums, of, key, before, after)
            yield (key, before, after) if a <= b else (key, after, before)
    if sums is not None and wanted is not None and reduced(sums) != wanted:
        raise damaged(f"rows that changed between the versions {older.version} and {newer.version} are missing")


def _table_changes(txn: Txn, table: bytes, a: VersionInfo, b: VersionInfo) -> Iterator[RawChange]:
    keys = _changed_keys(txn, table, a.version, b.version)
    if keys is None:
        yield from walked_changes(txn, table, a.version, b.version)
        return
    finder = Finder(txn)
    stamp_a, stamp_b = stamp_of(a.version), stamp_of(b.version)
    for key in keys:
        before, after = finder.value(key, stamp_a), finder.value(key, stamp_b)
        if before != after:
            yield key, before, after


def _changed_keys(txn: Txn, table: bytes, a: int, b: int) -> list[bytes] | None:
    """Return the sorted row keys that versions a+1 … b wrote, or None if they are too many to hold."""
    keys: set[bytes] = set()
    cursor = txn.cursor()
    if cursor.set_range(CHANGES + number_bytes(a + 1)):
        end = CHANGES + number_bytes(b + 1)
        for key, value in cursor.iternext():
            if key >= end or not key.startswith(CHANGES):
                break
            if key.endswith(table) and len(key) == 10:
                some = keys_row(txn.opened(key, value))
                if some is None or len(keys) > MAX_LISTED_KEYS:
                    return None
                keys.update(some)
    return sorted(keys)


def walked_changes(txn: Txn, table: bytes, a: int, b: int) -> Iterator[RawChange]:
    """Yield the differences of a table by walking through all its rows, which is faster for many changes."""
    stamp_a, stamp_b = stamp_of(a), stamp_of(b)
    opened = txn.opened
    key = before = after = b""
    settled = False
    for full, stored in stored_rows(txn, table):
        stamp = full[-STAMP_BYTES:]
        if stamp < stamp_b:
            continue  # newer than b
        row_key = full[:-STAMP_BYTES]
        if row_key != key:
            if before != after:
                yield key, before, after
            key, before, after, settled = row_key, b"", opened(full, stored), False
        if not settled and stamp >= stamp_a:
            before, settled = opened(full, stored), True
    if before != after:
        yield key, before, after


def audit_log(txn: Txn, client: int | None, account: int | None, hash_key: bytes) -> Iterator[AuditEntry]:
    """Yield the audit log, the oldest entry first.

    ``client`` restricts it to the client's row, its accounts and their DIDs. ``account`` restricts it to the
    account and its DIDs. With both, only the time during which the account belonged to the client counts.
    """
    if client is None and account is None:
        yield from _merged(txn, _all_changes(txn, hash_key), lambda _event: True)
        return
    search = _Search(txn, client)
    if account is not None:
        search.add_account(account)
    elif client is not None:
        search.add_client(client)
    changes = _chosen_changes(txn, search.in_order())
    yield from _merged(txn, changes, lambda event: search.concerns(event, account))


_VersionChanges = Iterator[tuple[VersionInfo, Iterator[Change]]]


def _merged(txn: Txn, versions: _VersionChanges, concerns: Callable[[Event], bool]) -> Iterator[AuditEntry]:
    """Merge the changes of versions and the events in order of time.

    An event records the version that preceded it, so that the order is right even if the clock was set back.
    """
    events = filter(concerns, events_of(txn))
    event = next(events, None)
    for info, changes in versions:
        while event is not None and event.version < info.version:
            yield _event_entry(event)
            event = next(events, None)
        try:
            for change in changes:
                account = change.key if change.table == "account" else None
                yield AuditEntry(
                    at=info.at,
                    who=info.who,
                    what=info.what,
                    version=info.version,
                    change=change,
                    account=account if isinstance(account, int) else None,
                )
        except DamagedError as error:  # after a roll back, the log of the other versions must stay readable
            yield AuditEntry(at=info.at, who=info.who, what=f"{info.what}: {error}", version=info.version)
    while event is not None:
        yield _event_entry(event)
        event = next(events, None)


def _event_entry(event: Event) -> AuditEntry:
    return AuditEntry(at=event.at, who=event.who, what=event.what, account=event.account)


def _all_changes(txn: Txn, hash_key: bytes) -> _VersionChanges:
    for info in versions_of(txn):
        raw_changes = changes_between(txn, info.version - 1, info.version, hash_key)
        yield info, (change_of(*raw) for raw in raw_changes)


def _chosen_changes(txn: Txn, entries: list[bytes]) -> _VersionChanges:
    """Yield the changes of ``entries``: version as 8 bytes, and row key."""
    finder = Finder(txn)
    for number, group in groupby(entries, key=lambda entry: entry[:8]):
        info = info_of(txn, int.from_bytes(number, "big"))
        yield info, _changes_at(finder, info.version, [entry[8:] for entry in group])


def _changes_at(finder: Finder, version: int, keys: list[bytes]) -> Iterator[Change]:
    now, then = stamp_of(version), stamp_of(version - 1)
    for key in keys:
        before, after = finder.value(key, then), finder.value(key, now)
        if before != after:
            yield change_of(key, before, after)


class _Search:
    """A search for the entries (version as 8 bytes, and row key) that concern a client or an account."""

    def __init__(self, txn: Txn, client: int | None) -> None:
        self.entries: set[bytes] = set()
        self._txn = txn
        self._finder = Finder(txn)
        self._client = client

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

    def concerns(self, event: Event, account: int | None) -> bool:
        """Return True if an event concerns the account, or an account that belonged to the client."""
        if event.account is None or account not in (None, event.account):
            return False
        return self._client in (None, self._owner(event.account, event.version))

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
