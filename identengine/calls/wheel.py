"""Which slots are due in which second: what lapses costs by the lapse, whatever is held (engine.md 5.5).

A slot that is renewed or freed stays noted in its old second, and is passed over when that comes: who walks the
wheel asks the leg. A note is four bytes, so that of calls which ended long before their lease costs little.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heappop, heappush


class Wheel:
    """Slots by the second in which they may be due."""

    def __init__(self) -> None:
        self._seconds: dict[int, array[int]] = {}
        self._order: list[int] = []
        """The seconds as a heap: the next may be weeks away, or before this boot, so that none is searched for."""

    def add(self, slot: int, due: float) -> None:
        """Note a slot in the first second that begins after ``due``."""
        self.add_all((slot,), due)

    def add_all(self, slots: Sequence[int], due: float) -> None:
        """Note slots that are due together."""
        second = int(due) + 1
        there = self._seconds.get(second)
        if there is not None:
            there.extend(slots)
            return
        self._seconds[second] = array("i", slots)
        heappush(self._order, second)

    def take(self, now: float, most: int) -> list[int]:
        """Take out slots that may be due at ``now``, at most so many, the longest due first."""
        taken: list[int] = []
        while self._order and self._order[0] <= now and len(taken) < most:
            self._cut(most, taken)
        return taken

    def take_earliest(self, most: int) -> tuple[int, list[int]]:
        """Take out slots of the earliest second, whether it has come or not; returns the second too."""
        if not self._order:
            return 0, []
        second, taken = self._order[0], list[int]()
        self._cut(most, taken)
        return second, taken

    def _cut(self, most: int, taken: list[int]) -> None:
        """Take slots of the earliest second, until there are ``most``."""
        slots = self._seconds[self._order[0]]
        room = most - len(taken)
        taken += slots[:room]
        del slots[:room]
        if not slots:
            del self._seconds[heappop(self._order)]
