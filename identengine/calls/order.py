"""The serial numbers of rows in ascending order, for walks that continue after any number (engine.md 5.6, 5.8).

Rule: no operation depends on the number of rows. A number that is gone stays until its chunk is swept. Each new
chunk sweeps a few older ones, so that most numbers belong to rows.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator

CHUNK = 512
"""Numbers of one chunk."""
_SWEPT = 3
"""Older chunks that are swept when a chunk begins."""


class Order:
    """The serial numbers of the rows that exist, with some of rows that are gone."""

    def __init__(self, existing: Container[int]) -> None:
        self._existing = existing
        self._chunks: list[array[int]] = []
        self._firsts: list[int] = []
        """By chunk: a number that is at most its first one, and above the numbers of the chunk before."""
        self._next = 0
        """Index of the chunk that is swept next."""

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def add(self, serial: int) -> None:
        """Add a number that is larger than all others."""
        if not self._chunks or len(self._chunks[-1]) >= CHUNK:
            for _ in range(min(_SWEPT, len(self._chunks))):
                self._sweep()
            self._firsts.append(serial)
            self._chunks.append(array("Q"))
        self._chunks[-1].append(serial)

    def since(self, serial: int) -> Iterator[int]:
        """Return an iterator over the numbers from ``serial`` on."""
        at = max(0, bisect_right(self._firsts, serial) - 1)
        for index in range(at, len(self._chunks)):
            chunk = self._chunks[index]
            yield from chunk[bisect_left(chunk, serial) :]

    def clear(self) -> None:
        """Remove all numbers."""
        self._chunks.clear()
        self._firsts.clear()
        self._next = 0

    def _sweep(self) -> None:
        """Remove the numbers of one chunk that are gone. Join it with the chunk before if both are short."""
        at = self._next = self._next % len(self._chunks)
        chunk = array("Q", filter(self._existing.__contains__, self._chunks[at]))
        if at and len(self._chunks[at - 1]) + len(chunk) <= CHUNK:
            self._chunks[at - 1 : at + 1] = [self._chunks[at - 1] + chunk]
            del self._firsts[at]
        else:
            self._chunks[at] = chunk
            self._next += 1
