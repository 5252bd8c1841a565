"""The legs of a set as lists and resets of switches see them (engine.md 5.6): each operation visits some legs."""

from __future__ import annotations

from identengine.calls.backend import LegSelector, Settings
from identengine.calls.expiry import Expiry
from identengine.calls.leg import Leg
from identengine.calls.legs import ACTIVE, LAPSED
from identengine.calls.legtable import LegTable
from identengine.calls.mirror import Changes
from identengine.calls.sync import Note, Sweep


class ListedLegs:
    """The operations of :class:`identengine.calls.sync.Set` on the legs in memory."""

    def __init__(self, table: LegTable, expiry: Expiry, settings: Settings, changes: Changes) -> None:
        self._table = table
        self._expiry = expiry
        self._reserved, self._grace = settings.reserved, settings.grace
        self._notes = changes.notes

    def knows(self, selector: LegSelector) -> bool:
        """Implement :meth:`identengine.calls.sync.Set.knows`."""
        return bool(self._table.matching(selector))

    def confirm(self, selector: LegSelector, switch: str, now: float) -> list[Leg]:
        """Implement :meth:`identengine.calls.sync.Set.confirm`."""
        legs = self._table.matching(selector)
        held = [leg for leg in legs if leg.state != LAPSED]
        for leg in held:
            self._table.rows.move(leg, leg.state)
            leg.missed = None
            leg.switch = switch
            leg.due = now + (leg.lease if leg.state == ACTIVE else self._reserved)
        if held:
            return held
        for leg in legs:
            self._expiry.revive(leg, switch, leg.lease, now)
        return legs

    def miss(self, cursor: int, count: int, sweep: Sweep, now: float) -> tuple[int, int | None]:
        """Implement :meth:`identengine.calls.sync.Set.miss`."""
        legs, following = self._table.run(cursor, count)
        freed = 0
        for leg in legs:
            if leg.switch != sweep.switch or leg.state != ACTIVE or id(leg) in sweep.seen:
                continue
            if leg.due - leg.lease > sweep.began:
                continue  # a start or update arrived after the list
            if leg.missed is None:
                self._table.rows.move(leg, ACTIVE)
                leg.missed = sweep.list_id
            elif leg.missed != sweep.list_id and now - leg.since > self._grace:
                self._table.free(leg)
                freed += 1
        return freed, following

    def free_older(self, cursor: int, count: int, switch: str, began: float) -> tuple[int, int | None]:
        """Implement :meth:`identengine.calls.sync.Set.free_older`."""
        legs, following = self._table.run(cursor, count)
        freed = 0
        for leg in legs:
            if leg.switch == switch and leg.since <= began:
                self._table.free(leg)
                freed += leg.state != LAPSED
        return freed, following

    def note(self, name: str, value: Note) -> None:
        """Implement :meth:`identengine.calls.sync.Set.note`."""
        self._notes[name] = value
