"""Expiry of legs: leases end, and lapsed legs are remembered and later forgotten (engine.md 5.4, 5.5).

All work is done in steps of about a millisecond. Its cost depends on the rows that are due, not on the legs held.
"""

from __future__ import annotations

from collections.abc import Callable

from identengine.calls.backend import Settings
from identengine.calls.leg import Leg, Row
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED
from identengine.calls.legtable import LegTable
from identengine.calls.numbers import ending
from identengine.calls.wheel import TICKS, Wheel, tick_after

LAPSED_SECONDS = 24 * 3600.0
"""Time during which a lapsed leg can be revived, in seconds (engine.md 5.4)."""
STEP = 256
"""Legs that one step visits, in about a millisecond."""


class Expiry:
    """The leases of held legs, and the expiry of lapsed ones."""

    def __init__(self, table: LegTable, settings: Settings) -> None:
        self.lapsed_reserved = self.lapsed_active = 0
        """Number of legs that lapsed while reserved or active, since this process began."""
        self._table = table
        self._lapsed_max = settings.lapsed_max

    def lapse(self, now: float) -> bool:
        """Free the slots of legs whose leases have ended. Return True if more may be due."""
        leases, seen = self._table.rows.leases, 0
        while seen < STEP:
            serial = leases.take(now)
            if serial is None:
                return False
            seen += self._visit(self._table.rows.all[serial], leases, now, self._lapse)
        return True

    def _visit(self, row: Row, wheel: Wheel, now: float, expire: Callable[[Leg, float], None]) -> int:
        """Call ``expire`` with the legs of a row that are due, and enter the row again for the others.

        Return the number of legs in the row.
        """
        legs = row.living()
        later = [leg.due for leg in legs if tick_after(leg.due) > now * TICKS]
        if later:
            row.due = min(later)
            wheel.add(row)
        for leg in legs:
            if tick_after(leg.due) <= now * TICKS:
                expire(leg, now)
        return len(legs)

    def _lapse(self, leg: Leg, now: float) -> None:
        """Remember a leg whose lease has ended, or forget it if the set remembers none."""
        table = self._table
        self.lapsed_reserved += leg.state == RESERVED
        self.lapsed_active += leg.state == ACTIVE
        if self._lapsed_max == 0:
            table.free(leg)
            return
        table.rows.move(leg, LAPSED)
        table.counts.remove(leg.cells)
        if leg.state == RESERVED and leg.answer is not None:
            leg.answer = ending(leg.answer)
        leg.state, leg.due, leg.content = LAPSED, now + LAPSED_SECONDS, None
        table.lapsed += 1

    def revive(self, leg: Leg, switch: str, lease: float, now: float) -> None:
        """Count a lapsed leg again as active, even above a limit, with a lease in seconds (engine.md 5.4)."""
        table = self._table
        table.rows.move(leg, ACTIVE)
        table.lapsed -= 1
        leg.state, leg.switch, leg.missed = ACTIVE, switch, None
        leg.lease, leg.due = lease, now + lease
        leg.cells = table.counts.add(leg.cells)

    def forget(self, now: float, *, early: bool) -> bool:
        """Forget legs whose memory has expired, and the oldest legs above ``lapsed_max``.

        With ``early``, forget the oldest legs before their time, however few they are. Return True if more may be
        due.
        """
        table, memories, seen = self._table, self._table.rows.memories, 0
        while seen < STEP and (serial := memories.take(now)) is not None:
            seen += self._visit(table.rows.all[serial], memories, now, self._forget)
        if not seen:
            self._forget_oldest(STEP if early else min(table.lapsed - self._lapsed_max, STEP))
        return seen >= STEP or table.lapsed > self._lapsed_max

    def _forget_oldest(self, most: int) -> None:
        """Forget at most ``most`` legs before their time, the oldest first."""
        table, memories = self._table, self._table.rows.memories
        while most > 0 and (serial := memories.take_earliest()) is not None:
            row = table.rows.all[serial]
            oldest = [leg for leg in row.living() if tick_after(leg.due) <= row.tick][:most]
            most -= len(oldest)
            for leg in oldest:
                table.free(leg)
            if row.left:
                row.due = min([leg.due for leg in row.living()])
                memories.add(row)

    def _forget(self, leg: Leg, now: float) -> None:
        self._table.free(leg)
