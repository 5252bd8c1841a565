"""The most frequent values of an endless stream, in bounded memory (the sketch of Misra and Gries).

At most ``2 * keep`` values have a count. If a new value finds the table full, the table is pruned. A prune
subtracts the ``keep + 1``-th largest count from all counts, and removes the values that then have no count above
zero. :attr:`HeavyHitters.floor` grows by the subtracted count. After ``n`` occurrences:

- each value that occurred more than ``floor`` times is in the table;
- its true number is at least its count, and at most its count + ``floor``;
- ``floor <= n / (keep + 1)``, since each prune subtracts its count from at least ``keep + 1`` values.

A prune takes about a millisecond at ``keep = 1000`` and makes room for at least ``keep`` new values. So the
average cost of a value is constant, even if each occurrence has another forged address.
"""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """A copy of the table."""

    counts: dict[str, int] = {}
    floor: int = 0
    """The largest error of a count, and the most that a value outside the table can have occurred."""

    def largest(self, most: int) -> list[tuple[str, int]]:
        """Return up to ``most`` values with their counts, the largest count first."""
        return sorted(self.counts.items(), key=lambda row: (-row[1], row[0]))[:most]


class HeavyHitters:
    """A bounded table of values and counts, as the module describes."""

    def __init__(self, keep: int, before: Counts | None = None) -> None:
        """Continue from ``before``, the table of an earlier process, which may have had another ``keep``."""
        self._keep = keep
        self._most = 2 * keep
        before = before or Counts()
        self.floor = before.floor
        self._counts = dict(before.counts)
        while len(self._counts) > self._most:
            self._prune()

    def known(self, value: str) -> bool:
        """Count a value if it is in the table. Return True if it is."""
        count = self._counts.get(value)
        if count is None:
            return False
        self._counts[value] = count + 1
        return True

    def add(self, value: str) -> None:
        """Count one occurrence of a value."""
        if self.known(value):
            return
        if len(self._counts) >= self._most:
            self._prune()
        self._counts[value] = 1

    def counts(self) -> Counts:
        """Return a copy of the table."""
        return Counts(dict(self._counts), self.floor)

    def _prune(self) -> None:
        least = sorted(self._counts.values(), reverse=True)[self._keep]
        self.floor += least
        self._counts = {value: count - least for value, count in self._counts.items() if count > least}
