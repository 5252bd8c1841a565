"""A transaction of the store, which seals each value that it writes and checks each that it reads."""

from __future__ import annotations

from collections.abc import Callable

import lmdb

from identengine.store.format import FORMAT, META_FORMAT, STAMP_BYTES, damaged, row_name
from identengine.store.seals import as_stored, seal, unseal

PAGE_ERRORS = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.PageFullError,
    lmdb.CursorFullError,
    lmdb.BadTxnError,
)
"""The errors by which LMDB rejects a damaged page, and by which it rejects all that the transaction does next."""


class Txn:
    """An LMDB transaction with seals.

    ``raw`` is the transaction itself. ``sealed`` is False if the store has format 1. ``opened`` takes a full key
    and the stored value, and returns the value without its seal. It raises DamagedError if the seal differs.
    """

    def __init__(
        self, raw: lmdb.Transaction[bytes], begin: Callable[[], lmdb.Transaction[bytes]] | None = None
    ) -> None:
        """Wrap a transaction. ``begin`` begins another of its kind, and is None for a transaction that writes."""
        self.raw = raw
        self._begin = begin
        self.sealed = raw.get(META_FORMAT) == FORMAT
        self.opened: Callable[[bytes, bytes], bytes] = unseal if self.sealed else as_stored

    def cursor(self) -> lmdb.Cursor[bytes]:
        """Return a cursor over the rows as stored."""
        return self.raw.cursor()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of the row with the full key ``key``, or None. Raise DamagedError."""
        value = self._stored(key)
        return None if value is None else self.opened(key, value)

    def has(self, key: bytes) -> bool:
        """Return True if there is a row with the full key ``key``, even a damaged one. Raise DamagedError."""
        return self._stored(key) is not None

    def renew(self) -> None:
        """Continue reading after an error of LMDB, which ends a transaction. All cursors become invalid."""
        if self._begin is not None:
            self.raw.abort()
            self.raw = self._begin()

    def _stored(self, key: bytes) -> bytes | None:
        try:
            return self.raw.get(key)
        except PAGE_ERRORS as error:
            self.renew()
            raise damaged(f"{row_name(key)} is in a page that is invalid ({error})") from error

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row with its seal."""
        self.raw.put(key, seal(key, value))

    def commit(self) -> None:
        """Commit the transaction."""
        self.raw.commit()

    def abort(self) -> None:
        """Abort the transaction. After a commit, do nothing."""
        self.raw.abort()


class Finder:
    """Finds single rows by key.

    If a damaged page leads a search astray, an old row or no row would be found. Rule: a search therefore checks
    that the rows before and after the place of a key are in order. If it finds no row, it also verifies these two.
    """

    def __init__(self, txn: Txn) -> None:
        self._cursor = txn.cursor()
        self._opened = txn.opened

    def value(self, key: bytes, stamp: bytes) -> bytes:
        """Return the value of the row ``key`` in the version with ``stamp``, or an empty value if it has none.

        Raise DamagedError.
        """
        found = self.newest(key, stamp)
        return found[1] if found is not None else b""

    def newest(self, key: bytes, stamp: bytes) -> tuple[bytes, bytes] | None:
        """Return full key and value of the first row of ``key`` at or after ``stamp``, or None.

        The value is empty if the row was deleted. Raise DamagedError.
        """
        cursor, sought = self._cursor, key + stamp
        there = cursor.set_range(sought)
        found, value = cursor.item()
        before, value_before = cursor.item() if (cursor.prev() if there else cursor.last()) else (b"", b"")
        if before >= sought or (there and found < sought):
            raise damaged(f"the rows near {row_name(sought)} are out of order")
        if there and found.startswith(key) and len(found) == len(key) + STAMP_BYTES:
            return found, self._opened(found, value)
        if there and found != META_FORMAT:
            self._opened(found, value)
        if before and before != META_FORMAT:
            self._opened(before, value_before)
        return None
