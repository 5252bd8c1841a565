"""What became of the book's rows from version to version: comparison (engine.md 8.3) and audit log (8.4).

Before and after are always read from the rows themselves; the lists of changed keys only say where to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import lmdb

from identengine.store.file import Txn
from identengine.store.format import (
    ACCOUNTS,
    BOOK,
    CHANGES,
    CLIENTS,
    DIDS,
    EVENTS,
    OWNED,
    STAMP_BYTES,
    VERSIONS,
    AuditEntry,
    Change,
    Event,
    VersionInfo,
    account_row,
    change_of,
    did_row,
    event_row,
    id_key,
    info_row,
    keys_row,
    number_bytes,
    stamp_of,
    version_of,
)
from identengine.store.keys import LISTED, rows_under, value_at

RawChange = tuple[bytes, bytes, bytes]
"""Row key, value before, value after; an empty value is no row."""


def changes_between(txn: Txn, a: int, b: int) -> Iterator[RawChange]:
    """Yield what differs between two versions, by table and in the order of keys."""
    for table in BOOK:
        for key, older, newer in _table_changes(txn, table, min(a, b), max(a, b)):
            yield (key, older, newer) if a <= b else (key, newer, older)


def _table_changes(txn: Txn, table: bytes, a: int, b: int) -> Iterator[RawChange]:
    keys = _listed(txn, table, a, b)
    if keys is None:
        yield from _walked_changes(txn, table, a, b)
        return
    cursor = txn.cursor()
    stamp_a, stamp_b = stamp_of(a), stamp_of(b)
    for key in keys:
        before, after = value_at(cursor, key, stamp_a), value_at(cursor, key, stamp_b)
        if before != after:
            yield key, before, after


def _listed(txn: Txn, table: bytes, a: int, b: int) -> list[bytes] | None:
    """Return the row keys that versions a+1 … b wrote, sorted; None where they are too many to hold."""
    keys: set[bytes] = set()
    cursor = txn.cursor()
    if cursor.set_range(CHANGES + number_bytes(a + 1)):
        end = CHANGES + number_bytes(b + 1)
        for place, value in cursor.iternext():
            if place >= end or not place.startswith(CHANGES):
                break
            if place.endswith(table) and len(place) == 10:
                some = keys_row(value)
                if some is None or len(keys) > LISTED:
                    return None
                keys.update(some)
    return sorted(keys)


def _walked_changes(txn: Txn, table: bytes, a: int, b: int) -> Iterator[RawChange]:
    """As above, by one walk through all rows of the table, where so much changed that this is the shorter way."""
    stamp_a, stamp_b = stamp_of(a), stamp_of(b)
    key = before = after = b""
    settled = False
    for full, value in rows_under(txn, table):
        stamp = full[-STAMP_BYTES:]
        if stamp < stamp_b:
            continue  # younger than b
        row_key = full[:-STAMP_BYTES]
        if row_key != key:
            if before != after:
                yield key, before, after
            key, before, after, settled = row_key, b"", value, False
        if not settled and stamp >= stamp_a:
            before, settled = value, True
    if before != after:
        yield key, before, after


def versions_of(txn: Txn) -> Iterator[VersionInfo]:
    """Yield all versions, the oldest first."""
    return (info_row(value) for _key, value in rows_under(txn, VERSIONS))


def audit_log(txn: Txn, client: int | None, account: int | None) -> Iterator[AuditEntry]:
    """Yield the audit log, the oldest entry first.

    With ``client`` only what concerns it: its own row, its accounts', their DIDs'; with ``account`` what
    concerns that; with both, what concerns the account while it was the client's.
    """
    if client is None and account is None:
        yield from _merged(txn, None, lambda _event: True)
        return
    found = _Found(txn, client)
    if account is not None:
        found.look_at_account(account)
    elif client is not None:
        found.look_at_client(client)
    yield from _merged(txn, found.in_order(), lambda event: found.concerns(event, account))


def _merged(txn: Txn, places: list[bytes] | None, concerns: Callable[[Event], bool]) -> Iterator[AuditEntry]:
    """Put the changes at ``places`` (version and row key; None: all) and the events into one order of time.

    Events know the version that they came after, so a clock that was set back mixes nothing up.
    """
    events = filter(concerns, (event_row(value) for _key, value in rows_under(txn, EVENTS)))
    event = next(events, None)
    for info, changes in _all_changes(txn) if places is None else _chosen_changes(txn, places):
        while event is not None and event.version < info.version:
            yield _event_entry(event)
            event = next(events, None)
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
    while event is not None:
        yield _event_entry(event)
        event = next(events, None)


def _event_entry(event: Event) -> AuditEntry:
    return AuditEntry(at=event.at, who=event.who, what=event.what, account=event.account)


def _all_changes(txn: Txn) -> Iterator[tuple[VersionInfo, Iterator[Change]]]:
    for info in versions_of(txn):
        yield info, (change_of(*raw) for raw in changes_between(txn, info.version - 1, info.version))


def _chosen_changes(txn: Txn, places: list[bytes]) -> Iterator[tuple[VersionInfo, Iterator[Change]]]:
    cursor = txn.cursor()
    for number, group in groupby(places, key=lambda place: place[:8]):
        version = int.from_bytes(number, "big")
        info = info_row(txn.get(VERSIONS + number, b""))
        yield info, _changes_at(cursor, version, [place[8:] for place in group])


def _changes_at(cursor: lmdb.Cursor[bytes], version: int, keys: list[bytes]) -> Iterator[Change]:
    now, then = stamp_of(version), stamp_of(version - 1)
    for key in keys:
        before, after = value_at(cursor, key, then), value_at(cursor, key, now)
        if before != after:
            yield change_of(key, before, after)


class _Found:
    """The places (version, 8 bytes, and row key) that a question is about."""

    def __init__(self, txn: Txn, client: int | None) -> None:
        self.places: set[bytes] = set()
        self._txn = txn
        self._cursor = txn.cursor()
        self._client = client

    def in_order(self) -> list[bytes]:
        """Return the places by version, and within it as :func:`changes_between` has them."""
        return sorted(self.places, key=lambda place: (place[:8], BOOK.index(place[8:9]), place))

    def look_at_client(self, client: int) -> None:
        """Add the client's own row, and whatever of accounts was ever its."""
        self._add_row(id_key(CLIENTS, client))
        accounts = {
            key[1:9]
            for key, value in rows_under(self._txn, ACCOUNTS)
            if value and account_row(value).client_id == client
        }
        for account in sorted(accounts):
            self.look_at_account(int.from_bytes(account, "big"))

    def look_at_account(self, account: int) -> None:
        """Add the account's row and its DIDs'."""
        key = id_key(ACCOUNTS, account)
        for full, _value in rows_under(self._txn, key):
            version = version_of(full[-STAMP_BYTES:])
            if self._client in (None, self._owner(account, version), self._owner(account, version - 1)):
                self.places.add(number_bytes(version) + key)
        owned = id_key(OWNED, account)
        for full, _value in rows_under(self._txn, owned):
            version = version_of(full[-STAMP_BYTES:])
            if self._client is None or self._had(account, full, version) or self._had(account, full, version - 1):
                self.places.add(number_bytes(version) + DIDS + full[9:-STAMP_BYTES])

    def concerns(self, event: Event, account: int | None) -> bool:
        """Whether an event is about the account, or about one that was the client's."""
        if event.account is None or account not in (None, event.account):
            return False
        return self._client in (None, self._owner(event.account, event.version))

    def _add_row(self, key: bytes) -> None:
        for full, _value in rows_under(self._txn, key):
            self.places.add(number_bytes(version_of(full[-STAMP_BYTES:])) + key)

    def _owner(self, account: int, version: int) -> int | None:
        """Return whose the account was in ``version``; 0 where it was not there."""
        value = value_at(self._cursor, id_key(ACCOUNTS, account), stamp_of(version))
        return account_row(value).client_id if value else 0

    def _had(self, account: int, owned: bytes, version: int) -> bool:
        """Whether in ``version`` the DID was the account's and the account the client's."""
        key = DIDS + owned[9:-STAMP_BYTES]
        value = value_at(self._cursor, key, stamp_of(version))
        return (
            bool(value)
            and did_row(key, value).account_id == account
            and (self._owner(account, version) == self._client)
        )
