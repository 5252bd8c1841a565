"""Progress of calls: ``start``, ``update`` and ``stop`` (engine.md 5.4)."""

from __future__ import annotations

from typing import Literal

from identengine.calls.admission import Admission
from identengine.calls.backend import DONE, FREED_ONE, UNKNOWN, LegResult, LegSelector, Refresh, Stop
from identengine.calls.batch import Batch
from identengine.calls.expiry import Expiry
from identengine.calls.leg import Leg
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, leg_key
from identengine.calls.legtable import LegTable
from identengine.calls.numbers import ending
from identengine.calls.tombstones import Tombstones
from identengine.model.records import Direction


class Progress:
    """Answers the messages about calls that exist or ended."""

    def __init__(
        self, table: LegTable, batch: Batch, expiry: Expiry, tombstones: Tombstones, admission: Admission
    ) -> None:
        self._table = table
        self._legs, self._rows, self._counts = table.legs, table.rows, table.counts
        self._batch = batch
        self._expiry = expiry
        self._tombstones = tombstones
        self._stopped = tombstones.calls
        self._admission = admission

    def refresh(self, message: Refresh) -> LegResult:
        """Answer a ``start`` or ``update``."""
        legs = self._table.matching(message.selector)
        lease = 3 * message.interval if message.interval is not None else None
        held = False
        for leg in legs:
            if leg.state != LAPSED:
                held = True
                self._advance(leg, message.method, message.switch, lease)
        if held:
            return DONE
        if legs:
            return self._revive(legs, message, lease)
        if message.identify is None or self._tombstones.forbid(message.selector, self._batch.now):
            return LegResult(True, unknown=True)
        return self._count_unknown(message, lease or self._batch.active)

    def _revive(self, legs: list[Leg], message: Refresh, lease: float | None) -> LegResult:
        """Count lapsed legs again."""
        overcommit = False
        for leg in legs:
            levels = message.levels(leg.cells[0].number, leg.counters)
            self._expiry.revive(leg, message.switch, lease or leg.lease, self._batch.now)
            self._batch.hand_over(leg, message.switch)
            overcommit |= self._counts.over(leg.cells, levels)
        return LegResult(True, overcommit=overcommit)

    def _count_unknown(self, message: Refresh, lease: float) -> LegResult:
        """Count a leg that the set does not know, if the message identifies its account."""
        assert message.identify is not None  # noqa: S101 - `refresh` has checked it
        selector, now = message.selector, self._batch.now
        levels = message.identify()
        if levels is None or not self._table.may_add_leg(selector.call):
            return LegResult(True, unknown=True)
        if not self._counts.has_room:
            self._admission.turned_away += 1
            return LegResult(True, unknown=True)
        key = leg_key(selector.direction or Direction.ORIGINATION, selector.leg_id)
        cells = self._counts.cells(levels)
        leg = Leg(0, 0, selector.call, key, message.switch, ACTIVE, cells, now, now + lease, lease)
        leg.answer = message.numbers
        self._rows.put(leg, ACTIVE)
        self._table.add(leg)
        self._counts.add(cells)
        return LegResult(True, overcommit=self._counts.over(cells, levels))

    def refresh_call(
        self, method: Literal["start", "update"], call: str, switch: str, interval: float | None = None
    ) -> LegResult | None:
        """Answer a ``start`` or ``update`` of a whole call if it has one held leg.

        Return None otherwise: :meth:`refresh` answers it then.
        """
        leg = self._legs.get(call)
        if type(leg) is not Leg or leg.state == LAPSED:
            return None
        self._batch.busy = True
        self._advance(leg, method, switch, None if interval is None else 3 * interval)
        self._batch.busy = False
        return DONE

    def _advance(self, leg: Leg, method: Literal["start", "update"], switch: str, lease: float | None) -> None:
        """Activate a held leg. Only an update extends the lease of an active leg."""
        if leg.state == ACTIVE and method == "start" and not lease and self._is_known(leg, switch):
            return  # nothing changes
        self._rows.move(leg, ACTIVE)
        leg.missed = None
        self._batch.hand_over(leg, switch)
        if lease:
            leg.lease = lease
        if leg.state == RESERVED:
            leg.state = ACTIVE
            leg.content = None
            if leg.answer is not None:
                leg.answer = ending(leg.answer)
        elif method != "update":
            return
        leg.due = self._batch.active_until if leg.lease == self._batch.active else self._batch.now + leg.lease

    def _is_known(self, leg: Leg, switch: str) -> bool:
        """Return True if a report of the leg by the switch tells nothing new."""
        return leg.missed is None and leg.switch == switch and not self._batch.is_older(leg)

    def stop(self, message: Stop) -> LegResult:
        """Answer a ``stop``."""
        selector = message.selector
        done = self.stop_call(selector.call) if selector.whole else self.stop_leg(selector)
        if done is not None:
            return done
        self._tombstones.add(selector, self._batch.now)
        legs = self._table.matching(selector)
        freed = 0
        for leg in legs:
            freed += leg.state != LAPSED
            self._table.free(leg)
        return LegResult(True, unknown=not legs, freed=freed)

    def stop_leg(self, selector: LegSelector) -> LegResult | None:
        """Answer a ``stop`` of some legs of a call if it names one held leg or none.

        Return None otherwise: :meth:`stop` answers it then.
        """
        legs = self._table.matching(selector)
        if len(legs) > 1 or (legs and legs[0].state == LAPSED):
            return None
        self._batch.busy = True
        self._tombstones.add(selector, self._batch.now)
        for leg in legs:
            self._table.free(leg)
        self._batch.busy = False
        return FREED_ONE if legs else UNKNOWN

    def stop_call(self, call: str) -> LegResult | None:
        """Answer a ``stop`` of a whole call if it has one held leg or is unknown.

        Return None otherwise: :meth:`stop` answers it then.
        """
        leg = self._legs.get(call)
        if leg is None:
            self._stopped[call] = None
            return UNKNOWN
        if type(leg) is not Leg or leg.state == LAPSED:
            return None
        self._batch.busy = True
        self._stopped[call] = None
        # This is `LegTable.free`, inlined:
        del self._legs[call]
        counts, rows = self._counts, self._rows
        cells = leg.cells
        counts.held -= 1
        for cell in cells:
            cell.held -= 1
        if not cells[0].held:
            counts.idle.append(cells[0])
        row = rows.all[leg.row]
        if row.noted:
            rows.changed[row.serial] = row
            row.dead |= 1 << leg.place
            row.left -= 1
        else:
            row.left = -1
        row.legs[leg.place] = None
        self._batch.busy = False
        return FREED_ONE
