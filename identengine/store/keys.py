"""Access to rows by their keys: walks and searches in the store's tables within one transaction.

All reads walk a cursor. At most a thousand rows are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import lmdb

from identengine.errors import StoreError, sentences
from identengine.store.file import Txn
from identengine.store.format import (
    EMPTY,
    STAMP_BYTES,
    VERSIONS,
    VersionInfo,
    info_row,
    number_bytes,
)

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


def head_of(txn: Txn) -> VersionInfo:
    """Return the newest version, or version 0 if the store is empty."""
    key = last_key(txn, VERSIONS)
    return EMPTY if key is None else info_row(txn.get(key, b""))


def info_of(txn: Txn, version: int) -> VersionInfo:
    """Return the record of ``version``. Raise StoreError if it does not exist."""
    if version == 0:
        return EMPTY
    value = txn.get(VERSIONS + number_bytes(version)) if 0 < version < 1 << 63 else None
    if value is None:
        newest = head_of(txn).version
        hint = f"The newest is {newest}." if newest else "The store is empty."
        raise StoreError(sentences(f"there is no version {version}", hint))
    return info_row(value)


def rows_under(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield stamped keys and values of the rows whose keys begin with ``prefix``, for all versions."""
    cursor = txn.cursor()
    if cursor.set_range(prefix):
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def rows_while_writing(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of :func:`rows_under`, while other rows may be written.

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
        position = batch[-1][0] + b"\0"


def value_at(cursor: lmdb.Cursor[bytes], key: bytes, stamp: bytes) -> bytes:
    """Return the value of the row ``key`` in the version with ``stamp``, or an empty value if it has none."""
    if cursor.set_range(key + stamp):
        found, value = cursor.item()
        if found.startswith(key) and len(found) == len(key) + STAMP_BYTES:
            return value
    return b""


def last_key(txn: Txn, table: bytes) -> bytes | None:
    """Return the last key of a table, with its stamp if it has one. Return None if the table is empty."""
    cursor = txn.cursor()
    there = cursor.prev() if cursor.set_range(bytes([table[0] + 1])) else cursor.last()
    key = cursor.key() if there else b""
    return key if key.startswith(table) else None
