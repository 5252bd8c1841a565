"""Places of legs: a number for each, used again when it is free (engine.md 5.8), and which of them changed.

There are two spaces. A reserved leg is kept with the answer that its retransmission gets, and is large; all
others are small. Were they mixed, the pages of the mirror that large ones had filled would stay half empty. The
number of a slot is its place among the small ones; of a large one it is the complement, so that it is negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

MORE = 256
"""Places that are made at once."""


class Space(Generic[T]):
    """What stands at which place."""

    def __init__(self) -> None:
        self.places: list[T | None] = []
        """What stands there; None where nothing does."""
        self.changed: list[int] = []
        """Places where something changed; one may be among them several times."""
        self._free: list[int] = []
        """The one that was freed last is used next: its page of the mirror was written a moment ago."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def taken(self) -> int:
        """At how many places something stands."""
        return len(self.places) - len(self._free)

    def __getitem__(self, place: int) -> T | None:
        return self.places[place]

    def add(self, item: T) -> int:
        """Put something where there is room; returns the place."""
        free = self._free
        if not free:
            self._grow()
        place = free.pop()
        self.places[place] = item
        self.changed.append(place)
        return place

    def remove(self, place: int) -> None:
        """Free a place."""
        self.places[place] = None
        self.changed.append(place)
        self._free.append(place)

    def restore(self, there: Mapping[int, T]) -> None:
        """Put everything where it was."""
        last = max(there, default=-1)
        while len(self.places) <= last:
            self._grow()
        for place, item in there.items():
            self.places[place] = item
        self._free[:] = [place for place in reversed(range(len(self.places))) if place not in there]

    def run(self, first: int, count: int) -> list[T]:
        """Return what stands at ``count`` places from ``first`` on."""
        return [item for item in self.places[first : first + count] if item is not None]

    def _grow(self) -> None:
        """Make places, the lowest of them to be used first."""
        first = len(self.places)
        self.places.extend([None] * MORE)
        self._free.extend(range(first + MORE - 1, first - 1, -1))


class Slots(Generic[T]):
    """The two spaces."""

    def __init__(self) -> None:
        self.small = Space[T]()
        self.large = Space[T]()

    def get(self, slot: int) -> T | None:
        """Return what stands there; None where nothing does."""
        return self.small[slot] if slot >= 0 else self.large[~slot]

    def remove(self, slot: int) -> None:
        """Free a slot."""
        if slot < 0:
            self.large.remove(~slot)
        else:
            self.small.remove(slot)

    def note(self, slot: int) -> None:
        """Note that what stands there changed."""
        if slot < 0:
            self.large.changed.append(~slot)
        else:
            self.small.changed.append(slot)

    def restore(self, items: Mapping[int, T]) -> None:
        """Put everything where it was, by slots."""
        self.small.restore({slot: item for slot, item in items.items() if slot >= 0})
        self.large.restore({~slot: item for slot, item in items.items() if slot < 0})

    def run(self, first: int, count: int) -> list[T] | None:
        """Return what stands at ``count`` places from ``first`` on, of both spaces; None behind the last one."""
        if first >= max(len(self.small), len(self.large)):
            return None
        return self.small.run(first, count) + self.large.run(first, count)
