"""The rows of the set of calls: the legs of a batch are one value of the mirror (engine.md 5.8).

A batch writes its legs into fresh rows, one for each state, and seals them when it ends. A sealed row takes no
further leg: a leg that changes moves to a fresh row. So a value is written once. When legs leave a row, the mirror
notes the dead places. It deletes the value with the last leg. Legs of one state leave their rows at about the same
time, so most rows die whole.

Rule: a leg is in a later row before it leaves its row, and before it changes. So no fault in between loses the leg
or hides the change, and a walk by ascending serial numbers misses no leg.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from identengine.calls.leg import Leg, Row
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, fingerprint_of
from identengine.calls.order import Order
from identengine.calls.wheel import Wheel
from identengine.model.usual import UsualRequest

ROW_LEGS: Final = 32
"""Largest number of legs in a row. A batch that takes more fills several rows."""
SMALL = ROW_LEGS // 4
"""Number of legs below which a row counts as small."""
NEARLY_FULL = ROW_LEGS * 7 // 8
"""Number of legs from which a row counts as nearly full."""
SMALL_ROWS = 1024
"""Number of rows up to which small rows are not merged: they take at most 4 MiB of the mirror."""


_NEW_ROWS = 64
"""Number of new rows after which a walk that merged nothing is repeated."""


class _Walk(msgspec.Struct):
    """A walk that merges rows."""

    cursor: int = 0
    """Serial number at which the next step begins, or 0 between two walks."""
    merged: int = 0
    """Number of legs that the walk has moved."""
    ended: int = -_NEW_ROWS
    """The largest serial number when the last walk ended."""


class Rows:
    """All rows of a set, in ascending order of their serial numbers."""

    def __init__(self) -> None:
        self.all: dict[int, Row] = {}
        """By serial number."""
        self.changed: dict[int, Row] = {}
        """The rows that the mirror has not stored as they are, by serial number."""
        self.fresh: list[Row | None] = [None] * (LAPSED + 1)
        """By state: the row that takes legs of this state until the batch ends, or None."""
        self.leases, self.memories = Wheel(), Wheel()
        """The rows of held legs and of lapsed legs, by the time at which a leg may be due."""
        self.sparse: dict[int, None] = {}
        """Serial numbers of rows of which more than half is dead."""
        self._serial = 0
        self._sealed = 0
        """The largest serial number when the last batch ended."""
        self._order = Order(self.all)
        self._living = [0] * (LAPSED + 1)
        """By state: the number of legs at the end of the last batch."""
        self._walk = _Walk()

    def count(self, state: State) -> int:
        """Return the number of legs of a state at the end of the last batch."""
        return self._living[state]

    def begin(self, kind: State) -> Row:
        """Begin a fresh row for legs of a state."""
        if (full := self.fresh[kind]) is not None:
            self.fresh[kind] = None
            self._seal(full)
        self._serial += 1
        row = Row(self._serial, kind, [])
        self.all[row.serial] = row
        self._order.add(row.serial)
        self.fresh[kind] = row
        return row

    def put(self, leg: Leg, kind: State) -> None:
        """Put a leg into the fresh row of a state."""
        row = self.fresh[kind]
        if row is None or len(row.legs) == ROW_LEGS:
            row = self.begin(kind)
        place = len(row.legs)
        row.legs.append(leg)
        leg.row, leg.place = row.serial, place
        row.due = 0.0

    def move(self, leg: Leg, kind: State) -> None:
        """Put a leg that is about to change into the fresh row of its next state."""
        row, place = self.all[leg.row], leg.place
        if row is not self.fresh[kind]:
            self.put(leg, kind)
            self.leave(row, place)

    def remove(self, leg: Leg) -> None:
        """Remove a leg that is gone."""
        self.leave(self.all[leg.row], leg.place)

    def leave(self, row: Row, place: int) -> None:
        """Empty a place of a row."""
        if row.noted:  # it is sealed
            self.changed[row.serial] = row
            row.dead |= 1 << place
            row.left -= 1
        else:
            row.left = -1
        row.legs[place] = None

    def seal(self) -> None:
        """Seal the fresh rows, and remove the rows that have no legs left. Call it when a batch ends."""
        for row in self.changed.values():
            if row.noted != row.left:
                self._note(row)
        self._sealed = self._serial
        for kind, fresh in enumerate(self.fresh):
            if fresh is None:
                continue
            if fresh.left:
                self._close_up(fresh)
            if not fresh.legs and fresh.serial == self._serial:  # it is reused: no walk has passed the last row
                self._sealed = fresh.serial - 1
            else:
                self.fresh[kind] = None
                self._seal(fresh)

    def _seal(self, row: Row) -> None:
        """Close a row for further legs, and schedule it."""
        if row.left:
            self._close_up(row)
        legs = row.legs
        if not legs:
            del self.all[row.serial]
            return
        row.left = len(legs)
        first = legs[0]
        if row.due and first is not None:
            row.due = first.due  # this batch reserved all legs of the row
        else:
            row.due = min([leg.due for leg in row.living()])
        if row.kind == RESERVED:
            for leg in row.living():
                if type(leg.content) is UsualRequest:
                    leg.content = fingerprint_of(leg.content)  # a fifth of the memory
        (self.memories if row.kind == LAPSED else self.leases).add(row)
        row.noted = row.left
        self._living[row.kind] += row.left
        self.changed[row.serial] = row

    def _close_up(self, row: Row) -> None:
        """Remove the empty places of a row that is not sealed."""
        living = row.living()
        row.legs[:] = living
        for place, leg in enumerate(living):
            leg.place = place
        row.left = 0

    def _note(self, row: Row) -> None:
        """Note that legs left a row, and remove the row with the last one."""
        self._living[row.kind] -= row.noted - row.left
        row.noted = row.left
        if not row.left:
            self.all.pop(row.serial, None)
            if self.sparse:
                self.sparse.pop(row.serial, None)
            (self.memories if row.kind == LAPSED else self.leases).remove(row)
        elif 2 * row.left < len(row.legs):
            self.sparse[row.serial] = None

    def run(self, cursor: int, count: int) -> tuple[list[Row], int | None]:
        """Return rows with about ``count`` legs, by ascending serial number from ``cursor`` on.

        The second value is the cursor with which the walk continues, or None at the end. The fresh rows of a batch
        are never split, since each of them may take a leg of any earlier row.
        """
        rows: list[Row] = []
        legs = 0
        for seen, serial in enumerate(self._order.since(cursor)):
            if (legs >= count or seen >= 4 * count) and serial <= self._sealed:
                return rows, serial
            row = self.all.get(serial)
            if row is not None:
                rows.append(row)
                legs += len(row.legs) if row.left <= 0 else row.left
        return rows, None

    def compact(self, count: int, *, tight: bool) -> bool:
        """Move up to about ``count`` legs out of rows that waste space. Return True if more work is left.

        More than half of such a row is dead. Small rows waste space if they are many, as a page of the mirror that
        holds them may be nearly empty. If space is ``tight``, each row that is not nearly full does.
        """
        moved = 0
        while self.sparse and moved < count:
            serial, _ = self.sparse.popitem()
            moved += self._empty(self.all[serial])
        if not tight and len(self.all) <= SMALL_ROWS + sum(self._living) // SMALL:
            return bool(self.sparse)
        return self._merge(count, NEARLY_FULL if tight else SMALL) or bool(self.sparse)

    def _merge(self, count: int, most: int) -> bool:
        """Merge rows of fewer than ``most`` legs, as one step of a walk. Return True if more work is left.

        After a walk that merged nothing, the next one begins when there are enough new rows.
        """
        walk = self._walk
        if walk.cursor == 0 and not walk.merged and self._serial < walk.ended + _NEW_ROWS:
            return False
        if walk.cursor == 0:
            walk.merged = 0
        rows, cursor = self.run(walk.cursor, count)
        for kind in (RESERVED, ACTIVE, LAPSED):
            found = [row for row in rows if row.kind == kind and row.left < most and row.serial <= self._sealed]
            if sum(row.left for row in found) <= (len(found) - 1) * ROW_LEGS:  # fewer rows can hold them
                walk.merged += sum(map(self._empty, found))
        walk.cursor = cursor or 0
        if cursor is None:
            walk.ended = self._serial
        return cursor is not None or walk.merged > 0

    def _empty(self, row: Row) -> int:
        """Move the legs of a row to fresh rows. Return their number."""
        living = row.living()
        for leg in living:
            self.move(leg, leg.state)
        return len(living)

    def restore(self, rows: Iterable[Row]) -> None:
        """Add the rows that a mirror stored, by ascending serial number."""
        for row in rows:
            self.all[row.serial] = row
            self._serial = row.serial
            self._order.add(row.serial)
            self._seal_again(row)
        self._sealed = self._serial

    def rebuild(self) -> list[Leg]:
        """Derive everything else from the legs in the rows, after a fault left a change incomplete.

        Return the legs. If this method fails too, it can be called again.
        """
        seen: dict[int, Leg] = {}
        for row in reversed(self.all.values()):  # a leg that was about to move is in a later row already
            for place, leg in enumerate(row.legs):
                if leg is None:
                    continue
                if id(leg) in seen:
                    row.legs[place] = None
                else:
                    leg.row, leg.place = row.serial, place
                    seen[id(leg)] = leg
        self.fresh[:] = [None] * len(self.fresh)
        self.leases, self.memories = Wheel(), Wheel()
        self._living[:] = [0] * len(self._living)
        self.sparse.clear()
        self._order.clear()
        for row in [*self.all.values()]:
            row.left = row.noted = len(row.living())
            dead = sum(1 << place for place, leg in enumerate(row.legs) if leg is None)
            if row.stored < 0 or dead != row.dead or not row.left:
                self.changed[row.serial] = row
                row.dead = dead
            if row.left:
                self._order.add(row.serial)
                self._seal_again(row)
            else:
                del self.all[row.serial]
        for leg in seen.values():
            if leg.state != self.all[leg.row].kind:
                self.move(leg, leg.state)
        return [*seen.values()]

    def _seal_again(self, row: Row) -> None:
        """Schedule and count a row that was sealed before."""
        row.due = min([leg.due for leg in row.living()])
        (self.memories if row.kind == LAPSED else self.leases).add(row)
        row.noted = row.left
        self._living[row.kind] += row.left
        if 2 * row.left < len(row.legs):
            self.sparse[row.serial] = None
