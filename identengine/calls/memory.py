"""The set of calls in the memory of the decider (engine.md 5; docs/decisions/one-decider.md).

Each rule is a plain operation on dicts, without locks or races. The legs are the truth, and counters follow them.
The changes of a batch are written to the mirror together, before the batch is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    CallsMessage,
    EncodedDecision,
    Gauges,
    LegFilter,
    LegResult,
    LegSelector,
    LegView,
    Of,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
    in_parts,
    packed,
    unpacked,
)
from identengine.calls.buckets import LevelBuckets
from identengine.calls.counts import Counts
from identengine.calls.expiry import Expiry
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, leg_key
from identengine.calls.legtable import Leg, LegTable, filtered
from identengine.calls.listedlegs import ListedLegs
from identengine.calls.mirror import Changes, Mirror, RoomLeft
from identengine.calls.mirroring import Mirroring
from identengine.calls.sync import Lists, Note
from identengine.calls.tombstones import TombstoneRow, Tombstones
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

STEP = 256
"""Rows of stops that one step of :meth:`Calls.work` forgets."""
TOMBSTONES_ROOM, TOMBSTONES_LEG_ROOM = 1024 * 1024, 256
"""Space for stops in the mirror, in bytes: a fixed part, and a part for each leg of ``max_legs``."""
_INSTANT = 1e-6
_AMPLE = RoomLeft.AMPLE  # looking up an enum member is slow


class Calls:
    """A set of calls in memory. It implements the interfaces of :mod:`identengine.calls.backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self._settings = settings
        self._retransmitted = self._turned_away = 0
        self._mirror = mirror
        self._counts = Counts(settings.global_capacity, settings.max_legs)
        self._table = table = LegTable(self._counts)
        self._small, self._large = table.slots.small, table.slots.large
        self._calls = table.calls
        self._expiry = Expiry(table, settings)
        self._reserved_until = self._active_until = 0.0
        """End of the lease of a leg that is reserved or started now. All legs of a batch share the object."""
        self._new_slots: list[int] = []
        """Slots that the current batch reserved. Their leases are scheduled together."""
        self._tombstones = Tombstones(TOMBSTONES_ROOM + TOMBSTONES_LEG_ROOM * settings.max_legs)
        self._buckets = LevelBuckets()
        self._reserved, self._active = settings.reserved, settings.active
        self._changes = Changes(self._small, self._large)
        legs = ListedLegs(table, self._expiry, settings, self._changes)
        self._lists = Lists(legs, 2 * settings.max_legs)
        self._mirroring = Mirroring(mirror, self._changes, table, self._tombstones, self._lists, settings.max_legs)
        self._mirror_changes = self._mirroring.write
        self._open: list[CallsMessage] | None = None
        """The batch that is being applied. If it is still set when the next one begins, a fault cut it short."""
        self._opened = self._floor = 0.0
        self._handlers: dict[type, Callable[[Any, float], CallsAnswer]] = {
            Admit: self._admit,
            Refresh: self._refresh,
            Stop: self._stop,
            SyncPart: self._lists.receive,
            SwitchReset: self._lists.reset,
        }

    def restore(
        self, legs: Iterable[Leg], rows: Iterable[tuple[int, TombstoneRow]], notes: Mapping[str, Note], now: float
    ) -> None:
        """Restore the set that a mirror stored (engine.md 5.8)."""
        there = {leg.slot: leg for leg in legs}
        self._table.restore(there)
        self._expiry.restore(there.values())
        for serial, row in rows:
            self._tombstones.restore(serial, row)
        for name, value in notes.items():
            self._lists.restore(name, value, now)
        self._mirror_changes()

    # ---- messages

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch as if its messages had arrived one by one. Its changes are in the mirror on return.

        If this method raises an exception, all calls of the batch must be rejected. They hold no slots.
        """
        self.begin(now)
        answers = [self.answer(message) for message in batch]
        rolled = {(leg.call, leg.leg) for leg in self.end()}
        if rolled:
            for position, (message, answer) in enumerate(zip(batch, answers, strict=True)):
                if not isinstance(message, Admit) or (message.call, message.leg) not in rolled:
                    continue
                if isinstance(answer, EncodedDecision) or (isinstance(answer, Decision) and answer.accepted):
                    answers[position] = Refused(Reason.OVERLOAD)
        return answers

    def begin(self, now: float) -> None:
        """Open a batch."""
        if self._open is not None:
            self._recover(self._open)
        self.now = self._opened = max(now, self._floor)
        self._open = []
        self._reserved_until, self._active_until = self.now + self._reserved, self.now + self._active

    def answer(self, message: CallsMessage) -> CallsAnswer:
        """Answer one message of the batch."""
        kind = type(message)
        self._open.append(message)
        answer = self._handlers[kind](message, self.now)
        if kind is SwitchReset:
            now = self.now = self._floor = self.now + _INSTANT
            self._reserved_until, self._active_until = now + self._reserved, now + self._active
        return answer

    def repeated(self, call: str, leg: str, switch: str, content: bytes) -> EncodedDecision | Refused | None:
        """Implement :meth:`identengine.calls.backend.Backend.repeated`."""
        if call not in self._calls:
            return None
        old = self._table.find(call, leg)
        if old is None:
            return None if self._table.may_add_leg(call) else Refused(Reason.INVALID_REQUEST, field="leg_id")
        if old.state == ACTIVE:
            return Refused(Reason.INVALID_REQUEST, field="call_id")
        if old.state == RESERVED and old.content == content and old.answer is not None:
            if old.switch != switch:
                self._table.slots.note(old.slot)
                old.switch = switch
            self._retransmitted += 1
            return EncodedDecision(old.answer, old.leg[0] == "t")
        return None

    def undo(self) -> None:
        last = self._open[-1:]
        self._recover(last)
        self._open = []

    def roll_back(self) -> Sequence[Leg]:
        legs = self._admitted(self._open)
        self._recover(self._open)
        return legs

    def end(self) -> Sequence[Leg]:
        """Write the batch."""
        rolled: Sequence[Leg] = ()
        if self._new_slots:
            self._expiry.lease(self._new_slots, self._reserved_until)
            self._new_slots.clear()
        if self._tombstones.pending:
            stopped = self._tombstones.row()
            if not self._mirroring.overfull:  # else only memory keeps them, as stops need the reserve
                self._changes.tombstones.update(stopped)
        if not self._mirror_changes():
            rolled = [leg for leg in self._admitted(self._open) if leg.state == RESERVED]
            for leg in rolled:
                self._table.free(leg)
            self._mirror_changes()
        self._open = None
        return rolled

    def _recover(self, batch: Sequence[CallsMessage]) -> None:
        """Make the set consistent after a fault within ``batch``, and free the slots of its rejected calls.

        The other changes of the batch are kept: they are of calls that exist or ended. The legs in their slots are
        the truth, and the rest is derived from them.
        """
        self._expiry.restore(self._table.rebuild())
        self._new_slots.clear()
        for leg in self._admitted(batch):
            self._table.free(leg)
        self._open = None

    def _admitted(self, batch: Sequence[CallsMessage]) -> list[Leg]:
        """Return the held legs that this batch, the latest one, admitted."""
        asked = ((one.call, one.leg) for one in batch if type(one) is Admit and one.call is not None)
        legs = [self._table.find(*key) for key in dict.fromkeys(asked)]
        return [leg for leg in legs if leg is not None and leg.state != LAPSED and leg.since >= self._opened]

    def _admit(self, message: Admit, now: float) -> CallsAnswer:
        call, key = message.call, message.leg
        old = None
        if call is not None and call in self._calls:
            old = self._table.find(call, key)
            if old is None and not self._table.may_add_leg(call):
                return Refused(Reason.INVALID_REQUEST, field="leg_id")
            if old is not None and old.state != LAPSED:
                return self._admit_again(old, message, now)
        decision, levels = message.decision, message.levels
        if levels is None:
            return decision
        paced = levels.cps is not None or levels.client.cps is not None
        if paced and self._buckets.empty(levels, now):
            return Refused(Reason.CPS_EXCEEDED)
        taken = self._counts.take(levels) if call is not None else self._counts.full(levels)
        if type(taken) is Reason:
            self._turned_away += taken is Reason.OVERLOAD
            return Refused(taken)
        if paced:
            self._buckets.take(levels, now)
        if call is None or type(taken) is not tuple:
            return decision
        if old is not None:
            self._table.free(old)
        due, active = self._reserved_until, self._active
        # Arguments by position: keyword arguments make this call a quarter slower.
        answer = decision.packed if type(decision) is EncodedDecision else packed(decision)
        leg = Leg(0, call, key, message.switch, RESERVED, taken, now, due, active, None, message.content, answer)
        leg.slot = slot = ~self._large.add(leg)
        self._new_slots.append(slot)
        if self._calls.setdefault(call, leg) is not leg:
            self._table.add_further(leg)
        return decision

    def _admit_again(self, leg: Leg, message: Admit, now: float) -> CallsAnswer:
        """Answer an authorization whose leg is already held (engine.md 5.3)."""
        if leg.state == ACTIVE:
            return Refused(Reason.INVALID_REQUEST, field="call_id")
        if leg.content == message.content and leg.answer is not None:
            if leg.switch != message.switch:
                self._table.slots.note(leg.slot)
                leg.switch = message.switch
            self._retransmitted += 1
            return unpacked(leg.answer)
        decision, levels = message.decision, message.levels
        if levels is None:
            return decision
        self._counts.remove(leg.cells)  # the leg is decided as if its slot were free
        refusal = Reason.CPS_EXCEEDED if self._buckets.empty(levels, now) else self._counts.full(levels)
        if refusal is not None:
            leg.cells = self._counts.add(leg.cells)
            return Refused(refusal)
        self._buckets.take(levels, now)
        # An authorization renews no lease, so the answer names the time that remains.
        changed = msgspec.structs.replace(in_parts(decision), lease=max(1, int(leg.due - now)))
        answer = packed(changed)
        self._table.slots.note(leg.slot)
        leg.cells = self._counts.add(self._counts.cells(levels))
        leg.content, leg.switch, leg.answer = message.content, message.switch, answer
        return changed

    def _refresh(self, message: Refresh, now: float) -> LegResult:
        legs = self._table.matching(message.selector)
        lease = 3 * message.interval if message.interval is not None else None
        held = False
        for leg in legs:
            if leg.state != LAPSED:
                held = True
                self._advance(leg, message, lease, now)
        if held:
            return LegResult(True)
        if legs:
            overcommit = False
            for leg in legs:
                self._table.slots.note(leg.slot)
                leg.lease = lease or leg.lease
                levels_now = message.levels(leg.cells[0].number, leg.counters)
                self._expiry.revive(leg, message.switch, now)
                overcommit |= self._counts.over(leg.cells, levels_now)
            return LegResult(True, overcommit=overcommit)
        if message.identify is None or self._tombstones.forbid(message.selector, now):
            return LegResult(True, unknown=True)
        levels = message.identify()
        if levels is None or not self._table.may_add_leg(message.selector.call):
            return LegResult(True, unknown=True)
        if self._counts.held >= self._counts.max_held:
            self._turned_away += 1
            return LegResult(True, unknown=True)
        key = leg_key(message.selector.direction or Direction.ORIGINATION, message.selector.leg_id)
        lease = lease or self._active
        cells = self._counts.cells(levels)
        leg = Leg(0, message.selector.call, key, message.switch, ACTIVE, cells, now, now + lease, lease)
        leg.slot = self._small.add(leg)
        if self._calls.setdefault(leg.call, leg) is not leg:
            self._table.add_further(leg)
        self._expiry.renew(leg, leg.due)
        self._counts.add(cells)
        return LegResult(True, overcommit=self._counts.over(cells, levels))

    def _advance(self, leg: Leg, message: Refresh, lease: float | None, now: float) -> None:
        """Activate a held leg. Only an update extends the lease of an active leg."""
        self._table.slots.note(leg.slot)
        leg.missed = None
        leg.switch = message.switch
        leg.lease = lease or leg.lease
        if leg.state == RESERVED:
            leg.state = ACTIVE
            self._table.shrink(leg)
            self._expiry.renew(leg, self._active_until if leg.lease is self._active else now + leg.lease)
        elif message.method == "update":
            self._expiry.renew(leg, now + leg.lease)

    def _stop(self, message: Stop, now: float) -> LegResult:
        selector = message.selector
        self._tombstones.add(selector, now)
        if selector.direction is None and selector.leg_id is None:
            leg = self._calls.get(selector.call)
            if type(leg) is Leg and leg.state != LAPSED:  # the usual case of `free`, inlined
                del self._calls[selector.call]
                self._counts.remove(leg.cells)
                slot = leg.slot
                if slot < 0:
                    self._large.remove(~slot)
                else:
                    self._small.remove(slot)
                return _FREED_ONE
        legs = self._table.matching(selector)
        freed = 0
        for leg in legs:
            freed += leg.state != LAPSED
            self._table.free(leg)
        return LegResult(True, unknown=not legs, freed=freed)

    # ---- pending work

    def work(self, now: float) -> bool:
        """Do one step of pending work: leases, memories, stops and jobs. Return True if more is due."""
        if self._open is not None:
            self._recover(self._open)
        now = max(now, self._floor)
        self._open = []
        more = self._expiry.lapse(now)
        more |= self._expiry.forget(now, early=self._mirror.room_left is not _AMPLE)
        self._changes.tombstones.update(dict.fromkeys(self._tombstones.forget(now, STEP)))
        more |= self._tombstones.due(now)
        more |= self._lists.step(now)
        more |= self._mirroring.write_anew()
        self._mirror_changes()
        self._open = None
        return more

    # ---- the operator's view (identengine.calls.backend.Overview)

    def gauges(self) -> Gauges:
        """Implement :meth:`identengine.calls.backend.Overview.gauges`."""
        return Gauges(
            held=self._counts.held,
            reserved=self._large.taken,
            lapsed=self._table.lapsed,
            max_legs=self._settings.max_legs,
            global_capacity=self._settings.global_capacity,
            overfull=self._mirroring.overfull,
            lapsed_reserved=self._expiry.lapsed_reserved,
            lapsed_active=self._expiry.lapsed_active,
            retransmitted=self._retransmitted,
            turned_away=self._turned_away,
        )

    def page(self, first: int, count: int, conditions: LegFilter) -> list[LegView] | None:
        """Implement :meth:`identengine.calls.backend.Overview.page`."""
        legs = self._table.slots.run(first, count)
        return None if legs is None else list(filtered(legs, conditions))

    def matching(self, selector: LegSelector, conditions: LegFilter) -> list[LegView]:
        """Implement :meth:`identengine.calls.backend.Overview.matching`."""
        return list(filtered(self._table.matching(selector), conditions))

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """Implement :meth:`identengine.calls.backend.Overview.usage`."""
        # Skipping a counter before `first` costs some 50 ns.
        page = list(islice(self._counts.use(of_accounts=of == "accounts"), first, first + count))
        return [(counter, held) for counter, held in page if held] if page else None

    # ---- the mirror

    def _roll_back(self, batch: Sequence[CallsMessage], answers: list[CallsAnswer]) -> None:
        """Reject the admissions of a batch that could not be mirrored. Keep its other changes for later."""
        rolled_back = {(leg.call, leg.leg): leg for leg in self._admitted(batch) if leg.state == RESERVED}
        for leg in rolled_back.values():
            self._table.free(leg)
        for position, (message, answer) in enumerate(zip(batch, answers, strict=True)):
            if not isinstance(message, Admit) or (message.call, message.leg) not in rolled_back:
                continue  # the batch may hold several authorizations of one leg
            if isinstance(answer, EncodedDecision) or (isinstance(answer, Decision) and answer.accepted):
                answers[position] = Refused(Reason.OVERLOAD)
                self._turned_away += 1
        self._mirror_changes()


_FREED_ONE = LegResult(True, freed=1)
"""The answer to most stops."""
