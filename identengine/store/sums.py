"""The sums that protect a version as a whole: each table of a version has one (:data:`SUMMED`).

The hash of a row is a keyed BLAKE2b of its row key and value, a number of 256 bits. The sum of a table adds the
hashes of the rows that exist in the version, modulo 2**256. It does not depend on the order, so that an edit adds
and subtracts only the rows that it changes. A walk through a table of the version recomputes the sum on the way.

Each table has a sum of its own. One sum for the whole version would force every reader to read all tables. The
server reads ``owned`` instead of ``dids``, and an export reads ``dids`` instead of ``owned``. Each of them
verifies all that it reads, in one pass.

The difference between the sums of two versions must be that of their changed rows. A comparison and a roll back
thus verify themselves without a walk through the whole version.

With seals and sums, a row costs 1.3 µs more to load and 2 µs more to import.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeAlias

from identengine.store.format import STAMPED, SUMS, damaged, number_bytes, owned_key
from identengine.store.transaction import Txn

SUMMED = STAMPED
_BYTES = 32
_MODULUS = 1 << (8 * _BYTES)

Sums: TypeAlias = dict[bytes, int]
"""The sum of each table. Additions may leave it unreduced; :func:`reduced` reduces it."""
RowHash: TypeAlias = Callable[[bytes, bytes], int]
"""A function that returns the hash of a row, given its row key and value."""


def row_hash(hash_key: bytes) -> RowHash:
    """Return the hash function of the store with this hash key."""
    keyed = hashlib.blake2b(
        key=hash_key, digest_size=_BYTES
    )  # copied for each row, which is faster than a new one

    def of(key: bytes, value: bytes) -> int:
        state = keyed.copy()
        state.update(key + value)
        return int.from_bytes(state.digest(), "big")

    return of


def no_sums() -> Sums:
    """Return the sums of an empty version."""
    return dict.fromkeys(SUMMED, 0)


def reduced(sums: Sums) -> Sums:
    """Return the sums modulo 2**256."""
    return {table: total % _MODULUS for table, total in sums.items()}


def sums_of(txn: Txn, version: int) -> Sums | None:
    """Return the sums of a version, or None in a store of format 1. Raise DamagedError."""
    if not version:
        return no_sums()
    if not txn.sealed:
        return None
    value = txn.get(SUMS + number_bytes(version))
    if value is None or len(value) != _BYTES * len(SUMMED):
        raise damaged(f"the sums of version {version} are missing")
    parts = (value[at : at + _BYTES] for at in range(0, len(value), _BYTES))
    return {table: int.from_bytes(part, "big") for table, part in zip(SUMMED, parts, strict=True)}


def packed(sums: Sums) -> bytes:
    """Return the sums of a version as bytes."""
    return b"".join(total.to_bytes(_BYTES, "big") for total in reduced(sums).values())


def put_sums(txn: Txn, version: int, sums: Sums) -> None:
    """Write the sums of a version."""
    txn.put(SUMS + number_bytes(version), packed(sums))


def add_change(sums: Sums, of: RowHash, key: bytes, before: bytes, after: bytes) -> None:
    """Add the change of a row of the book to ``sums``, with that of ``owned``. Empty values mean no row."""
    table = key[:1]
    for value, sign in ((before, -1), (after, 1)):
        if value:
            sums[table] += sign * of(key, value)
            if table not in _ALONE:
                owned = owned_key(value[:8], key)
                sums[owned[:1]] += sign * of(owned, value[8:])


_ALONE = SUMMED[:2]  # clients and accounts; a DID has a row in `owned` too


class History:
    """The sums of all versions at once, from one walk through all rows.

    A row of version V counts from V on, until the version that wrote the key again.
    """

    def __init__(self) -> None:
        self._steps: dict[bytes, defaultdict[int, int]] = {table: defaultdict(int) for table in SUMMED}

    def add(self, table: bytes, since: int, until: int | None, amount: int) -> None:
        """Add ``amount`` to the versions from ``since`` on, before ``until`` (None: to the newest)."""
        steps = self._steps[table]
        steps[since] += amount
        if until is not None:
            steps[until] -= amount

    def each(self, last: int) -> Iterator[tuple[int, Sums]]:
        """Yield the number and the sums of each version from 1 to ``last``."""
        sums = no_sums()
        for version in range(1, last + 1):
            for table, steps in self._steps.items():
                sums[table] += steps.get(version, 0)
            sums = reduced(sums)
            yield version, sums
