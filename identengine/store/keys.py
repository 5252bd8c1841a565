"""Access to rows by their keys: walks and searches in the store's tables within one transaction.

All reads walk a cursor. At most a thousand rows are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from identengine.errors import StoreError, sentences
from identengine.store.format import (
    BOOK,
    CHANGES,
    EMPTY,
    EVENTS,
    META_HEAD,
    META_RETIRED,
    STAMP_BYTES,
    VERSIONS,
    Event,
    VersionInfo,
    damaged,
    event_row,
    info_row,
    number_bytes,
    version_of,
)
from identengine.store.transaction import Txn

MAX_LISTED_KEYS = 65_536
"""Maximum number of changed row keys that a version lists for a table.

With more, the rows themselves are walked.
"""
_BATCH = 1000


class Counts(NamedTuple):
    """The numbers of rows in the three tables."""

    clients: int
    accounts: int
    dids: int


class Newest(NamedTuple):
    """The numbers of the newest version and of the newest event, 0 if the store has none."""

    version: int
    event: int


class Lifetime(NamedTuple):
    """A stamped row, and the versions in which it is the row of its key: from ``since`` on, before ``until``."""

    row_key: bytes
    since: int
    until: int | None
    """The version that wrote the key again, or None for the newest row of the key."""
    key: bytes
    stored: bytes


def newest(txn: Txn) -> Newest:
    """Return the numbers of the newest version and event. Raise DamagedError."""
    if not txn.sealed:
        return Newest(_last_number(txn, VERSIONS), _last_number(txn, EVENTS))
    value = txn.get(META_HEAD)
    if value is None or len(value) != 16:
        raise damaged("the number of the newest version is missing")
    return Newest(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


def put_newest(txn: Txn, numbers: Newest) -> None:
    """Write the numbers of the newest version and event."""
    txn.put(META_HEAD, number_bytes(numbers.version) + number_bytes(numbers.event))


def head_of(txn: Txn) -> VersionInfo:
    """Return the newest version, or version 0 if the store is empty. Raise DamagedError."""
    return record_of(txn, newest(txn).version)


def info_of(txn: Txn, version: int) -> VersionInfo:
    """Return the record of ``version``. Raise StoreError if it does not exist, or DamagedError."""
    head = newest(txn).version
    if not 0 <= version <= head:
        hint = f"The newest is {head}." if head else "The store is empty."
        raise StoreError(sentences(f"there is no version {version}", hint))
    return record_of(txn, version)


def record_of(txn: Txn, version: int) -> VersionInfo:
    """Return the record of ``version``, which must exist. Raise DamagedError."""
    if not version:
        return EMPTY
    value = txn.get(VERSIONS + number_bytes(version))
    if value is None:
        raise damaged(f"the record of version {version} is missing")
    info = info_row(value)
    if info.version != version:
        raise damaged(f"it contains an invalid version record: expected version {version}, got {info.version}")
    return info


def missing_lists(txn: Txn, info: VersionInfo) -> list[bytes]:
    """Return the tables of the book that the version changed without a list of the changed keys."""
    changes = zip(BOOK, (info.client_changes, info.account_changes, info.did_changes), strict=True)
    key = CHANGES + number_bytes(info.version)
    return [table for table, changed in changes if changed.total and not txn.has(key + table)]


def versions_of(txn: Txn) -> Iterator[VersionInfo]:
    """Yield all versions, the oldest first. Raise DamagedError."""
    return (record_of(txn, version) for version in range(1, newest(txn).version + 1))


def events_of(txn: Txn) -> Iterator[Event]:
    """Yield all events, the oldest first. Raise DamagedError."""
    for number in range(1, newest(txn).event + 1):
        value = txn.get(EVENTS + number_bytes(number))
        if value is None:
            raise damaged(f"event {number} of the audit log is missing")
        yield event_row(value)


def lifetimes(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[Lifetime]:
    """Yield the lifetimes of stamped rows, which must be in the order of their keys."""
    last, until = b"", None
    for key, stored in rows:
        row_key, since = key[:-STAMP_BYTES], version_of(key[-STAMP_BYTES:])
        if row_key != last:
            last, until = row_key, None
        yield Lifetime(row_key, since, until, key, stored)
        until = since


def retired_keys(txn: Txn) -> list[str]:
    """Return the ids of the keys that a rotation has retired. Raise DamagedError."""
    value = txn.get(META_RETIRED)
    if value is None and txn.sealed:
        raise damaged("the list of retired keys is missing")
    return (value or b"").decode().split()


def stored_rows(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield full keys and values of the rows whose keys begin with ``prefix``, as stored, for all versions."""
    cursor = txn.cursor()
    if cursor.set_range(prefix):
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def rows_under(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of :func:`stored_rows` with their values opened. Raise DamagedError."""
    opened = txn.opened
    return ((key, opened(key, value)) for key, value in stored_rows(txn, prefix))


def stored_rows_while_writing(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of :func:`stored_rows`, while other rows may be written.

    Rows are read in batches, each with its own cursor. A row that is written into the current batch is not shown.
    """
    position = prefix
    while True:
        cursor = txn.cursor()
        batch = list(islice(cursor.iternext(), _BATCH)) if cursor.set_range(position) else []
        for key, value in batch:
            if not key.startswith(prefix):
                return
            yield key, value
        if len(batch) < _BATCH:
            return
        if batch[-1][0] < position:
            raise damaged("its rows are out of order")  # the walk would never end
        position = batch[-1][0] + b"\0"


def last_key(txn: Txn, table: bytes) -> bytes | None:
    """Return the last key of a table, with its stamp if it has one. Return None if the table is empty."""
    cursor = txn.cursor()
    there = cursor.prev() if cursor.set_range(bytes([table[0] + 1])) else cursor.last()
    key = cursor.key() if there else b""
    return key if key.startswith(table) else None


def _last_number(txn: Txn, table: bytes) -> int:
    key = last_key(txn, table)
    return 0 if key is None else int.from_bytes(key[1:9], "big")
