"""Slots of legs: a number for each leg, reused when the leg is gone (engine.md 5.8).

There are two spaces of slots. A reserved leg is large, since it keeps its answer for retransmissions. All other
legs are small. If large and small legs shared pages of the mirror, freed large legs would leave the pages half
empty. The number of a small slot is its position in the small space. That of a large slot is the complement of its
position, which is negative.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

MORE = 256
"""Number of positions by which a space grows."""


class Space(Generic[T]):
    """Items by position, with a list of changed positions.

    Rule: a position is noted as changed before it changes, so that no fault in between hides the change.
    """

    def __init__(self) -> None:
        self.items: list[T | None] = []
        """By position: the item, or None if the position is free."""
        self.changed: list[int] = []
        """Positions that changed. A position may occur several times."""
        self._free: list[int] = []
        """Free positions.

        The one that was freed last is used next, since its page of the mirror was written recently.
        """

    def __len__(self) -> int:
        return len(self.items)

    @property
    def taken(self) -> int:
        """Number of positions in use."""
        return len(self.items) - len(self._free)

    def __getitem__(self, position: int) -> T | None:
        return self.items[position]

    def add(self, item: T) -> int:
        """Store an item at a free position. Return the position."""
        free = self._free
        if not free:
            self._grow()
        position = free.pop()
        self.changed.append(position)
        self.items[position] = item
        return position

    def remove(self, position: int) -> None:
        """Free a position."""
        self.changed.append(position)
        self.items[position] = None
        self._free.append(position)

    def restore(self, there: Mapping[int, T]) -> None:
        """Store all items at their former positions."""
        last = max(there, default=-1)
        while len(self.items) <= last:
            self._grow()
        for position, item in there.items():
            self.items[position] = item
        self._free[:] = [position for position in reversed(range(len(self.items))) if position not in there]

    def note_run(self, first: int, count: int) -> None:
        """Record all items at ``count`` positions from ``first`` as changed."""
        for position, item in enumerate(self.items[first : first + count], first):
            if item is not None:
                self.changed.append(position)

    def run(self, first: int, count: int) -> list[T]:
        """Return the items at ``count`` positions from ``first``."""
        return [item for item in self.items[first : first + count] if item is not None]

    def _grow(self) -> None:
        """Add positions. The lowest of them is used first."""
        first = len(self.items)
        self.items.extend([None] * MORE)
        self._free.extend(range(first + MORE - 1, first - 1, -1))


class Slots(Generic[T]):
    """The two spaces: small and large."""

    def __init__(self) -> None:
        self.small = Space[T]()
        self.large = Space[T]()

    def get(self, slot: int) -> T | None:
        """Return the item of a slot, or None if the slot is free."""
        return self.small[slot] if slot >= 0 else self.large[~slot]

    def remove(self, slot: int) -> None:
        """Free a slot."""
        if slot < 0:
            self.large.remove(~slot)
        else:
            self.small.remove(slot)

    def note(self, slot: int) -> None:
        """Record that the item of a slot changed."""
        if slot < 0:
            self.large.changed.append(~slot)
        else:
            self.small.changed.append(slot)

    def restore(self, items: Mapping[int, T]) -> None:
        """Store all items in their former slots."""
        self.small.restore({slot: item for slot, item in items.items() if slot >= 0})
        self.large.restore({~slot: item for slot, item in items.items() if slot < 0})

    def all(self) -> Iterator[tuple[int, T]]:
        """Return an iterator over all slots in use and their items, the large ones first."""
        yield from ((~position, item) for position, item in enumerate(self.large.items) if item is not None)
        yield from ((position, item) for position, item in enumerate(self.small.items) if item is not None)

    def reaches(self, position: int) -> bool:
        """Return True if one of the spaces has this position."""
        return position < max(len(self.small), len(self.large))

    def note_run(self, first: int, count: int) -> None:
        """Record the items of both spaces at ``count`` positions from ``first`` as changed."""
        self.small.note_run(first, count)
        self.large.note_run(first, count)

    def run(self, first: int, count: int) -> list[T] | None:
        """Return the items of both spaces at ``count`` positions from ``first``. None after the last position."""
        if not self.reaches(first):
            return None
        return self.small.run(first, count) + self.large.run(first, count)
