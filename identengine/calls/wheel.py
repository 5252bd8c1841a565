"""Which slots are due in which second: what lapses costs by the lapse, whatever is held (engine.md 5.5).

A slot that is renewed or freed stays noted in its old second, and is passed over when that comes: who walks the
wheel asks the leg. A note is four bytes, so that of calls which ended long before their lease costs little.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Wheel:
    """Slots by the second in which they may be due."""

    def __init__(self) -> None:
        self._seconds: dict[int, array[int]] = {}
        self._first = 0
        """No second before this one holds a slot."""

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
        if second < self._first or not self._seconds:
            self._first = second
        self._seconds[second] = array("i", slots)

    def take(self, now: float, most: int) -> list[int]:
        """Take out slots that may be due at ``now``, at most so many, the longest due first."""
        taken: list[int] = []
        while (second := self._earliest()) is not None and second <= now and len(taken) < most:
            self._cut(second, most, taken)
        return taken

    def take_earliest(self, most: int) -> tuple[int, list[int]]:
        """Take out slots of the earliest second, whether it has come or not; returns the second too."""
        taken: list[int] = []
        second = self._earliest()
        if second is not None:
            self._cut(second, most, taken)
        return second or 0, taken

    def _cut(self, second: int, most: int, taken: list[int]) -> None:
        slots = self._seconds[second]
        room = most - len(taken)
        taken += slots[:room]
        del slots[:room]
        if not slots:
            del self._seconds[second]

    def _earliest(self) -> int | None:
        if not self._seconds:
            return None
        while self._first not in self._seconds:
            self._first += 1
        return self._first
