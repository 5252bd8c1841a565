"""A walk through all rows of a store that continues after pages that LMDB rejects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lmdb

from identengine.store.transaction import Txn

_WIDTH = 64
"""Bytes of the positions between which the end of a gap is searched. All keys are shorter."""


def readable_rows(txn: Txn, lost: Callable[[bytes], object]) -> Iterator[tuple[bytes, bytes]]:
    """Yield all rows as stored. Call ``lost`` with the key before each gap that a rejected page leaves."""
    position: bytes | None = b""
    while position is not None:
        last = position
        try:
            cursor = txn.cursor()
            if cursor.set_range(position):
                for row in cursor.iternext():
                    last = max(last, row[0])
                    yield row
            position = None
        except lmdb.Error:
            txn.renew()
            lost(last)
            position = _end_of_gap(txn, last)


def _end_of_gap(txn: Txn, last: bytes) -> bytes | None:
    """Return a position after ``last`` where rows are readable again, or None."""
    bad = int.from_bytes(last.ljust(_WIDTH, b"\0"), "big")
    for bit in range(8 * _WIDTH):
        good = bad + (1 << bit)
        if good >> (8 * _WIDTH):
            return None
        if _is_readable(txn, good):
            break
    else:
        return None
    bad += 1 << bit >> 1
    while good - bad > 1:
        middle = (good + bad) // 2
        if _is_readable(txn, middle):
            good = middle
        else:
            bad = middle
    return good.to_bytes(_WIDTH, "big")


def _is_readable(txn: Txn, position: int) -> bool:
    try:
        txn.cursor().set_range(position.to_bytes(_WIDTH, "big"))
    except lmdb.Error:
        txn.renew()
        return False
    return True
