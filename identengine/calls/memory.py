"""The set of calls in the memory of the one process that decides (engine.md 5; design.md, "One decider").

Every rule is a plain operation on dicts: no lock, no race. The legs are the truth, counters are kept leg by leg
beside them, and what a batch changed goes to the mirror in one piece before the batch is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from identengine.calls.buckets import Buckets
from identengine.calls.legs import Leg, State, leg_key
from identengine.calls.levels import Levels
from identengine.calls.lists import Lists, Note
from identengine.calls.messages import Admit, Answer, Done, Listed, Message, Named, Of, Progress, Refused, Stop
from identengine.calls.slots import Slots
from identengine.calls.stops import Row, Stops
from identengine.calls.wheel import Wheel
from identengine.model import Decision, Direction
from identengine.reasons import Reason

REMEMBERED = 24 * 3600.0
"""How long a lapsed leg can be revived, in seconds (engine.md 5.4)."""
STEP = 256
"""How many legs one step of :meth:`Calls.work` takes: about a millisecond."""
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
    """What has to go to the mirror: legs by slot, rows of stops by serial, notes by name; None: gone."""

    legs: dict[int, Leg | None] = {}
    stops: dict[int, Row | None] = {}
    notes: dict[str, Note] = {}

    def __bool__(self) -> bool:
        return bool(self.legs or self.stops or self.notes)


class MirrorFullError(Exception):
    """The mirror has no room for what changed."""


class Mirror(Protocol):
    """What keeps a copy of the set that outlives the process."""

    def write(self, changes: Changes) -> None:
        """Keep it, all or nothing. Raises MirrorFullError."""


class Calls:
    """A set of calls; see :class:`identengine.calls.messages.Backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self.settings = settings
        self.held = 0
        """Legs that hold slots."""
        self.lapsed = 0
        """Legs that are remembered."""
        self.lapsed_reserved = self.lapsed_active = self.retransmitted = 0
        """For statistics: since this process began."""
        self.overfull = False
        """Whether the mirror did not take what changed last: nothing is let in until it does."""
        self._mirror = mirror
        self._slots = Slots[Leg]()
        self._calls: dict[str, Leg | dict[str, Leg]] = {}
        """By call key: its leg, or its legs by leg key where it has several."""
        self._accounts: dict[int, int] = {}
        self._clients: dict[int, int] = {}
        """Counters (:mod:`identengine.calls.levels`); one that is not there is zero."""
        self._leases = Wheel()
        self._memories = Wheel()
        self._stops = Stops(max(10_000, 2 * settings.max_legs))
        self._account_buckets = Buckets()
        self._client_buckets = Buckets()
        self._lists = Lists(self, settings.grace, 2 * settings.max_legs)
        self._changes = Changes()
        self._floor = 0.0

    def restore(
        self, legs: Iterable[Leg], stops: Iterable[tuple[int, Row]], notes: Mapping[str, Note], now: float
    ) -> None:
        """Take up what a mirror kept: the set is then as it was (engine.md 5.8)."""
        there = {leg.slot: leg for leg in legs}
        self._slots.restore(there)
        for leg in there.values():
            self._enter(leg)
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
        for message in batch:
            if isinstance(message, Admit):
                answers.append(self._admit(message, now))
            elif isinstance(message, Stop):
                answers.append(self._stop(message, now))
            elif isinstance(message, Progress):
                answers.append(self._progress(message, now))
            elif isinstance(message, Listed):
                answers.append(self._lists.take(message, now))
            else:
                answers.append(self._lists.switched(message, now))
                now = self._floor = now + _INSTANT  # what comes after it in this batch is younger
        self._changes.stops.update(self._stops.row())
        if not self._mirror_changes():
            self._take_back(batch, answers, now)
        return answers

    def _admit(self, ask: Admit, now: float) -> Answer:
        call = ask.call
        if call is None:
            return self._pass(ask, now)
        old = self._leg(call, ask.leg) if call in self._calls else None
        if old is not None:
            if old.state is State.ACTIVE:
                return Refused(Reason.INVALID_REQUEST)
            if old.state is State.RESERVED and old.content == ask.content and old.answer is not None:
                self._belong(old, ask.switch)
                self.retransmitted += 1
                return old.answer
        decision, levels = ask.decide()
        if levels is None:
            return decision
        if old is not None and old.state is State.RESERVED:
            return self._decide_anew(old, ask, decision, levels, now)
        origination = ask.leg[0] == "o"
        refusal = self._refusal(levels, origination, now) or self._no_room()
        if refusal is not None:
            return Refused(refusal, decision)
        if old is not None:
            self._drop(old)
        if levels.cps is not None or levels.client.cps is not None:
            self._take_tokens(levels, now)
        due = now + self.settings.reserved
        self._enter_new(
            Leg(
                0,
                call,
                ask.leg,
                ask.switch,
                State.RESERVED,
                levels.account_id,
                levels.client.counters,
                now,
                due,
                self.settings.active,
                None,
                ask.content,
                decision,
            )
        )
        return decision

    def _pass(self, ask: Admit, now: float) -> Answer:
        """Hold a call without id to the limits; it takes a token and no slot (engine.md 5.10)."""
        decision, levels = ask.decide()
        if levels is None:
            return decision
        origination = ask.leg[0] == "o"
        refusal = self._refusal(levels, origination, now)
        if refusal is not None:
            return Refused(refusal, decision)
        if levels.cps is not None or levels.client.cps is not None:
            self._take_tokens(levels, now)
        return decision

    def _decide_anew(self, leg: Leg, ask: Admit, decision: Decision, levels: Levels, now: float) -> Answer:
        """Decide other content under the key of a reserved leg, as if its slot were free (engine.md 5.3)."""
        self._discount(leg)
        origination = leg.leg[0] == "o"
        refusal = self._refusal(levels, origination, now)
        if refusal is not None:
            self._count(leg)
            return Refused(refusal, decision)
        if levels.cps is not None or levels.client.cps is not None:
            self._take_tokens(levels, now)
        leg.account_id, leg.counters = levels.account_id, levels.client.counters
        leg.content, leg.switch = ask.content, ask.switch
        # It renews no lease, so what is left of it is what the answer says.
        leg.answer = msgspec.structs.replace(decision, lease=max(1, int(leg.due - now)))
        self._count(leg)
        self._changes.legs[leg.slot] = leg
        return leg.answer

    def _progress(self, ask: Progress, now: float) -> Done:
        legs = self.matching(ask.named)
        lease = 3 * ask.interval if ask.interval is not None else None
        held = False
        for leg in legs:
            if leg.state is not State.LAPSED:
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
        if levels is None or self._no_room() is not None:
            return Done(True, unknown=True)
        key = leg_key(ask.named.direction or Direction.ORIGINATION, ask.named.leg_id)
        lease = lease or self.settings.active
        counters = levels.client.counters
        self._enter_new(
            Leg(
                0,
                ask.named.call,
                key,
                ask.switch,
                State.ACTIVE,
                levels.account_id,
                counters,
                now,
                now + lease,
                lease,
            )
        )
        return Done(True, overcommit=self._over(levels, key[0] == "o"))

    def _advance(self, leg: Leg, ask: Progress, lease: float | None, now: float) -> None:
        """Make a held leg active; only an update extends one that is."""
        leg.missed = None
        leg.switch = ask.switch
        leg.lease = lease or leg.lease
        if leg.state is State.RESERVED:
            leg.state, leg.due = State.ACTIVE, now + leg.lease
            self._shrink(leg)
            self._leases.add(leg.slot, leg.due)
        elif ask.method == "update":
            self._renew(leg, now + leg.lease)
        self._changes.legs[leg.slot] = leg

    def _stop(self, ask: Stop, now: float) -> Done:
        legs = self.matching(ask.named)
        freed = 0
        for leg in legs:
            freed += leg.state is not State.LAPSED
            self._drop(leg)
        self._stops.add(ask.named, now)
        return _FREED_ONE if freed == 1 else Done(True, unknown=not legs, freed=freed)

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
            if leg is None or leg.state is State.LAPSED or int(leg.due) + 1 > now:
                continue  # it was freed or renewed since it was noted
            self.lapsed_reserved += leg.state is State.RESERVED
            self.lapsed_active += leg.state is State.ACTIVE
            if self.settings.lapsed_max == 0:
                self._drop(leg)
                continue
            self._discount(leg)
            if leg.state is State.RESERVED:
                self._shrink(leg)
            leg.state, leg.due = State.LAPSED, now + REMEMBERED
            self._memories.add(leg.slot, leg.due)
            self.lapsed += 1
            self._changes.legs[leg.slot] = leg
        return len(slots) == STEP

    def _forget(self, now: float) -> bool:
        slots = self._memories.take(now, STEP)
        too_many = self.lapsed - self.settings.lapsed_max
        until = now
        if not slots and (too_many > 0 or (self.overfull and self.lapsed)):
            second, slots = self._memories.take_earliest(STEP if self.overfull else min(too_many, STEP))
            until = max(now, second)
        for slot in slots:
            leg = self._slots.get(slot)
            if leg is not None and leg.state is State.LAPSED and int(leg.due) + 1 <= until:
                self._drop(leg)
        rows = self._stops.forget(now, STEP)
        self._changes.stops.update(dict.fromkeys(rows))
        return STEP in (len(slots), len(rows)) or self.lapsed > self.settings.lapsed_max

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

    def slots(self, first: int, count: int) -> list[Leg] | None:
        """Return the legs at ``count`` places from ``first`` on; None behind the last one."""
        return self._slots.run(first, count)

    def page(self, first: int, count: int) -> list[Leg] | None:
        """See :class:`identengine.calls.messages.Overview`."""
        return self.slots(first, count)

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """See :class:`identengine.calls.messages.Overview`."""
        counts = self._accounts if of == "accounts" else self._clients
        # A list: no batch comes in between, and passing over what is before `first` costs 5 ns each.
        return list(islice(counts.items(), first, first + count)) or None

    def confirm(self, leg: Leg, switch: str, now: float) -> None:
        """Renew the lease of a held leg that a switch lists (engine.md 5.6)."""
        leg.missed = None
        leg.switch = switch
        self._renew(leg, now + (leg.lease if leg.state is State.ACTIVE else self.settings.reserved))
        self._changes.legs[leg.slot] = leg

    def revive(self, leg: Leg, switch: str, levels: Levels, now: float) -> bool:
        """Count a lapsed leg again, as active; returns whether a limit is exceeded by it (engine.md 5.4)."""
        self.lapsed -= 1
        leg.state, leg.due, leg.switch, leg.missed = State.ACTIVE, now + leg.lease, switch, None
        self._leases.add(leg.slot, leg.due)
        self._count(leg)
        self._changes.legs[leg.slot] = leg
        return self._over(levels, leg.leg[0] == "o")

    def miss(self, leg: Leg, list_id: str) -> None:
        """Note that a list lacks the leg."""
        leg.missed = list_id
        self._changes.legs[leg.slot] = leg

    def free(self, leg: Leg) -> None:
        """Give up the leg's slot."""
        self._drop(leg)

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
            self._changes.legs[leg.slot] = leg

    def _enter_new(self, leg: Leg) -> None:
        """Give a leg that is held a slot, and count it."""
        slot = leg.slot = self._slots.add(leg, large=leg.state is State.RESERVED)
        self._changes.legs[slot] = leg
        if leg.call in self._calls:
            self._enter(leg)
            return
        self._calls[leg.call] = leg
        self._leases.add(slot, leg.due)
        self._count(leg)

    def _enter(self, leg: Leg) -> None:
        """Put a leg that has its slot where it is looked for, counted and lapses."""
        there = self._calls.get(leg.call)
        if there is None:
            self._calls[leg.call] = leg
        elif isinstance(there, dict):
            there[leg.leg] = leg
        else:
            self._calls[leg.call] = {there.leg: there, leg.leg: leg}
        if leg.state is State.LAPSED:
            self.lapsed += 1
            self._memories.add(leg.slot, leg.due)
        else:
            self._leases.add(leg.slot, leg.due)
            self._count(leg)

    def _renew(self, leg: Leg, due: float) -> None:
        if int(due) != int(leg.due):
            self._leases.add(leg.slot, due)
        leg.due = due

    def _drop(self, leg: Leg) -> None:
        """Forget a leg altogether."""
        if leg.state is State.LAPSED:
            self.lapsed -= 1
        else:
            self._discount(leg)
        there = self._calls[leg.call]
        if isinstance(there, dict):
            del there[leg.leg]
            if len(there) == 1:
                (self._calls[leg.call],) = there.values()
        else:
            del self._calls[leg.call]
        self._slots.remove(leg.slot)
        self._changes.legs[leg.slot] = None

    def _shrink(self, leg: Leg) -> None:
        """Move a leg that is reserved no more to where the small ones are, without what is for retransmissions."""
        self._slots.remove(leg.slot)
        self._changes.legs[leg.slot] = None
        leg.content = leg.answer = None
        leg.slot = self._slots.add(leg, large=False)

    # ---- levels

    def _count(self, leg: Leg) -> None:
        """Count a leg on all its levels."""
        self.held += 1
        counts = self._accounts
        key = leg.account_id << 1 | (leg.leg[0] != "o")
        counts[key] = counts.get(key, 0) + 1
        counts = self._clients
        for counter in leg.counters:
            counts[counter] = counts.get(counter, 0) + 1

    def _discount(self, leg: Leg) -> None:
        """Count a leg no more where it was counted; a counter that is zero goes."""
        self.held -= 1
        counts = self._accounts
        key = leg.account_id << 1 | (leg.leg[0] != "o")
        if counts[key] == 1:
            del counts[key]
        else:
            counts[key] -= 1
        counts = self._clients
        for counter in leg.counters:
            if counts[counter] == 1:
                del counts[counter]
            else:
                counts[counter] -= 1

    def _refusal(self, levels: Levels, origination: bool, now: float) -> Reason | None:
        """Return why there is no room for one more: calls a second, then the full level nearest (5.9, 5.2)."""
        client = levels.client
        if levels.cps is not None and self._account_buckets.empty(levels.account_id, levels.cps, now):
            return Reason.CPS_EXCEEDED
        if client.cps is not None and self._client_buckets.empty(client.counters[0], client.cps, now):
            return Reason.CPS_EXCEEDED
        capacity = levels.capacity
        if capacity is not None:
            counter = levels.account_id << 1 | (not origination)
            if self._accounts.get(counter, 0) >= capacity:
                return Reason.ACCOUNT_CAPACITY
        for limit in client.limits:
            if self._clients.get(limit.counter, 0) >= limit.most:
                return limit.reason
        most = self.settings.global_capacity
        return Reason.GLOBAL_CAPACITY if most is not None and self.held >= most else None

    def _no_room(self) -> Reason | None:
        return Reason.OVERLOAD if self.held >= self.settings.max_legs or self.overfull else None

    def _over(self, levels: Levels, origination: bool) -> bool:
        """Whether a level holds more than its limit."""
        capacity = levels.capacity
        if capacity is not None and self._accounts.get(levels.account_id << 1 | (not origination), 0) > capacity:
            return True
        if any(self._clients.get(limit.counter, 0) > limit.most for limit in levels.client.limits):
            return True
        most = self.settings.global_capacity
        return most is not None and self.held > most

    def _take_tokens(self, levels: Levels, now: float) -> None:
        if levels.cps is not None:
            self._account_buckets.take(levels.account_id, levels.cps, now)
        if levels.client.cps is not None:
            self._client_buckets.take(levels.client.counters[0], levels.client.cps, now)

    # ---- the mirror

    def _mirror_changes(self) -> bool:
        """Give the mirror what changed; returns whether it took it, else it stays to be given again."""
        if not self._changes:
            self.overfull = False
            return True
        try:
            self._mirror.write(self._changes)
        except MirrorFullError:
            self.overfull = True
            return False
        self._changes = Changes()
        self.overfull = False
        return True

    def _take_back(self, batch: Sequence[Message], answers: list[Answer], now: float) -> None:
        """Refuse what was let in but could not be mirrored; the rest stays, and goes to the mirror later."""
        taken_back: set[int] = set()
        for place, (message, answer) in enumerate(zip(batch, answers, strict=True)):
            if not isinstance(message, Admit) or message.call is None or not isinstance(answer, Decision):
                continue
            leg = self._leg(message.call, message.leg)
            if leg is not None and leg.answer is answer and leg.since >= now - _INSTANT * len(batch):
                self._drop(leg)
                taken_back.add(id(answer))
            if id(answer) in taken_back:  # a retransmission came in the same batch
                answers[place] = Refused(Reason.OVERLOAD, answer)
        self._mirror_changes()


_FREED_ONE = Done(True, freed=1)
"""What most stops are answered."""
