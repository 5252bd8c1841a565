"""What a switch says of all its calls at once: ``sync``, ``switch_up``, ``switch_down`` (engine.md 5.6).

Each becomes a job that goes through the set in steps, so that nothing is held up (engine.md 5.8). A small one is
done at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

import msgspec

from identengine.calls.backend import Deferred, LegResult, LegSelector, Refused, SwitchReset, SyncPart
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


class Sweep(msgspec.Struct, gc=False):
    """One look of a switch's complete list at all legs, in steps."""

    switch: str
    list_id: str
    began: float
    """When the list was complete."""
    seen: dict[int, object] = {}
    """The legs that the list names, by identity: a ``start`` moves a leg to another place."""


class Set(Protocol):
    """What lists and switches do with the set of calls. How the set keeps a leg is not known here."""

    def knows(self, selector: LegSelector) -> bool:
        """Return whether a leg that ``selector`` names is held or lapsed."""

    def confirm(self, selector: LegSelector, switch: str, now: float) -> Iterable[object]:
        """Renew the leases of the held legs that ``selector`` names. If none is held, revive the lapsed ones.

        Return the legs that were renewed or revived.
        """

    def reaches(self, place: int) -> bool:
        """Return whether the set has this place; the first is 0. Places become more, never less."""

    def miss(self, first: int, count: int, sweep: Sweep, now: float) -> int:
        """Look for legs that a list lacks at ``count`` places from ``first`` on (engine.md 5.6).

        A leg that an earlier list lacked too is freed if it is old enough. Return how many were freed.
        """

    def free_older(self, first: int, count: int, switch: str, began: float) -> int:
        """Free the switch's legs at these places that were taken by ``began``; return how many held slots."""

    def note(self, name: str, value: Note) -> None:
        """Keep a note in the mirror; None drops it."""


class _Pending(msgspec.Struct):
    """A list of which not all parts are there yet."""

    parts: int
    began: float
    confirm_empty: bool = False
    received: dict[int, tuple[LegSelector, ...]] = {}
    size: int = 0
    """How many calls wait here."""

    def put(self, part: int, calls: tuple[LegSelector, ...]) -> None:
        """Keep a part, in the place of an earlier one of its number."""
        self.size += len(calls) - len(self.received.get(part, ()))
        self.received[part] = calls


class _Job(msgspec.Struct):
    """Something under way."""

    key: tuple[str, str]
    """The switch, and the list id; ``""`` of a switch that went up or down."""
    missing: int | None
    deferred: Deferred
    began: float
    """When the switch said it."""
    freed: int = 0
    forgotten: bool = False
    """True if the switch went up or down after this list, and may give the list id to another list."""

    def result(self) -> LegResult:
        """Return what the switch is answered."""
        return LegResult(True, missing=self.missing, freed=self.freed)


class Lists:
    """Lists in parts, and the jobs that came of complete ones and of switches that went up or down."""

    def __init__(self, of: Set, most: int) -> None:
        """``most``: calls that a list may hold, since its parts wait in memory."""
        self._set = of
        self._most = most
        self._pending: dict[str, dict[str, _Pending]] = {}
        """By switch and list id: parts of two lists may come by turns, and one that broke off may be late."""
        self._known: dict[str, tuple[str, ...]] = {}
        self._resets: dict[str, float] = {}
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
            self._resets[switch] = value
        elif kind == "freeing" and isinstance(value, float):
            job = _Job((switch, ""), None, Deferred(), value)
            self._begin(job, self._free_older(job), now)

    def take(self, message: SyncPart, now: float) -> LegResult | Deferred | Refused:
        """Take a part of a list; the last one that was missing sets the list to work."""
        switch, list_id = message.switch, message.list_id
        if (running := self._running(switch, list_id)) is not None:
            return running
        if sum(job.key[0] == switch for job, _ in self._jobs) >= LISTS_WAITING:
            return Refused(Reason.OVERLOAD)
        missing = sum(not self._set.knows(selector) for selector in message.calls)
        if list_id in self._known.get(switch, ()):
            return LegResult(True, missing=missing, freed=0, repeated=True)
        pending = self._gather(message, now)
        if len(pending.received) < pending.parts:
            return LegResult(True, missing=missing)
        self._pending[switch].pop(list_id, None)
        if not pending.confirm_empty and not pending.size:
            return LegResult(True, missing=0, freed=0)
        job = _Job((switch, list_id), missing, Deferred(), now)
        return self._begin(job, self._compare(job, pending), now)

    def _gather(self, message: SyncPart, now: float) -> _Pending:
        """Put a part to those that came before; lists whose time is over, and the oldest of too many, go."""
        lists = self._pending.setdefault(message.switch, {})
        for list_id in [list_id for list_id, old in lists.items() if now - old.began > PARTS_SECONDS]:
            del lists[list_id]
        pending = lists.get(message.list_id)
        if pending is None or pending.parts != message.parts:
            pending = lists[message.list_id] = _Pending(message.parts, now)
        pending.put(message.part, message.calls)
        pending.confirm_empty |= message.confirm_empty
        while lists and (len(lists) > LISTS_GATHERED or sum(one.size for one in lists.values()) > self._most):
            del lists[min(lists, key=lambda list_id: lists[list_id].began)]
        return pending

    def reset(self, message: SwitchReset, now: float) -> LegResult | Deferred:
        """Free the legs of the switch that were taken before this message."""
        switch = message.switch
        if (running := self._running(switch, "")) is not None:
            return running
        last = self._resets.get(switch)
        if last is not None and now - last < REPEAT_SECONDS:
            return LegResult(True, freed=0)
        self._resets[switch] = now
        self._forget_lists(switch)
        self._set.note(f"switched:{switch}", now)
        self._set.note(f"freeing:{switch}", now)
        job = _Job((switch, ""), None, Deferred(), now)
        return self._begin(job, self._free_older(job), now)

    def _forget_lists(self, switch: str) -> None:
        """Forget the lists of a switch that went up or down: it may number new lists from the start again."""
        self._pending.pop(switch, None)
        if self._known.pop(switch, None) is not None:
            self._set.note(f"lists:{switch}", None)
        for job in self._unanswered():
            if job.key[0] == switch:
                job.forgotten = True

    def step(self, now: float) -> bool:
        """Do a step of the first job; returns whether there is more to do.

        What a step changed is in the mirror when the next one begins.
        """
        finished, self._finished = self._finished, []
        for job in finished:
            job.deferred.finish(job.result())
        self._now = now
        if self._jobs:
            job, steps = self._jobs[0]
            if next(steps, self) is self:
                self._jobs.popleft()
                self._finished.append(job)
        return bool(self._jobs or self._finished)

    def _running(self, switch: str, list_id: str) -> Deferred | None:
        jobs = (job for job in self._unanswered() if job.key == (switch, list_id) and not job.forgotten)
        return next((job.deferred for job in jobs), None)

    def _unanswered(self) -> Iterator[_Job]:
        return chain((job for job, _ in self._jobs), self._finished)

    def _begin(self, job: _Job, steps: Iterator[None], now: float) -> LegResult | Deferred:
        """Do the first step at once, where nothing is under way: for most sets that is all."""
        if not self._jobs:
            self._now = now
            if next(steps, self) is self:
                return job.result()
        self._jobs.append((job, steps))
        return job.deferred

    def _compare(self, job: _Job, pending: _Pending) -> Iterator[None]:
        """Hold the set against a complete list."""
        switch, list_id = job.key
        sweep = Sweep(switch, list_id, job.began)
        done = 0
        for part in range(1, pending.parts + 1):
            for selector in pending.received[part]:
                confirmed = self._set.confirm(selector, switch, self._now)
                sweep.seen.update((id(leg), leg) for leg in confirmed)
                if (done := done + 1) % STEP == 0:
                    yield
            if part % STEP == 0:  # they may be empty
                yield
        first = 0
        while self._set.reaches(first):
            if first or done >= STEP:
                yield
            job.freed += self._set.miss(first, STEP, sweep, self._now)
            first += STEP
        if not job.forgotten:
            known = (*self._known.get(switch, ()), list_id)[-LISTS_KNOWN:]
            self._known[switch] = known
            self._set.note(f"lists:{switch}", known)

    def _free_older(self, job: _Job) -> Iterator[None]:
        """Free a switch's legs that were taken by the time it said so."""
        switch, _ = job.key
        first = 0
        while self._set.reaches(first):
            if first:
                yield
            job.freed += self._set.free_older(first, STEP, switch, job.began)
            first += STEP
        self._set.note(f"freeing:{switch}", None)
