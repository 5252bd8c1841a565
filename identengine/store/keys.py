"""Rows by their keys: how the store's tables are walked and searched in one transaction.

All reading walks a cursor. At most a thousand rows are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import lmdb

from identengine.errors import StoreError
from identengine.store.file import Txn
from identengine.store.format import (
    EMPTY,
    STAMP_BYTES,
    VERSIONS,
    VersionInfo,
    info_row,
    number_bytes,
)

LISTED = 65_536
"""Most row keys of a table that a version lists as changed; with more, the table's rows themselves are walked."""
_BATCH = 1000


class Counts(NamedTuple):
    """How many rows there are."""

    clients: int
    accounts: int
    dids: int


def head_of(txn: Txn) -> VersionInfo:
    """Return the newest version; version 0 of an empty store."""
    key = last_key(txn, VERSIONS)
    return EMPTY if key is None else info_row(txn.get(key, b""))


def info_of(txn: Txn, version: int) -> VersionInfo:
    """Return what is known of ``version``; StoreError where there is none."""
    if version == 0:
        return EMPTY
    value = txn.get(VERSIONS + number_bytes(version)) if 0 < version < 1 << 63 else None
    if value is None:
        newest = head_of(txn).version
        raise StoreError(
            f"there is no version {version}; "
            + (f"the newest is {newest}" if newest else "the store is empty yet")
        )
    return info_row(value)


def rows_under(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys (with stamps) and values of the rows of all versions whose key begins with ``prefix``."""
    cursor = txn.cursor()
    if cursor.set_range(prefix):
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def rows_while_writing(txn: Txn, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield what :func:`rows_under` does, where rows are put meanwhile.

    In batches, each with a cursor of its own; of what is put into the batch that is being gone through nothing
    shows.
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
    """Return the value of the row ``key`` in the version with ``stamp``; empty where it has none."""
    if cursor.set_range(key + stamp):
        found, value = cursor.item()
        if found.startswith(key) and len(found) == len(key) + STAMP_BYTES:
            return value
    return b""


def last_key(txn: Txn, table: bytes) -> bytes | None:
    """Return the last key of a table, with its stamp if it has one; None where the table is empty."""
    cursor = txn.cursor()
    there = cursor.prev() if cursor.set_range(bytes([table[0] + 1])) else cursor.last()
    key = cursor.key() if there else b""
    return key if key.startswith(table) else None
