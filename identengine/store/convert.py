"""Conversion of a store of format 1, which has no checksums, to the present format.

Rule: the conversion belongs to the transaction of the first edit. Either both are committed, or the store is
unchanged. One walk seals all rows and sums all versions.
"""

from __future__ import annotations

from collections.abc import Iterator

from identengine.store.format import FORMAT, META_FORMAT, META_RETIRED, STAMPED
from identengine.store.keys import lifetimes, newest, put_newest, stored_rows_while_writing
from identengine.store.sums import History, put_sums, row_hash
from identengine.store.transaction import Txn


def converted(txn: Txn, hash_key: bytes) -> Txn:
    """Convert the store within a write transaction, and return the transaction for further work.

    A store of the present format is unchanged.
    """
    if txn.sealed:
        return txn
    numbers = newest(txn)
    history, of = History(), row_hash(hash_key)
    for row_key, since, until, key, value in lifetimes(_sealed_rows(txn)):
        if value:
            history.add(key[:1], since, until, of(row_key, value))
    for version, sums in history.each(numbers.version):
        put_sums(txn, version, sums)
    put_newest(txn, numbers)
    if txn.get(META_RETIRED) is None:
        txn.put(META_RETIRED, b"")
    txn.raw.put(META_FORMAT, FORMAT)
    return Txn(txn.raw)


def _sealed_rows(txn: Txn) -> Iterator[tuple[bytes, bytes]]:
    """Seal all rows. Yield the full keys and the values of the rows of versions."""
    for key, value in stored_rows_while_writing(txn, b""):
        if key != META_FORMAT:
            txn.put(key, value)
        if key[:1] in STAMPED:
            yield key, value
