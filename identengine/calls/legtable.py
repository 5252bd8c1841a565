"""The table of all legs in memory, by call and by row.

It counts legs while they are held. A leg is in the table exactly as long as it is held or remembered. The rules of
a leg's life are in :mod:`identengine.calls.admission` and :mod:`identengine.calls.progress`, and its expiry is in
:mod:`identengine.calls.expiry`.
"""

from __future__ import annotations

from collections.abc import Sequence

from identengine.calls.backend import LegSelector
from identengine.calls.counts import Counts
from identengine.calls.leg import Leg, Row
from identengine.calls.legs import LAPSED, leg_key
from identengine.calls.rows import Rows
from identengine.model.records import Direction

LEGS_OF_A_CALL = 256
"""Maximum number of legs of one call. It bounds the work for a message that names a whole call."""


class LegTable:
    """All legs that are held or remembered."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.legs: dict[str, Leg | dict[str, Leg]] = {}
        """By call key: the leg of the call, or its legs by leg key if it has several."""
        self.rows = Rows()
        self.lapsed = 0
        """Number of lapsed legs."""

    def restore(self, rows: Sequence[Row]) -> None:
        """Add the rows that a mirror stored, and count the held legs."""
        self.rows.restore(rows)
        for row in rows:
            self._count(row.living())

    def rebuild(self) -> None:
        """Derive everything else from the legs in the rows, after a fault left a change incomplete.

        If this method fails too, it can be called again.
        """
        self.legs.clear()
        self.lapsed = 0
        self.counts.clear()
        self._count(self.rows.rebuild())

    def _count(self, legs: Sequence[Leg]) -> None:
        """Find legs that are in rows by their calls, too, and count the held ones."""
        for leg in legs:
            leg.cells = self.counts.restore(leg.cells)
            self.add(leg)
            if leg.state == LAPSED:
                self.lapsed += 1
            else:
                leg.cells = self.counts.add(leg.cells)

    def find(self, call: str, key: str) -> Leg | None:
        """Return the held or lapsed leg with these keys, or None if it does not exist."""
        there = self.legs.get(call)
        if isinstance(there, dict):
            return there.get(key)
        return there if there is not None and there.leg == key else None

    def leg(self, call: str, key: str) -> Leg:
        """Return the held or lapsed leg with these keys. Raise KeyError if it does not exist."""
        leg = self.find(call, key)
        if leg is None:
            raise KeyError(call, key)
        return leg

    def matching(self, selector: LegSelector) -> list[Leg]:
        """Return the held and lapsed legs that ``selector`` names."""
        there = self.legs.get(selector.call)
        if there is None:
            return []
        direction, leg_id = selector.direction, selector.leg_id
        if direction is None and leg_id is None and isinstance(there, Leg):
            return [there]
        if direction is not None and leg_id is not None:
            leg = self.find(selector.call, leg_key(direction, leg_id))
            return [] if leg is None else [leg]
        legs = list(there.values()) if isinstance(there, dict) else [there]
        if direction is not None:
            initial = leg_key(direction, None)
            legs = [leg for leg in legs if leg.leg[0] == initial]
        if leg_id is not None:
            ends = {leg_key(each, leg_id) for each in Direction}
            legs = [leg for leg in legs if leg.leg in ends]
        return legs

    def is_only_leg(self, selector: LegSelector) -> bool:
        """Return True if ``selector`` names the only leg of its call."""
        return isinstance(self.legs.get(selector.call), Leg) and bool(self.matching(selector))

    def run(self, cursor: int, count: int) -> tuple[list[Leg], int | None]:
        """Return about ``count`` legs in the order of their rows from ``cursor`` on, and the next cursor or None.

        A leg that changes moves to a later row. So a walk misses no leg, but may return one twice.
        """
        rows, following = self.rows.run(cursor, count)
        return [leg for row in rows for leg in row.legs if leg is not None], following

    def may_add_leg(self, call: str) -> bool:
        """Return True if a call may have one more leg. Forget its lapsed legs if that is necessary."""
        there = self.legs.get(call)
        if not isinstance(there, dict) or len(there) < LEGS_OF_A_CALL:
            return True
        for leg in [leg for leg in there.values() if leg.state == LAPSED]:
            self.free(leg)
        return len(there) < LEGS_OF_A_CALL

    def add(self, leg: Leg) -> None:
        """Add a leg to its call."""
        there = self.legs.setdefault(leg.call, leg)
        if isinstance(there, dict):
            there[leg.leg] = leg
        elif there is not leg:
            self.legs[leg.call] = {there.leg: there, leg.leg: leg}

    def free(self, leg: Leg) -> None:
        """Remove a leg from the table, and free its slot."""
        if leg.state == LAPSED:
            self.lapsed -= 1
        else:
            self.counts.remove(leg.cells)
        there = self.legs.pop(leg.call)
        if isinstance(there, dict):
            self._keep_others(there, leg)
        self.rows.remove(leg)

    def _keep_others(self, there: dict[str, Leg], leg: Leg) -> None:
        """Keep the other legs of a call when ``leg`` is removed."""
        del there[leg.leg]
        if len(there) == 1:
            (self.legs[leg.call],) = there.values()
        else:
            self.legs[leg.call] = there
