"""Changes of the book's rows between versions (engine.md 8.3).

The values before and after are always read from the rows. The lists of changed keys only name the rows to read.
"""

from __future__ import annotations

from collections.abc import Iterator

from identengine.store.format import (
    BOOK,
    CHANGES,
    STAMP_BYTES,
    VersionInfo,
    damaged,
    keys_row,
    number_bytes,
    stamp_of,
)
from identengine.store.keys import (
    MAX_LISTED_KEYS,
    info_of,
    stored_rows,
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
