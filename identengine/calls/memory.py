"""The set of calls in the memory of the decider (engine.md 5; docs/decisions/one-decider.md).

Every rule is a plain operation on dicts: no lock, no race. The legs are the truth, counters are kept leg by leg
beside them, and what a batch changed goes to the mirror in one piece before the batch is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec

from identengine.calls.backend import (
    Admit,
    Answer,
    Done,
    Grant,
    Listed,
    Message,
    Named,
    Of,
    Progress,
    Refused,
    Stop,
    Switched,
    in_parts,
    packed,
    unpacked,
)
from identengine.calls.buckets import Buckets
from identengine.calls.counts import Counts
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, Leg, leg_key
from identengine.calls.levels import Levels
from identengine.calls.slots import Slots, Space
from identengine.calls.sync import Lists, Note
from identengine.calls.tombstones import Row, Stops
from identengine.calls.wheel import TICKS, Wheel, tick_after
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

REMEMBERED = 24 * 3600.0
"""How long a lapsed leg can be revived, in seconds (engine.md 5.4)."""
STEP = 256
"""How many legs, or rows of stops, one step of :meth:`Calls.work` takes: about a millisecond."""
STOPS_ROOM, STOPS_LEG_ROOM = 1024 * 1024, 256
"""Bytes of the mirror that stops may take: so many, and so many more a leg that may be held."""
LEGS_OF_A_CALL = 256
"""Legs that one call may have: what names a call is answered in one step, however many they are."""
_INSTANT = 1e-6


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``[calls]`` (interfaces.md 7); times in seconds."""

    max_legs: int = 100_000
    lapsed_max: int = 1_000_000
    reserved: float = 200.0
    active: float = 7200.0
    grace: float = 60.0
    global_capacity: int | None = None


class Changes(msgspec.Struct):
    """What has to go to the mirror: the places that changed, and rows and notes, of which None is gone."""

    small: Space[Leg]
    large: Space[Leg]
    stops: dict[int, bytes | None] = {}
    """By serial number, packed."""
    notes: dict[str, Note] = {}

    def __bool__(self) -> bool:
        return bool(self.large.changed or self.small.changed or self.stops or self.notes)

    def condense(self) -> None:
        """Name each place once, since they may have to wait."""
        for space in (self.small, self.large):
            space.changed[:] = set(space.changed)

    def clear(self) -> None:
        """Begin anew, once the mirror has them."""
        self.small.changed.clear()
        self.large.changed.clear()
        self.stops.clear()
        self.notes.clear()


class MirrorFullError(Exception):
    """The mirror has no room for what changed."""


class Mirror(Protocol):
    """What keeps a copy of the set that outlives the process."""

    @property
    def crowded(self) -> bool:
        """Whether what is remembered had better be forgotten."""

    @property
    def tight(self) -> bool:
        """Whether there is no more room than what frees calls may need."""

    def write(self, changes: Changes) -> None:
        """Keep it, all or nothing. Raises MirrorFullError."""


class Calls:
    """A set of calls; see :class:`identengine.calls.backend.Backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self.settings = settings
        self.lapsed = 0
        """Legs that are remembered."""
        self.lapsed_reserved = self.lapsed_active = self.retransmitted = self.turned_away = 0
        """For statistics: since this process began."""
        self.overfull = False
        """Whether the mirror has no room: nothing is let in until it has."""
        self._mirror = mirror
        self._slots = Slots[Leg]()
        self._small, self._large = self._slots.small, self._slots.large
        self._calls: dict[str, Leg | dict[str, Leg]] = {}
        """By call key: its leg, or its legs by leg key where it has several."""
        self.counts = Counts(settings.global_capacity, settings.max_legs)
        self._fresh: list[int] = []
        """Slots that the batch in hand reserved; their leases are noted together."""
        self._leases = Wheel()
        self._memories = Wheel()
        self._stops = Stops(STOPS_ROOM + STOPS_LEG_ROOM * settings.max_legs)
        self._account_buckets = Buckets()
        self._client_buckets = Buckets()
        self._reserved, self._active = settings.reserved, settings.active
        self._lists = Lists(self, settings.grace, 2 * settings.max_legs)
        self._changes = Changes(self._slots.small, self._slots.large)
        self._floor = 0.0
        self._handlers: dict[type, Callable[[Any, float], Answer]] = {
            Admit: self._admit,
            Progress: self._progress,
            Stop: self._stop,
            Listed: self._lists.take,
            Switched: self._lists.switched,
        }

    @property
    def held(self) -> int:
        """Legs that hold slots."""
        return self.counts.held

    @property
    def reserved(self) -> int:
        """Those of them that are reserved."""
        return self._large.taken

    def restore(
        self, legs: Iterable[Leg], stops: Iterable[tuple[int, Row]], notes: Mapping[str, Note], now: float
    ) -> None:
        """Take up what a mirror kept: the set is then as it was (engine.md 5.8)."""
        there = {leg.slot: leg for leg in legs}
        self._slots.restore(there)
        leases: dict[int, list[int]] = {}
        memories: dict[int, list[int]] = {}
        for slot, leg in there.items():
            leg.cells = self.counts.restore(leg.cells)
            if self._calls.setdefault(leg.call, leg) is not leg:
                self._beside(leg)
            if leg.state == LAPSED:
                self.lapsed += 1
                memories.setdefault(tick_after(leg.due), []).append(slot)
            else:
                self.counts.add(leg)
                leases.setdefault(tick_after(leg.due), []).append(slot)
        for wheel, slots_due in ((self._leases, leases), (self._memories, memories)):
            for tick, slots in slots_due.items():
                wheel.add_all(slots, (tick - 1) / TICKS)
        for serial, row in stops:
            self._stops.restore(serial, row)
        for name, value in notes.items():
            self._lists.restore(name, value, now)
        self._mirror_changes()

    # ---- what arrives

    def apply(self, batch: Sequence[Message], now: float) -> list[Answer]:
        """Answer a batch as if one by one; what it changed is in the mirror when this returns."""
        now = max(now, self._floor)
        answers: list[Answer] = []
        try:
            for message in batch:
                kind = type(message)
                answers.append(self._handlers[kind](message, now))
                if kind is Switched:
                    now = self._floor = now + _INSTANT  # what comes after it in this batch is younger
        finally:  # a slot has a lease, whatever went wrong after it
            if self._fresh:
                self._leases.add_all(self._fresh, now + self._reserved)
                self._fresh.clear()
        stopped = self._stops.row()
        if not self.overfull:  # else they are remembered here alone: what frees calls needs the room
            self._changes.stops.update(stopped)
        if not self._mirror_changes():
            self._take_back(batch, answers, now)
        return answers

    def _admit(self, ask: Admit, now: float) -> Answer:
        call, key = ask.call, ask.leg
        old = None
        if call is not None and call in self._calls:
            old = self._leg(call, key)
            if old is None and self._crowded(call):
                return Refused(Reason.INVALID_REQUEST, field="leg_id")
            if old is not None and old.state != LAPSED:
                return self._admit_again(old, ask, now)
        decision, levels = ask.decision, ask.levels
        if levels is None:
            return decision
        paced = levels.cps is not None or levels.client.cps is not None
        if paced and self._no_token(levels, now):
            return Refused(Reason.CPS_EXCEEDED)
        taken = self.counts.take(levels) if call is not None else self.counts.full(levels)
        if isinstance(taken, Reason):
            self.turned_away += taken is Reason.OVERLOAD
            return Refused(taken)
        if paced:
            self._take_tokens(levels, now)
        if call is None or taken is None:
            return decision
        if old is not None:
            self.free(old)
        due, active = now + self._reserved, self._active
        # All of them by their places: by their names it takes a quarter longer.
        answer = decision.packed if type(decision) is Grant else packed(decision)
        leg = Leg(0, call, key, ask.switch, RESERVED, taken, now, due, active, None, ask.content, answer)
        leg.slot = slot = ~self._large.add(leg)
        self._fresh.append(slot)
        if self._calls.setdefault(call, leg) is not leg:
            self._beside(leg)
        return decision

    def _admit_again(self, leg: Leg, ask: Admit, now: float) -> Answer:
        """Answer for a leg that is held already (engine.md 5.3)."""
        if leg.state == ACTIVE:
            return Refused(Reason.INVALID_REQUEST, field="call_id")
        if leg.content == ask.content and leg.answer is not None:
            self._belong(leg, ask.switch)
            self.retransmitted += 1
            return unpacked(leg.answer)
        decision, levels = ask.decision, ask.levels
        if levels is None:
            return decision
        self.counts.remove(leg)  # decided as if its slot were free
        refusal = Reason.CPS_EXCEEDED if self._no_token(levels, now) else self.counts.full(levels)
        if refusal is not None:
            self.counts.add(leg)
            return Refused(refusal)
        self._take_tokens(levels, now)
        leg.cells = self.counts.cells(levels)
        leg.content, leg.switch = ask.content, ask.switch
        # It renews no lease, so what is left of it is what the answer says.
        changed = msgspec.structs.replace(in_parts(decision), lease=max(1, int(leg.due - now)))
        leg.answer = packed(changed)
        self.counts.add(leg)
        self._slots.note(leg.slot)
        return changed

    def _progress(self, ask: Progress, now: float) -> Done:
        legs = self.matching(ask.named)
        lease = 3 * ask.interval if ask.interval is not None else None
        held = False
        for leg in legs:
            if leg.state != LAPSED:
                held = True
                self._advance(leg, ask, lease, now)
        if held:
            return Done(True)
        if legs:
            overcommit = False
            for leg in legs:
                leg.lease = lease or leg.lease
                overcommit |= self.revive(leg, ask.switch, ask.levels(leg), now)
            return Done(True, overcommit=overcommit)
        if ask.identify is None or self._stops.forbid(ask.named, now):
            return Done(True, unknown=True)
        levels = ask.identify()
        if levels is None or self._crowded(ask.named.call):
            return Done(True, unknown=True)
        if self.counts.held >= self.counts.room:
            self.turned_away += 1
            return Done(True, unknown=True)
        key = leg_key(ask.named.direction or Direction.ORIGINATION, ask.named.leg_id)
        lease = lease or self.settings.active
        cells = self.counts.cells(levels)
        leg = Leg(0, ask.named.call, key, ask.switch, ACTIVE, cells, now, now + lease, lease)
        leg.slot = self._small.add(leg)
        if self._calls.setdefault(leg.call, leg) is not leg:
            self._beside(leg)
        self._leases.add(leg.slot, leg.due)
        self.counts.add(leg)
        return Done(True, overcommit=self.counts.over(cells, levels))

    def _advance(self, leg: Leg, ask: Progress, lease: float | None, now: float) -> None:
        """Make a held leg active; only an update extends one that is."""
        leg.missed = None
        leg.switch = ask.switch
        leg.lease = lease or leg.lease
        if leg.state == RESERVED:
            leg.state, leg.due = ACTIVE, now + leg.lease
            self._shrink(leg)
            self._leases.add(leg.slot, leg.due)
        elif ask.method == "update":
            self._renew(leg, now + leg.lease)
        self._slots.note(leg.slot)

    def _stop(self, ask: Stop, now: float) -> Done:
        named = ask.named
        self._stops.add(named, now)
        if named.direction is None and named.leg_id is None:
            leg = self._calls.get(named.call)
            if type(leg) is Leg and leg.state != LAPSED:  # as most are; what `free` does
                del self._calls[named.call]
                self.counts.remove(leg)
                slot = leg.slot
                if slot < 0:
                    self._large.remove(~slot)
                else:
                    self._small.remove(slot)
                return _FREED_ONE
        legs = self.matching(named)
        freed = 0
        for leg in legs:
            freed += leg.state != LAPSED
            self.free(leg)
        return Done(True, unknown=not legs, freed=freed)

    # ---- what time brings

    def work(self, now: float) -> bool:
        """Do a step of what is due: lapses, what is to be forgotten, jobs; returns whether more is due."""
        now = max(now, self._floor)
        more = self._lapse(now)
        more |= self._forget(now)
        more |= self._lists.step(now)
        self._mirror_changes()
        return more

    def _lapse(self, now: float) -> bool:
        slots = self._leases.take(now, STEP)
        for slot in slots:
            leg = self._slots.get(slot)
            if leg is None or leg.state == LAPSED:
                continue  # it was freed since it was noted
            if tick_after(leg.due) > now * TICKS:
                self._leases.add(slot, leg.due)  # it was renewed, or the place is another one's now
                continue
            self.lapsed_reserved += leg.state == RESERVED
            self.lapsed_active += leg.state == ACTIVE
            if self.settings.lapsed_max == 0:
                self.free(leg)
                continue
            self.counts.remove(leg)
            if leg.state == RESERVED:
                self._shrink(leg)
            leg.state, leg.due = LAPSED, now + REMEMBERED
            self._memories.add(leg.slot, leg.due)
            self.lapsed += 1
            self._slots.note(leg.slot)
        return len(slots) == STEP

    def _forget(self, now: float) -> bool:
        slots = self._memories.take(now, STEP)
        too_many = self.lapsed - self.settings.lapsed_max
        until = now
        crowded = self._mirror.crowded
        if not slots and self.lapsed and (too_many > 0 or crowded):
            at, slots = self._memories.take_earliest(STEP if crowded else min(too_many, STEP))
            until = max(now, at)
        for slot in slots:
            leg = self._slots.get(slot)
            if leg is None or leg.state != LAPSED:
                continue
            if tick_after(leg.due) <= until * TICKS:
                self.free(leg)
            else:
                self._memories.add(slot, leg.due)
        rows = self._stops.forget(now, STEP)
        self._changes.stops.update(dict.fromkeys(rows))
        return len(slots) == STEP or self._stops.due(now) or self.lapsed > self.settings.lapsed_max

    # ---- the set, for what is asked and for lists

    def matching(self, named: Named) -> list[Leg]:
        """Return the legs that are named, held or lapsed."""
        there = self._calls.get(named.call)
        if there is None:
            return []
        direction, leg_id = named.direction, named.leg_id
        if direction is None and leg_id is None and isinstance(there, Leg):
            return [there]
        if direction is not None and leg_id is not None:
            leg = self._leg(named.call, leg_key(direction, leg_id))
            return [] if leg is None else [leg]
        legs = list(there.values()) if isinstance(there, dict) else [there]
        if direction is not None:
            initial = leg_key(direction, None)
            legs = [leg for leg in legs if leg.leg[0] == initial]
        if leg_id is not None:
            ends = {leg_key(each, leg_id) for each in Direction}
            legs = [leg for leg in legs if leg.leg in ends]
        return legs

    def page(self, first: int, count: int) -> list[Leg] | None:
        """See :class:`identengine.calls.backend.Overview`."""
        return self._slots.run(first, count)

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """See :class:`identengine.calls.backend.Overview`."""
        # Passing over what is before `first` costs some 50 ns each.
        page = list(islice(self.counts.use(of_accounts=of == "accounts"), first, first + count))
        return [(counter, held) for counter, held in page if held] if page else None

    def confirm(self, leg: Leg, switch: str, now: float) -> None:
        """Renew the lease of a held leg that a switch lists (engine.md 5.6)."""
        leg.missed = None
        leg.switch = switch
        self._renew(leg, now + (leg.lease if leg.state == ACTIVE else self.settings.reserved))
        self._slots.note(leg.slot)

    def revive(self, leg: Leg, switch: str, levels: Levels, now: float) -> bool:
        """Count a lapsed leg again, as active; returns whether a limit is exceeded by it (engine.md 5.4)."""
        self.lapsed -= 1
        leg.state, leg.due, leg.switch, leg.missed = ACTIVE, now + leg.lease, switch, None
        self._leases.add(leg.slot, leg.due)
        self.counts.add(leg)
        self._slots.note(leg.slot)
        return self.counts.over(leg.cells, levels)

    def miss(self, leg: Leg, list_id: str) -> None:
        """Note that a list lacks the leg."""
        leg.missed = list_id
        self._slots.note(leg.slot)

    def note(self, name: str, value: Note) -> None:
        """Keep a note in the mirror; None drops it."""
        self._changes.notes[name] = value

    def _leg(self, call: str, key: str) -> Leg | None:
        there = self._calls.get(call)
        if isinstance(there, dict):
            return there.get(key)
        return there if there is not None and there.leg == key else None

    def _belong(self, leg: Leg, switch: str) -> None:
        if leg.switch != switch:
            leg.switch = switch
            self._slots.note(leg.slot)

    def _crowded(self, call: str) -> bool:
        """Whether a call has as many legs as it may; those that are only remembered make room."""
        there = self._calls.get(call)
        if not isinstance(there, dict) or len(there) < LEGS_OF_A_CALL:
            return False
        for leg in [leg for leg in there.values() if leg.state == LAPSED]:
            self.free(leg)
        return len(there) >= LEGS_OF_A_CALL

    def _beside(self, leg: Leg) -> None:
        """Keep a further leg of a call."""
        there = self._calls[leg.call]
        if isinstance(there, dict):
            there[leg.leg] = leg
        else:
            self._calls[leg.call] = {there.leg: there, leg.leg: leg}

    def _renew(self, leg: Leg, due: float) -> None:
        leg.due = due
        self._leases.add(leg.slot, due)

    def free(self, leg: Leg) -> None:
        """Forget a leg altogether, and so give up its slot."""
        if leg.state == LAPSED:
            self.lapsed -= 1
        else:
            self.counts.remove(leg)
        there = self._calls.pop(leg.call)
        if there is not leg:
            self._leave(there, leg)
        self._slots.remove(leg.slot)

    def _leave(self, there: Leg | dict[str, Leg], leg: Leg) -> None:
        """Keep the other legs of a call."""
        assert isinstance(there, dict)  # noqa: S101 - tells mypy that the call has several
        del there[leg.leg]
        if len(there) == 1:
            (self._calls[leg.call],) = there.values()
        else:
            self._calls[leg.call] = there

    def _shrink(self, leg: Leg) -> None:
        """Move a leg that is reserved no more to where the small ones are, without what is for retransmissions."""
        self._slots.remove(leg.slot)
        leg.content = leg.answer = None
        leg.slot = self._small.add(leg)

    # ---- levels

    def _no_token(self, levels: Levels, now: float) -> bool:
        client = levels.client
        return (levels.cps is not None and self._account_buckets.empty(levels.account, levels.cps, now)) or (
            client.cps is not None and self._client_buckets.empty(client.counters[0], client.cps, now)
        )

    def _take_tokens(self, levels: Levels, now: float) -> None:
        client = levels.client
        if levels.cps is not None:
            self._account_buckets.take(levels.account, levels.cps, now)
        if client.cps is not None:
            self._client_buckets.take(client.counters[0], client.cps, now)

    # ---- the mirror

    def _mirror_changes(self) -> bool:
        """Give the mirror what changed; returns whether it took it, else it stays to be given again."""
        changes, taken = self._changes, True
        if changes:
            try:
                self._mirror.write(changes)
                changes.clear()
            except MirrorFullError:
                taken = False
                changes.condense()
        overfull = self._mirror.tight or not taken
        if overfull is not self.overfull:
            self.overfull, self.counts.room = overfull, 0 if overfull else self.settings.max_legs
        return taken

    def _take_back(self, batch: Sequence[Message], answers: list[Answer], now: float) -> None:
        """Refuse what was let in but could not be mirrored; the rest stays, and goes to the mirror later."""
        asked = [
            (place, (message.call, message.leg))
            for place, (message, answer) in enumerate(zip(batch, answers, strict=True))
            if isinstance(message, Admit) and message.call is not None and _may_pass(answer)
        ]
        taken_back: set[tuple[str, str]] = set()
        for _, key in asked:
            leg = self._leg(*key)
            if leg is not None and leg.state == RESERVED and leg.since >= now - _INSTANT * len(batch):
                self.free(leg)
                taken_back.add(key)
        for place, key in asked:
            if key in taken_back:  # it may have come several times, and changed
                answers[place] = Refused(Reason.OVERLOAD)
                self.turned_away += 1
        self._mirror_changes()


def _may_pass(answer: Answer) -> bool:
    return isinstance(answer, Grant) or (isinstance(answer, Decision) and answer.accepted)


_FREED_ONE = Done(True, freed=1)
"""What most stops are answered."""
