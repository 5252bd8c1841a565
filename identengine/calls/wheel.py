"""Which slots are due when: what lapses costs by the lapse, whatever is held (engine.md 5.5).

A slot has one note at a time, at its due or before it: who is renewed keeps the note, and a slot that is used
again takes over that of the leg before. So notes are no more than slots, however many calls came and went. Who
takes slots out of the wheel asks the leg, and notes the slot anew where that is due later.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heappop, heappush

TICKS = 4
"""In a second: what is due is noted at the next one."""
_NOT_NOTED = 2**62


def tick_after(due: float) -> int:
    """Return the first tick that begins after a time, in ticks."""
    return int(due * TICKS) + 1


class Wheel:
    """Slots by the tick at which they may be due."""

    def __init__(self) -> None:
        self._ticks: dict[int, array[int]] = {}
        self._order: list[int] = []
        """The ticks as a heap: the next may be weeks away, or before this boot, so that none is searched for."""
        self._small = array("q")
        self._large = array("q")
        """The tick at which a slot is noted, by its place (:mod:`identengine.calls.slots`)."""

    def add(self, slot: int, due: float) -> None:
        """Note a slot, where it is not noted before that time already."""
        self.add_all((slot,), due)

    def add_all(self, slots: Sequence[int], due: float) -> None:
        """Note slots that are due together."""
        tick = tick_after(due)
        small, large = self._small, self._large
        fresh = []
        for slot in slots:
            noted, place = (large, ~slot) if slot < 0 else (small, slot)
            try:
                if noted[place] <= tick:
                    continue
            except IndexError:
                noted.extend([_NOT_NOTED] * (place + 256))
            noted[place] = tick
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
        """Take out slots that may be due at ``now``, at most so many, the longest due first."""
        taken: list[int] = []
        until = now * TICKS
        while self._order and self._order[0] <= until and len(taken) < most:
            self._cut(most, taken)
        return taken

    def take_earliest(self, most: int) -> tuple[float, list[int]]:
        """Take out slots of the earliest tick, whether it has come or not; returns its time too."""
        taken: list[int] = []
        if not self._order:
            return 0.0, taken
        tick = self._order[0]
        self._cut(most, taken)
        return tick / TICKS, taken

    def _cut(self, most: int, taken: list[int]) -> None:
        """Take slots of the earliest tick, until there are ``most``; not those that were noted anew since."""
        tick = self._order[0]
        slots = self._ticks[tick]
        room = most - len(taken)
        for slot in slots[:room]:
            noted, place = (self._large, ~slot) if slot < 0 else (self._small, slot)
            if noted[place] == tick:
                noted[place] = _NOT_NOTED
                taken.append(slot)
        del slots[:room]
        if not slots:
            del self._ticks[heappop(self._order)]
