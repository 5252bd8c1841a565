"""Places of legs: a number for each, used again when it is free (engine.md 5.8).

There are two spaces. A reserved leg is kept with the answer that its retransmission gets, and is large; all
others are small. Were they mixed, the pages of the mirror that large ones had filled would stay half empty. The
numbers of large ones are negative.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

MORE = 256
"""Places that are made at once."""


class Slots(Generic[T]):
    """What stands at which number."""

    def __init__(self) -> None:
        self._small: list[T | None] = []
        self._large: list[T | None] = []
        self._free_small: list[int] = []
        self._free_large: list[int] = []
        """The number that was freed last is used next: its page of the mirror was written a moment ago."""

    def get(self, slot: int) -> T | None:
        """Return what stands there; None where nothing does."""
        return self._small[slot] if slot >= 0 else self._large[~slot]

    def add_small(self, item: T) -> int:
        """Put something where there is room; returns its number."""
        free = self._free_small
        if not free:
            _more(self._small, free)
        slot = free.pop()
        self._small[slot] = item
        return slot

    def add_large(self, item: T) -> int:
        """Put something large where there is room; returns its number."""
        free = self._free_large
        if not free:
            _more(self._large, free)
        slot = free.pop()
        self._large[slot] = item
        return ~slot

    def remove(self, slot: int) -> None:
        """Free a number."""
        if slot < 0:
            self._large[~slot] = None
            self._free_large.append(~slot)
        else:
            self._small[slot] = None
            self._free_small.append(slot)

    def restore(self, items: dict[int, T]) -> None:
        """Put everything where it was."""
        for places, free, large in (
            (self._small, self._free_small, False),
            (self._large, self._free_large, True),
        ):
            there = {~slot if large else slot: item for slot, item in items.items() if (slot < 0) is large}
            while len(places) <= max(there, default=-1):
                _more(places, free)
            for place, item in there.items():
                places[place] = item
            free[:] = [place for place in reversed(range(len(places))) if place not in there]

    def run(self, first: int, count: int) -> list[T] | None:
        """Return what stands at ``count`` places from ``first`` on, of both spaces; None behind the last one."""
        if first >= max(len(self._small), len(self._large)):
            return None
        places = self._small[first : first + count] + self._large[first : first + count]
        return [item for item in places if item is not None]


def _more(places: list[T | None], free: list[int]) -> None:
    """Make places, the lowest of them to be used first."""
    first = len(places)
    places.extend([None] * MORE)
    free.extend(range(first + MORE - 1, first - 1, -1))
