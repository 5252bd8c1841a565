"""Stores of earlier formats, written row by row as the programs of their time left them."""

from __future__ import annotations

from pathlib import Path

import lmdb

FORMAT_1 = Path(__file__).parents[1] / "unit" / "store" / "format_1.txt"
"""Rows of a store of format 1, one a line: key and value in hex, ``-`` for an empty value.

It has four versions, one event and one password (``secret`` of account 2, under :data:`KEY`).
"""
FORMAT_2_UNCHAINED = FORMAT_1.with_name("format_2_unchained.txt")
"""Rows of a store of format 2 whose records carry no hash.

It has three versions, two events and the same password.
"""
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def store_of_format_1(path: Path) -> Path:
    return _store(path, FORMAT_1)


def store_without_a_chain(path: Path) -> Path:
    return _store(path, FORMAT_2_UNCHAINED)


def _store(path: Path, rows: Path) -> Path:
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 30, lock=False) as env, env.begin(write=True) as txn:
        for line in rows.read_text().splitlines():
            key, value = line.split()
            txn.put(bytes.fromhex(key), b"" if value == "-" else bytes.fromhex(value))
    return path


def rows_of(path: Path) -> list[tuple[bytes, bytes]]:
    """Return all rows of a store as they are on disk."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as txn:
        return list(txn.cursor())
