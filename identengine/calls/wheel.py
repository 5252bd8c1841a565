"""A timer wheel of slots (engine.md 5.5). Its cost depends on the slots that expire, not on all held slots.

A slot has at most one entry, at or before its due time. A renewed leg keeps its entry, and a reused slot keeps
that of the former leg. The number of entries therefore never exceeds the number of slots. The code that removes a
slot checks the due time of its leg, and enters the slot again if it is due later.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heappop, heappush

TICKS = 4
"""Ticks per second. A slot is entered at the next tick after its due time."""
_NOT_NOTED = 2**62


def tick_after(due: float) -> int:
    """Return the first tick that begins after a time."""
    return int(due * TICKS) + 1


class Wheel:
    """Slots by the tick at which they may be due."""

    def __init__(self) -> None:
        self._ticks: dict[int, array[int]] = {}
        self._order: list[int] = []
        """The ticks as a heap.

        The next tick may be weeks away or before this boot, so counting up would take too long.
        """
        self._small = array("q")
        self._large = array("q")
        """By position (:mod:`identengine.calls.slots`): the tick at which a slot is entered."""

    def add(self, slot: int, due: float) -> None:
        """Enter a slot, unless it has an entry for an earlier tick."""
        self.add_all((slot,), due)

    def add_all(self, slots: Sequence[int], due: float) -> None:
        """Enter slots that are due together."""
        tick = tick_after(due)
        small, large = self._small, self._large
        fresh = []
        for slot in slots:
            noted, position = (large, ~slot) if slot < 0 else (small, slot)
            try:
                if noted[position] <= tick:
                    continue
            except IndexError:
                noted.extend([_NOT_NOTED] * (position + 256))
            noted[position] = tick
            fresh.append(slot)
        if not fresh:
            return
        there = self._ticks.get(tick)
        if there is not None:
            there.extend(fresh)
            return
        self._ticks[tick] = array("i", fresh)
        heappush(self._order, tick)

    def take(self, now: float, most: int) -> list[int]:
        """Remove and return at most ``most`` slots that may be due at ``now``, the earliest first."""
        taken: list[int] = []
        until = now * TICKS
        while self._order and self._order[0] <= until and len(taken) < most:
            self._cut(most, taken)
        return taken

    def take_earliest(self, most: int) -> tuple[float, list[int]]:
        """Remove and return slots of the earliest tick and its time, even if it lies in the future."""
        taken: list[int] = []
        if not self._order:
            return 0.0, taken
        tick = self._order[0]
        self._cut(most, taken)
        return tick / TICKS, taken

    def _cut(self, most: int, taken: list[int]) -> None:
        """Remove slots of the earliest tick until ``most`` are taken. Skip slots entered at another tick."""
        tick = self._order[0]
        slots = self._ticks[tick]
        room = most - len(taken)
        for slot in slots[:room]:
            noted, position = (self._large, ~slot) if slot < 0 else (self._small, slot)
            if noted[position] == tick:
                noted[position] = _NOT_NOTED
                taken.append(slot)
        del slots[:room]
        if not slots:
            del self._ticks[heappop(self._order)]
