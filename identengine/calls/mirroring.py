"""The way of the changes of a set of calls to its mirror: batch by batch, and all again if the mirror was lost.

Rule: the memory is the truth. A mirror that was lost is written again in short steps between the batches.
"""

from __future__ import annotations

from identengine.calls.legtable import LegTable
from identengine.calls.mirror import Changes, Mirror, MirrorError, RoomLeft
from identengine.calls.sync import Lists
from identengine.calls.tombstones import Tombstones

STEP = 256
"""Legs that one step writes again."""
_RESERVE = RoomLeft.RESERVE  # looking up an enum member is slow


class Mirroring:
    """The changes of a set, and the progress of writing the whole set again."""

    def __init__(
        self,
        mirror: Mirror,
        changes: Changes,
        table: LegTable,
        tombstones: Tombstones,
        lists: Lists,
        max_legs: int,
    ) -> None:
        """Mirror these parts of a set. ``changes`` are those that the mirror has not stored yet."""
        self.overfull = False
        """True while the mirror has no space. No leg is admitted until it has."""
        self._mirror = mirror
        self._changes = changes
        self._table = table
        self._tombstones = tombstones
        self._lists = lists
        self._max_legs = max_legs
        self._generation = mirror.generation
        self._failed = False
        """True if the mirror did not store the changes at an attempt, until :meth:`write_anew` takes note."""
        self._next: int | None = None
        """Serial number at which the next step continues, or None if the mirror holds the whole set.

        It is -1 after the last step, until the mirror has stored that step.
        """

    def write(self) -> bool:
        """Write the changes. Return False if the mirror did not store them. They are kept for the next attempt."""
        changes, stored = self._changes, True
        if changes.rows or changes.tombstones or changes.notes:
            try:
                self._mirror.write(changes)
            except MirrorError:
                self._failed, stored = True, False
            else:
                generation = self._mirror.generation
                for row in changes.rows.values():
                    row.marked |= row.stored == generation
                    row.stored = generation
                changes.rows.clear()
                if changes.tombstones:
                    changes.tombstones.clear()
                if changes.notes:
                    changes.notes.clear()
        overfull = self._mirror.room_left is _RESERVE or not stored
        if overfull is not self.overfull:
            self.overfull = overfull
            self._table.counts.hold(0 if overfull else self._max_legs)
        return stored

    def write_anew(self) -> bool:
        """Do one step of writing the set to a new, empty mirror. Return True if more work is left."""
        if self._mirror.generation != self._generation:
            self._changes.tombstones.clear()
            self._changes.tombstones.update(self._tombstones.rows())
            self._changes.notes.update(self._lists.notes())
            self._generation, self._next = self._mirror.generation, 0
        if self._next is None:
            return False
        if self._next >= 0:
            rows, cursor = self._table.rows.run(self._next, STEP)
            self._table.rows.changed.update((row.serial, row) for row in rows)
            self._next = -1 if cursor is None else cursor
            return True
        if self._failed:  # the next write repeats the changes
            self._failed = False
            return not self.overfull
        self._mirror.complete()
        self._next = None
        return False
