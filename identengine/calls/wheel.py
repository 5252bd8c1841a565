"""A timer wheel of rows (engine.md 5.5). Its cost depends on the rows that are due, not on all rows.

A row has one entry, at the tick after the earliest of its legs may be due. A leg that is renewed moves to another
row, so that no leg of a row is due before its entry. The entry goes with the row.
"""

from __future__ import annotations

from heapq import heappop, heappush

from identengine.calls.leg import Row

TICKS = 4
"""Ticks per second. A row is entered at the next tick after its due time."""


def tick_after(due: float) -> int:
    """Return the first tick that begins after a time."""
    return int(due * TICKS) + 1


class Wheel:
    """Rows by the tick at which they may be due."""

    def __init__(self) -> None:
        self._ticks: dict[int, set[int]] = {}
        """The serial numbers of the rows of each tick."""
        self._order: list[int] = []
        """The ticks as a heap.

        The next tick may be weeks away or before this boot, so counting up would take too long.
        """

    def __len__(self) -> int:
        return sum(map(len, self._ticks.values()))

    def add(self, row: Row) -> None:
        """Enter a row."""
        tick = row.tick = int(row.due * TICKS) + 1  # `tick_after`, inlined
        there = self._ticks.get(tick)
        if there is None:
            self._ticks[tick] = {row.serial}
            heappush(self._order, tick)
        else:
            there.add(row.serial)

    def remove(self, row: Row) -> None:
        """Remove the entry of a row that is gone."""
        there = self._ticks.get(row.tick)
        if there is not None:
            there.discard(row.serial)

    def take(self, now: float) -> int | None:
        """Remove and return the serial number of a row that may be due at ``now``, or None."""
        until = now * TICKS
        while self._order and self._order[0] <= until:
            if (serial := self._take_one()) is not None:
                return serial
        return None

    def take_earliest(self) -> int | None:
        """Remove and return the serial number of an earliest row, even if it is due in the future."""
        while self._order:
            if (serial := self._take_one()) is not None:
                return serial
        return None

    def _take_one(self) -> int | None:
        """Remove and return a row of the first tick. If the tick has no row, remove the tick and return None."""
        serials = self._ticks[self._order[0]]
        if serials:
            return serials.pop()
        del self._ticks[self._order[0]]
        heappop(self._order)
        return None
