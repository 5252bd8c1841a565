"""Places of legs: a number for each, used again when it is free (engine.md 5.8).

There are two spaces. A reserved leg is kept with the answer that its retransmission gets, and is large; all
others are small. Were they mixed, the pages of the mirror that large ones had filled would stay half empty. The
numbers of large ones are negative.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Slots(Generic[T]):
    """What stands at which number."""

    def __init__(self) -> None:
        self._small: list[T | None] = []
        self._large: list[T | None] = []
        self._free: tuple[list[int], list[int]] = ([], [])
        """The number that was freed last is used next: its page of the mirror was written a moment ago."""

    def get(self, slot: int) -> T | None:
        """Return what stands there; None where nothing does."""
        return self._small[slot] if slot >= 0 else self._large[~slot]

    def add(self, item: T, *, large: bool) -> int:
        """Put something where there is room; returns its number."""
        places, free = (self._large, self._free[1]) if large else (self._small, self._free[0])
        if free:
            place = free.pop()
            places[place] = item
        else:
            place = len(places)
            places.append(item)
        return ~place if large else place

    def remove(self, slot: int) -> None:
        """Free a number."""
        if slot >= 0:
            self._small[slot] = None
            self._free[0].append(slot)
        else:
            self._large[~slot] = None
            self._free[1].append(~slot)

    def restore(self, items: dict[int, T]) -> None:
        """Put everything where it was."""
        for places, free, large in ((self._small, self._free[0], False), (self._large, self._free[1], True)):
            there = {~slot if large else slot: item for slot, item in items.items() if (slot < 0) is large}
            places[:] = [there.get(place) for place in range(max(there, default=-1) + 1)]
            free[:] = [place for place, item in enumerate(places) if item is None]

    def run(self, first: int, count: int) -> list[T] | None:
        """Return what stands at ``count`` places from ``first`` on, of both spaces; None behind the last one."""
        if first >= max(len(self._small), len(self._large)):
            return None
        places = self._small[first : first + count] + self._large[first : first + count]
        return [item for item in places if item is not None]
