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
from identengine.calls.mirror import Changes, Mirror, MirrorFullError, RoomLeft
from identengine.calls.sync import Lists, Note, Sweep
from identengine.calls.tombstones import TombstoneRow, Tombstones
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

STEP = 256
"""Rows of stops that one step of :meth:`Calls.work` forgets."""
TOMBSTONES_ROOM, TOMBSTONES_LEG_ROOM = 1024 * 1024, 256
"""Space for stops in the mirror, in bytes: a fixed part, and a part for each leg of ``max_legs``."""
_INSTANT = 1e-6
_RESERVE, _AMPLE = RoomLeft.RESERVE, RoomLeft.AMPLE  # looking up an enum member is slow


class Calls:
    """A set of calls in memory. It implements the interfaces of :mod:`identengine.calls.backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self._settings = settings
        self._retransmitted = self._turned_away = 0
        self._overfull = False
        """True while the mirror has no space. No leg is admitted until it has."""
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
        self._lists = Lists(self, 2 * settings.max_legs)
        self._changes = Changes(self._small, self._large)
        self._floor = 0.0
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
        """Answer a batch as if its messages had arrived one by one. Its changes are in the mirror on return."""
        now = max(now, self._floor)
        self._reserved_until, self._active_until = now + self._reserved, now + self._active
        answers: list[CallsAnswer] = []
        handlers = self._handlers
        try:
            for message in batch:
                kind = type(message)
                answers.append(handlers[kind](message, now))
                if kind is SwitchReset:
                    now = self._floor = now + _INSTANT  # later messages of the batch are younger than the reset
                    self._reserved_until, self._active_until = now + self._reserved, now + self._active
        finally:  # each slot needs a lease, even if a later message failed
            if self._new_slots:
                self._expiry.lease(self._new_slots, self._reserved_until)
                self._new_slots.clear()
        if self._tombstones.pending:
            stopped = self._tombstones.row()
            if not self._overfull:  # else only memory keeps them, as stops need the reserve
                self._changes.tombstones.update(stopped)
        if not self._mirror_changes():
            self._roll_back(batch, answers, now)
        return answers

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
                leg.switch = message.switch
                self._table.slots.note(leg.slot)
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
        leg.cells = self._counts.add(self._counts.cells(levels))
        leg.content, leg.switch = message.content, message.switch
        # An authorization renews no lease, so the answer names the time that remains.
        changed = msgspec.structs.replace(in_parts(decision), lease=max(1, int(leg.due - now)))
        leg.answer = packed(changed)
        self._table.slots.note(leg.slot)
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
        leg.missed = None
        leg.switch = message.switch
        leg.lease = lease or leg.lease
        if leg.state == RESERVED:
            leg.state = ACTIVE
            self._table.shrink(leg)
            self._expiry.renew(leg, self._active_until if leg.lease is self._active else now + leg.lease)
        elif message.method == "update":
            self._expiry.renew(leg, now + leg.lease)
        self._table.slots.note(leg.slot)

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
        now = max(now, self._floor)
        more = self._expiry.lapse(now)
        more |= self._expiry.forget(now, early=self._mirror.room_left is not _AMPLE)
        self._changes.tombstones.update(dict.fromkeys(self._tombstones.forget(now, STEP)))
        more |= self._tombstones.due(now)
        more |= self._lists.step(now)
        self._mirror_changes()
        return more

    # ---- lists and resets (identengine.calls.sync.Set)

    def knows(self, selector: LegSelector) -> bool:
        """Implement :meth:`identengine.calls.sync.Set.knows`."""
        return bool(self._table.matching(selector))

    def confirm(self, selector: LegSelector, switch: str, now: float) -> list[Leg]:
        """Implement :meth:`identengine.calls.sync.Set.confirm`."""
        legs = self._table.matching(selector)
        held = [leg for leg in legs if leg.state != LAPSED]
        for leg in held:
            leg.missed = None
            leg.switch = switch
            self._expiry.renew(leg, now + (leg.lease if leg.state == ACTIVE else self._reserved))
            self._table.slots.note(leg.slot)
        if held:
            return held
        for leg in legs:
            self._expiry.revive(leg, switch, now)
        return legs

    def reaches(self, position: int) -> bool:
        """Implement :meth:`identengine.calls.sync.Set.reaches`."""
        return position < max(len(self._small), len(self._large))

    def miss(self, first: int, count: int, sweep: Sweep, now: float) -> int:
        """Implement :meth:`identengine.calls.sync.Set.miss`."""
        freed = 0
        for leg in self._table.slots.run(first, count) or ():
            if leg.switch != sweep.switch or leg.state != ACTIVE or id(leg) in sweep.seen:
                continue
            if leg.due - leg.lease > sweep.began:
                continue  # a start or update arrived after the list
            if leg.missed is None:
                leg.missed = sweep.list_id
                self._table.slots.note(leg.slot)
            elif leg.missed != sweep.list_id and now - leg.since > self._settings.grace:
                self._table.free(leg)
                freed += 1
        return freed

    def free_older(self, first: int, count: int, switch: str, began: float) -> int:
        """Implement :meth:`identengine.calls.sync.Set.free_older`."""
        freed = 0
        for leg in self._table.slots.run(first, count) or ():
            if leg.switch == switch and leg.since <= began:
                self._table.free(leg)
                freed += leg.state != LAPSED
        return freed

    def note(self, name: str, value: Note) -> None:
        """Implement :meth:`identengine.calls.sync.Set.note`."""
        self._changes.notes[name] = value

    # ---- the operator's view (identengine.calls.backend.Overview)

    def gauges(self) -> Gauges:
        """Implement :meth:`identengine.calls.backend.Overview.gauges`."""
        return Gauges(
            held=self._counts.held,
            reserved=self._large.taken,
            lapsed=self._table.lapsed,
            max_legs=self._settings.max_legs,
            global_capacity=self._settings.global_capacity,
            overfull=self._overfull,
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

    def _mirror_changes(self) -> bool:
        """Write the changes to the mirror. Return False if it is full. They are then kept for the next attempt."""
        changes, taken = self._changes, True
        if self._large.changed or self._small.changed or changes.tombstones or changes.notes:
            try:
                self._mirror.write(changes)
                changes.clear()
            except MirrorFullError:
                taken = False
                changes.condense()
        overfull = self._mirror.room_left is _RESERVE or not taken
        if overfull is not self._overfull:
            self._overfull, self._counts.max_held = overfull, 0 if overfull else self._settings.max_legs
        return taken

    def _roll_back(self, batch: Sequence[CallsMessage], answers: list[CallsAnswer], now: float) -> None:
        """Reject the admissions of a batch that could not be mirrored. Keep its other changes for later."""
        asked = [
            (position, (message.call, message.leg))
            for position, (message, answer) in enumerate(zip(batch, answers, strict=True))
            if isinstance(message, Admit) and message.call is not None
            if isinstance(answer, EncodedDecision) or (isinstance(answer, Decision) and answer.accepted)
        ]
        rolled_back: set[tuple[str, str]] = set()
        for _, key in asked:
            leg = self._table.find(*key)
            if leg is not None and leg.state == RESERVED and leg.since >= now - _INSTANT * len(batch):
                self._table.free(leg)
                rolled_back.add(key)
        for position, key in asked:
            if key in rolled_back:  # the batch may hold several authorizations of one leg
                answers[position] = Refused(Reason.OVERLOAD)
                self._turned_away += 1
        self._mirror_changes()


_FREED_ONE = LegResult(True, freed=1)
"""The answer to most stops."""
