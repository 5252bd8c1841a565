"""What a switch says of all its calls at once: ``sync``, ``switch_up``, ``switch_down`` (engine.md 5.6).

Each becomes a job that goes through the set in steps, so that nothing is held up (engine.md 5.8). A small one is
done at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

import msgspec

from identengine.calls.backend import Done, Later, Listed, Named, Refused, Switched
from identengine.calls.legs import ACTIVE, LAPSED, Leg
from identengine.calls.levels import Levels
from identengine.model.reasons import Reason

PARTS_SECONDS = 60.0
"""Within which all parts of a list have to come."""
REPEAT_SECONDS = 10.0
"""Within which a repeated ``switch_up`` or ``switch_down`` frees nothing."""
STEP = 256
"""Legs looked at in one step."""
LISTS_GATHERED = 4
"""Lists of each switch whose parts may be under way at a time."""
LISTS_WAITING = 4
"""Complete lists of each switch that may wait for their turn; a further one is not taken (``overload``)."""
LISTS_KNOWN = 16
"""Lists of each switch that are remembered, so that each counts once."""

Note = float | tuple[str, ...] | None


class Set(Protocol):
    """What jobs do with the set of calls."""

    def matching(self, named: Named) -> list[Leg]:
        """Return the legs that are named, held or lapsed."""

    def page(self, first: int, count: int) -> list[Leg] | None:
        """Return the legs in these slots; None behind the last slot."""

    def confirm(self, leg: Leg, switch: str, now: float) -> None:
        """Renew the lease of a held leg that a switch lists."""

    def revive(self, leg: Leg, switch: str, levels: Levels, now: float) -> bool:
        """Count a lapsed leg again; returns whether a limit is exceeded by it."""

    def miss(self, leg: Leg, list_id: str) -> None:
        """Note that a list lacks the leg."""

    def free(self, leg: Leg) -> None:
        """Give up the leg's slot."""

    def note(self, name: str, value: Note) -> None:
        """Keep a note in the mirror; None drops it."""


class _Pending(msgspec.Struct):
    """A list of which not all parts are there yet."""

    parts: int
    began: float
    confirm_empty: bool = False
    received: dict[int, tuple[Named, ...]] = {}
    size: int = 0
    """How many calls wait here."""

    def put(self, part: int, calls: tuple[Named, ...]) -> None:
        """Keep a part, in the place of an earlier one of its number."""
        self.size += len(calls) - len(self.received.get(part, ()))
        self.received[part] = calls


class _Job(msgspec.Struct):
    """Something under way."""

    key: tuple[str, str]
    """The switch, and the list id; ``""`` of a switch that went up or down."""
    missing: int | None
    later: Later
    began: float
    """When the switch said it."""
    freed: int = 0

    def result(self) -> Done:
        """Return what the switch is answered."""
        return Done(True, missing=self.missing, freed=self.freed)


class Lists:
    """Lists in parts, and the jobs that came of complete ones and of switches that went up or down."""

    def __init__(self, of: Set, grace: float, most: int) -> None:
        """``most``: calls that a list may hold, since its parts wait in memory."""
        self._set = of
        self._grace = grace
        self._most = most
        self._pending: dict[str, dict[str, _Pending]] = {}
        """By switch and list id: parts of two lists may come by turns, and one that broke off may be late."""
        self._known: dict[str, tuple[str, ...]] = {}
        self._switched: dict[str, float] = {}
        self._jobs: deque[tuple[_Job, Iterator[None]]] = deque()
        self._finished: list[_Job] = []
        """Jobs of which the mirror is yet to have the last step; they are answered then."""
        self._now = 0.0

    def restore(self, name: str, value: Note, now: float) -> None:
        """Take up a note from the mirror."""
        kind, _, switch = name.partition(":")
        if kind == "lists" and isinstance(value, tuple):
            self._known[switch] = value
        elif kind == "switched" and isinstance(value, float):
            self._switched[switch] = value
        elif kind == "freeing" and isinstance(value, float):
            job = _Job((switch, ""), None, Later(), value)
            self._begin(job, self._free_older(job), now)

    def take(self, listed: Listed, now: float) -> Done | Later | Refused:
        """Take a part of a list; the last one that was missing sets the list to work."""
        switch, list_id = listed.switch, listed.list_id
        if (running := self._running(switch, list_id)) is not None:
            return running
        if sum(job.key[0] == switch for job, _ in self._jobs) >= LISTS_WAITING:
            return Refused(Reason.OVERLOAD)
        missing = sum(not self._set.matching(named) for named in listed.calls)
        if list_id in self._known.get(switch, ()):
            return Done(True, missing=missing, freed=0)
        pending = self._gather(listed, now)
        if len(pending.received) < pending.parts:
            return Done(True, missing=missing)
        self._pending[switch].pop(list_id, None)
        if not pending.confirm_empty and not pending.size:
            return Done(True, missing=0, freed=0)
        job = _Job((switch, list_id), missing, Later(), now)
        return self._begin(job, self._compare(job, pending, listed.levels), now)

    def _gather(self, listed: Listed, now: float) -> _Pending:
        """Put a part to those that came before; lists whose time is over, and the oldest of too many, go."""
        lists = self._pending.setdefault(listed.switch, {})
        for list_id in [list_id for list_id, old in lists.items() if now - old.began > PARTS_SECONDS]:
            del lists[list_id]
        pending = lists.get(listed.list_id)
        if pending is None or pending.parts != listed.parts:
            pending = lists[listed.list_id] = _Pending(listed.parts, now)
        pending.put(listed.part, listed.calls)
        pending.confirm_empty |= listed.confirm_empty
        while lists and (len(lists) > LISTS_GATHERED or sum(one.size for one in lists.values()) > self._most):
            del lists[min(lists, key=lambda list_id: lists[list_id].began)]
        return pending

    def switched(self, message: Switched, now: float) -> Done | Later:
        """Free the legs that the switch has by now."""
        switch = message.switch
        if (running := self._running(switch, "")) is not None:
            return running
        last = self._switched.get(switch)
        if last is not None and now - last < REPEAT_SECONDS:
            return Done(True, freed=0)
        self._switched[switch] = now
        self._set.note(f"switched:{switch}", now)
        self._set.note(f"freeing:{switch}", now)
        job = _Job((switch, ""), None, Later(), now)
        return self._begin(job, self._free_older(job), now)

    def step(self, now: float) -> bool:
        """Do a step of the first job; returns whether there is more to do.

        What a step changed is in the mirror when the next one begins.
        """
        finished, self._finished = self._finished, []
        for job in finished:
            job.later.finish(job.result())
        self._now = now
        if self._jobs:
            job, steps = self._jobs[0]
            if next(steps, self) is self:
                self._jobs.popleft()
                self._finished.append(job)
        return bool(self._jobs or self._finished)

    def _running(self, switch: str, list_id: str) -> Later | None:
        jobs = chain((job for job, _ in self._jobs), self._finished)
        return next((job.later for job in jobs if job.key == (switch, list_id)), None)

    def _begin(self, job: _Job, steps: Iterator[None], now: float) -> Done | Later:
        """Do the first step at once, where nothing is under way: for most sets that is all."""
        if not self._jobs:
            self._now = now
            if next(steps, self) is self:
                return job.result()
        self._jobs.append((job, steps))
        return job.later

    def _compare(self, job: _Job, pending: _Pending, levels: Callable[[Leg], Levels]) -> Iterator[None]:
        """Hold the set against a complete list."""
        switch, list_id = job.key
        seen: dict[int, Leg] = {}  # by identity: a start moves a leg to another place
        done = 0
        for part in range(1, pending.parts + 1):
            for named in pending.received[part]:
                seen.update((id(leg), leg) for leg in self._confirm(named, switch, levels))
                if (done := done + 1) % STEP == 0:
                    yield
            if part % STEP == 0:  # they may be empty
                yield
        first = 0
        while (legs := self._set.page(first, STEP)) is not None:
            if first or done >= STEP:
                yield
                legs = self._set.page(first, STEP) or []  # some may have been freed meanwhile
            for leg in legs:
                if leg.switch != switch or leg.state != ACTIVE or id(leg) in seen:
                    continue
                if leg.due - leg.lease > job.began:
                    continue  # a start or update came since
                if leg.missed is None:
                    self._set.miss(leg, list_id)
                elif leg.missed != list_id and self._now - leg.since > self._grace:
                    self._set.free(leg)
                    job.freed += 1
            first += STEP
        known = (*self._known.get(switch, ()), list_id)[-LISTS_KNOWN:]
        self._known[switch] = known
        self._set.note(f"lists:{switch}", known)

    def _confirm(self, named: Named, switch: str, levels: Callable[[Leg], Levels]) -> Iterator[Leg]:
        """Renew what a switch lists, or revive it; yields its legs."""
        legs = self._set.matching(named)
        held = [leg for leg in legs if leg.state != LAPSED]
        for leg in held:
            self._set.confirm(leg, switch, self._now)
            yield leg
        if not held:
            for leg in legs:
                self._set.revive(leg, switch, levels(leg), self._now)
                yield leg

    def _free_older(self, job: _Job) -> Iterator[None]:
        """Free a switch's legs that were taken by the time it said so."""
        switch, _ = job.key
        first = 0
        while (legs := self._set.page(first, STEP)) is not None:
            if first:
                yield
                legs = self._set.page(first, STEP) or []  # some may have been freed meanwhile
            for leg in legs:
                if leg.switch == switch and leg.since <= job.began:
                    self._set.free(leg)
                    job.freed += leg.state != LAPSED
            first += STEP
        self._set.note(f"freeing:{switch}", None)
