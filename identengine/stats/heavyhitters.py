"""Which values occur most in an endless stream, in bounded memory (the sketch of Misra and Gries).

At most ``2 * keep`` values are counted. When a new one finds no room, the count of the ``keep + 1``-th largest is
taken off all of them, what is not above zero goes, and :attr:`HeavyHitters.floor` grows by it. So, after ``n``
occurrences of anything whatever:

- a value that occurred more than ``floor`` times is there;
- its true number is at least its count and at most its count + ``floor``;
- ``floor <= n / (keep + 1)``, since what was taken off the ``keep + 1`` largest was counted before.

A prune takes about a millisecond at ``keep = 1000`` and makes room for ``keep`` new values at least, so that the
cost of one is constant on the average, also where each comes from another forged address.
"""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """What is known at a moment."""

    counts: dict[str, int] = {}
    floor: int = 0
    """How far a count may be too small, and how often a value that is not there may have occurred."""

    def largest(self, most: int) -> list[tuple[str, int]]:
        """Return the values counted most, the first of them first."""
        return sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))[:most]


class HeavyHitters:
    """Counts values; see the module."""

    def __init__(self, keep: int, before: Counts | None = None) -> None:
        """``before``: what was known at the end of another run, to go on from; of any ``keep``."""
        self._keep = keep
        self._most = 2 * keep
        before = before or Counts()
        self.floor = before.floor
        self._counts = dict(before.counts)
        while len(self._counts) > self._most:
            self._prune()

    def known(self, value: str) -> bool:
        """Count a value if it is there already; returns whether it is."""
        count = self._counts.get(value)
        if count is None:
            return False
        self._counts[value] = count + 1
        return True

    def add(self, value: str) -> None:
        """Count a value once more."""
        if self.known(value):
            return
        if len(self._counts) >= self._most:
            self._prune()
        self._counts[value] = 1

    def counts(self) -> Counts:
        """Return a copy of what is known."""
        return Counts(dict(self._counts), self.floor)

    def _prune(self) -> None:
        least = sorted(self._counts.values(), reverse=True)[self._keep]
        self.floor += least
        self._counts = {value: count - least for value, count in self._counts.items() if count > least}
