"""The set of calls in the memory of the decider (engine.md 5; docs/decisions/one-decider.md).

Every rule is a plain operation on dicts: no lock, no race. The legs are the truth, counters are kept leg by leg
beside them, and what a batch changed goes to the mirror in one piece before the batch is answered.
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
from identengine.calls.legtable import Leg, LegTable, fitting
from identengine.calls.mirror import Changes, Mirror, MirrorFullError, RoomLeft
from identengine.calls.sync import Lists, Note, Sweep
from identengine.calls.tombstones import TombstoneRow, Tombstones
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

STEP = 256
"""How many rows of stops one step of :meth:`Calls.work` forgets."""
TOMBSTONES_ROOM, TOMBSTONES_LEG_ROOM = 1024 * 1024, 256
"""Bytes of the mirror that stops may take: so many, and so many more a leg that may be held."""
_INSTANT = 1e-6
_RESERVE, _AMPLE = RoomLeft.RESERVE, RoomLeft.AMPLE  # a look at a member of an enum is dear


class Calls:
    """A set of calls; see :class:`identengine.calls.backend.Backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self._settings = settings
        self._retransmitted = self._turned_away = 0
        self._overfull = False
        """Whether the mirror has no room: nothing is let in until it has."""
        self._mirror = mirror
        self._counts = Counts(settings.global_capacity, settings.max_legs)
        self._table = table = LegTable(self._counts)
        self._small, self._large = table.slots.small, table.slots.large
        self._calls = table.calls
        self._expiry = Expiry(table, settings)
        self._reserved_until = self._active_until = 0.0
        """When the lease ends of a leg that is reserved or started now: one object for all legs of a batch."""
        self._fresh: list[int] = []
        """Slots that the batch in hand reserved; their leases are noted together."""
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
            SyncPart: self._lists.take,
            SwitchReset: self._lists.reset,
        }

    def restore(
        self, legs: Iterable[Leg], rows: Iterable[tuple[int, TombstoneRow]], notes: Mapping[str, Note], now: float
    ) -> None:
        """Take up what a mirror kept: the set is then as it was (engine.md 5.8)."""
        there = {leg.slot: leg for leg in legs}
        self._table.restore(there)
        self._expiry.restore(there.values())
        for serial, row in rows:
            self._tombstones.restore(serial, row)
        for name, value in notes.items():
            self._lists.restore(name, value, now)
        self._mirror_changes()

    # ---- what arrives

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch as if one by one; what it changed is in the mirror when this returns."""
        now = max(now, self._floor)
        self._reserved_until, self._active_until = now + self._reserved, now + self._active
        answers: list[CallsAnswer] = []
        handlers = self._handlers
        try:
            for message in batch:
                kind = type(message)
                answers.append(handlers[kind](message, now))
                if kind is SwitchReset:
                    now = self._floor = now + _INSTANT  # what comes after it in this batch is younger
                    self._reserved_until, self._active_until = now + self._reserved, now + self._active
        finally:  # a slot has a lease, whatever went wrong after it
            if self._fresh:
                self._expiry.lease(self._fresh, self._reserved_until)
                self._fresh.clear()
        if self._tombstones.pending:
            stopped = self._tombstones.row()
            if not self._overfull:  # else they are remembered here alone: what frees calls needs the room
                self._changes.tombstones.update(stopped)
        if not self._mirror_changes():
            self._take_back(batch, answers, now)
        return answers

    def _admit(self, message: Admit, now: float) -> CallsAnswer:
        call, key = message.call, message.leg
        old = None
        if call is not None and call in self._calls:
            old = self._table.find(call, key)
            if old is None and not self._table.has_room_beside(call):
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
        # All of them by their places: by their names it takes a quarter longer.
        answer = decision.packed if type(decision) is EncodedDecision else packed(decision)
        leg = Leg(0, call, key, message.switch, RESERVED, taken, now, due, active, None, message.content, answer)
        leg.slot = slot = ~self._large.add(leg)
        self._fresh.append(slot)
        if self._calls.setdefault(call, leg) is not leg:
            self._table.add_beside(leg)
        return decision

    def _admit_again(self, leg: Leg, message: Admit, now: float) -> CallsAnswer:
        """Answer for a leg that is held already (engine.md 5.3)."""
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
        self._counts.remove(leg.cells)  # decided as if its slot were free
        refusal = Reason.CPS_EXCEEDED if self._buckets.empty(levels, now) else self._counts.full(levels)
        if refusal is not None:
            leg.cells = self._counts.add(leg.cells)
            return Refused(refusal)
        self._buckets.take(levels, now)
        leg.cells = self._counts.add(self._counts.cells(levels))
        leg.content, leg.switch = message.content, message.switch
        # It renews no lease, so what is left of it is what the answer says.
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
        if levels is None or not self._table.has_room_beside(message.selector.call):
            return LegResult(True, unknown=True)
        if self._counts.held >= self._counts.room:
            self._turned_away += 1
            return LegResult(True, unknown=True)
        key = leg_key(message.selector.direction or Direction.ORIGINATION, message.selector.leg_id)
        lease = lease or self._active
        cells = self._counts.cells(levels)
        leg = Leg(0, message.selector.call, key, message.switch, ACTIVE, cells, now, now + lease, lease)
        leg.slot = self._small.add(leg)
        if self._calls.setdefault(leg.call, leg) is not leg:
            self._table.add_beside(leg)
        self._expiry.renew(leg, leg.due)
        self._counts.add(cells)
        return LegResult(True, overcommit=self._counts.over(cells, levels))

    def _advance(self, leg: Leg, message: Refresh, lease: float | None, now: float) -> None:
        """Make a held leg active; only an update extends one that is."""
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
            if type(leg) is Leg and leg.state != LAPSED:  # as most are; what `free` does
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

    # ---- what time brings

    def work(self, now: float) -> bool:
        """Do a step of what is due: lapses, what is to be forgotten, jobs; returns whether more is due."""
        now = max(now, self._floor)
        more = self._expiry.lapse(now)
        more |= self._expiry.forget(now, early=self._mirror.room_left is not _AMPLE)
        self._changes.tombstones.update(dict.fromkeys(self._tombstones.forget(now, STEP)))
        more |= self._tombstones.due(now)
        more |= self._lists.step(now)
        self._mirror_changes()
        return more

    # ---- for lists and switches (identengine.calls.sync.Set)

    def knows(self, selector: LegSelector) -> bool:
        """See :class:`identengine.calls.sync.Set`."""
        return bool(self._table.matching(selector))

    def confirm(self, selector: LegSelector, switch: str, now: float) -> list[Leg]:
        """See :class:`identengine.calls.sync.Set`."""
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

    def reaches(self, place: int) -> bool:
        """See :class:`identengine.calls.sync.Set`."""
        return place < max(len(self._small), len(self._large))

    def miss(self, first: int, count: int, sweep: Sweep, now: float) -> int:
        """See :class:`identengine.calls.sync.Set`."""
        freed = 0
        for leg in self._table.slots.run(first, count) or ():
            if leg.switch != sweep.switch or leg.state != ACTIVE or id(leg) in sweep.seen:
                continue
            if leg.due - leg.lease > sweep.began:
                continue  # a start or update came since
            if leg.missed is None:
                leg.missed = sweep.list_id
                self._table.slots.note(leg.slot)
            elif leg.missed != sweep.list_id and now - leg.since > self._settings.grace:
                self._table.free(leg)
                freed += 1
        return freed

    def free_older(self, first: int, count: int, switch: str, began: float) -> int:
        """See :class:`identengine.calls.sync.Set`."""
        freed = 0
        for leg in self._table.slots.run(first, count) or ():
            if leg.switch == switch and leg.since <= began:
                self._table.free(leg)
                freed += leg.state != LAPSED
        return freed

    def note(self, name: str, value: Note) -> None:
        """See :class:`identengine.calls.sync.Set`."""
        self._changes.notes[name] = value

    # ---- for an operator (identengine.calls.backend.Overview)

    def gauges(self) -> Gauges:
        """See :class:`identengine.calls.backend.Overview`."""
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

    def page(self, first: int, count: int, wanted: LegFilter) -> list[LegView] | None:
        """See :class:`identengine.calls.backend.Overview`."""
        legs = self._table.slots.run(first, count)
        return None if legs is None else list(fitting(legs, wanted))

    def matching(self, selector: LegSelector, wanted: LegFilter) -> list[LegView]:
        """See :class:`identengine.calls.backend.Overview`."""
        return list(fitting(self._table.matching(selector), wanted))

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """See :class:`identengine.calls.backend.Overview`."""
        # Passing over what is before `first` costs some 50 ns each.
        page = list(islice(self._counts.use(of_accounts=of == "accounts"), first, first + count))
        return [(counter, held) for counter, held in page if held] if page else None

    # ---- the mirror

    def _mirror_changes(self) -> bool:
        """Give the mirror what changed; returns whether it took it, else it stays to be given again."""
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
            self._overfull, self._counts.room = overfull, 0 if overfull else self._settings.max_legs
        return taken

    def _take_back(self, batch: Sequence[CallsMessage], answers: list[CallsAnswer], now: float) -> None:
        """Refuse what was let in but could not be mirrored; the rest stays, and goes to the mirror later."""
        asked = [
            (place, (message.call, message.leg))
            for place, (message, answer) in enumerate(zip(batch, answers, strict=True))
            if isinstance(message, Admit) and message.call is not None
            if isinstance(answer, EncodedDecision) or (isinstance(answer, Decision) and answer.accepted)
        ]
        taken_back: set[tuple[str, str]] = set()
        for _, key in asked:
            leg = self._table.find(*key)
            if leg is not None and leg.state == RESERVED and leg.since >= now - _INSTANT * len(batch):
                self._table.free(leg)
                taken_back.add(key)
        for place, key in asked:
            if key in taken_back:  # it may have come several times, and changed
                answers[place] = Refused(Reason.OVERLOAD)
                self._turned_away += 1
        self._mirror_changes()


_FREED_ONE = LegResult(True, freed=1)
"""What most stops are answered."""
