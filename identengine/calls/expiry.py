"""Expiry of legs: leases end, and lapsed legs are remembered and later forgotten (engine.md 5.4, 5.5).

All work is done in steps of about a millisecond. Its cost depends on the legs that expire, not on those held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from identengine.calls.backend import Settings
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED
from identengine.calls.legtable import Leg, LegTable
from identengine.calls.wheel import TICKS, Wheel, tick_after

LAPSED_SECONDS = 24 * 3600.0
"""Time during which a lapsed leg can be revived, in seconds (engine.md 5.4)."""
STEP = 256
"""Legs that one step handles, in about a millisecond."""


class Expiry:
    """The leases of held legs, and the expiry of lapsed ones."""

    def __init__(self, table: LegTable, settings: Settings) -> None:
        self.lapsed_reserved = self.lapsed_active = 0
        """Number of legs that lapsed while reserved or active, since this process began."""
        self._table = table
        self._lapsed_max = settings.lapsed_max
        self._leases, self._memories = Wheel(), Wheel()
        self.lease: Callable[[Sequence[int], float], None] = self._leases.add_all
        """Schedule the end of the leases of these slots for a common time of the set's clock."""

    def restore(self, legs: Iterable[Leg]) -> None:
        """Schedule the expiry of these legs, which are all legs of the set."""
        self._leases, self._memories = Wheel(), Wheel()
        self.lease = self._leases.add_all
        leases: dict[int, list[int]] = {}
        memories: dict[int, list[int]] = {}
        for leg in legs:
            wheel = memories if leg.state == LAPSED else leases
            wheel.setdefault(tick_after(leg.due), []).append(leg.slot)
        for noted, slots_due in ((self._leases, leases), (self._memories, memories)):
            for tick, slots in slots_due.items():
                noted.add_all(slots, (tick - 1) / TICKS)

    def renew(self, leg: Leg, due: float) -> None:
        """Set the end of a held leg's lease to ``due``."""
        leg.due = due
        self._leases.add(leg.slot, due)

    def lapse(self, now: float) -> bool:
        """Free the slots of legs whose leases have ended. Return True if more may be due."""
        table = self._table
        slots = self._leases.take(now, STEP)
        for slot in slots:
            leg = table.slots.get(slot)
            if leg is None or leg.state == LAPSED:
                continue  # it was freed after it was scheduled
            if tick_after(leg.due) > now * TICKS:
                self._leases.add(slot, leg.due)  # its lease was renewed, or another leg uses the slot
                continue
            self.lapsed_reserved += leg.state == RESERVED
            self.lapsed_active += leg.state == ACTIVE
            if self._lapsed_max == 0:
                table.free(leg)
            else:
                self._remember(leg, now)
        return len(slots) == STEP

    def _remember(self, leg: Leg, now: float) -> None:
        table = self._table
        table.slots.note(leg.slot)
        table.counts.remove(leg.cells)
        was_reserved = leg.state == RESERVED
        leg.state, leg.due = LAPSED, now + LAPSED_SECONDS
        if was_reserved:
            table.shrink(leg)
        self._memories.add(leg.slot, leg.due)
        table.lapsed += 1

    def revive(self, leg: Leg, switch: str, now: float) -> None:
        """Count a lapsed leg again as active, even above a limit (engine.md 5.4)."""
        table = self._table
        table.slots.note(leg.slot)
        table.lapsed -= 1
        leg.state, leg.switch, leg.missed = ACTIVE, switch, None
        self.renew(leg, now + leg.lease)
        leg.cells = table.counts.add(leg.cells)

    def forget(self, now: float, *, early: bool) -> bool:
        """Forget legs whose memory has expired, and the oldest legs above ``lapsed_max``.

        With ``early``, forget the oldest legs before their time, however few they are. Return True if more may be
        due.
        """
        table = self._table
        slots = self._memories.take(now, STEP)
        too_many = table.lapsed - self._lapsed_max
        until = now
        if not slots and table.lapsed and (too_many > 0 or early):
            at, slots = self._memories.take_earliest(STEP if early else min(too_many, STEP))
            until = max(now, at)
        for slot in slots:
            leg = table.slots.get(slot)
            if leg is None or leg.state != LAPSED:
                continue
            if tick_after(leg.due) <= until * TICKS:
                table.free(leg)
            else:
                self._memories.add(slot, leg.due)
        return len(slots) == STEP or table.lapsed > self._lapsed_max
