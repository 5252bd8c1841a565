"""Messages about all calls of a switch: ``sync``, ``switch_up`` and ``switch_down`` (engine.md 5.6).

Each message becomes a job that walks through the set in steps, so that other batches do not wait (engine.md 5.8).
A small job finishes at once.
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
"""Time within which all parts of a list must arrive, in seconds."""
REPEAT_SECONDS = 10.0
"""Time within which a repeated ``switch_up`` or ``switch_down`` frees nothing, in seconds."""
STEP = 256
"""Legs that one step visits."""
LISTS_GATHERED = 4
"""Incomplete lists that are kept for each switch."""
LISTS_WAITING = 4
"""Complete lists of each switch that may wait for processing. A further one is rejected (``overload``)."""
LISTS_KNOWN = 16
"""List ids that are remembered for each switch, so that each list counts once."""

Note = float | tuple[str, ...] | None


class Sweep(msgspec.Struct, gc=False):
    """The comparison of one complete list with all legs, in steps."""

    switch: str
    list_id: str
    began: float
    """Time when the list became complete."""
    seen: dict[int, object] = {}
    """The legs that the list names, by identity, since each change moves a leg to another row."""


class Set(Protocol):
    """The operations of the set of calls that jobs need. They do not show how the set keeps a leg."""

    def knows(self, selector: LegSelector) -> bool:
        """Return True if a leg that ``selector`` names is held or lapsed."""

    def confirm(self, selector: LegSelector, switch: str, now: float) -> Iterable[object]:
        """Renew the leases of the held legs that ``selector`` names, or else revive the lapsed legs.

        Return the legs that were renewed or revived.
        """

    def miss(self, cursor: int, count: int, sweep: Sweep, now: float) -> tuple[int, int | None]:
        """Visit about ``count`` legs from ``cursor`` on. Mark those that the list omits (engine.md 5.6).

        A leg that an earlier list omitted too is freed if it is old enough. Return the number of freed legs, and
        the cursor of the next step, or None after the last leg. The first cursor is 0.
        """

    def free_older(self, cursor: int, count: int, switch: str, began: float) -> tuple[int, int | None]:
        """Visit about ``count`` legs from ``cursor`` on. Free those of the switch that were counted by ``began``.

        Return the number of freed slots, and the cursor of the next step, or None after the last leg.
        """

    def note(self, name: str, value: Note) -> None:
        """Store a note in the mirror. None deletes the note."""


class _Pending(msgspec.Struct):
    """A list whose parts have not all arrived."""

    parts: int
    began: float
    confirm_empty: bool = False
    received: dict[int, tuple[LegSelector, ...]] = {}
    size: int = 0
    """Number of calls in the parts received so far."""

    def put(self, part: int, calls: tuple[LegSelector, ...]) -> None:
        """Store a part. It replaces an earlier part of the same number."""
        self.size += len(calls) - len(self.received.get(part, ()))
        self.received[part] = calls


class _Job(msgspec.Struct):
    """A job that works through the set in steps."""

    key: tuple[str, str]
    """The switch and the list id. The list id is ``""`` for a reset of the switch."""
    missing: int | None
    deferred: Deferred
    began: float
    """Time of the message that started the job."""
    freed: int = 0
    forgotten: bool = False
    """True if the switch went up or down after this list, and may give the list id to another list."""

    def result(self) -> LegResult:
        """Return the answer to the switch."""
        return LegResult(True, missing=self.missing, freed=self.freed)


class Lists:
    """Incomplete lists, and the jobs of complete lists and switch resets."""

    def __init__(self, of: Set, most: int, freeing: dict[str, float]) -> None:
        """``most`` limits the calls in the incomplete lists of a switch, since they wait in memory.

        ``freeing`` receives the switches whose resets are running, with the times of their messages.
        """
        self._set = of
        self._most = most
        self._freeing = freeing
        self._pending: dict[str, dict[str, _Pending]] = {}
        """By switch and list id. Parts of two lists may arrive interleaved, and the rest of a list may be late."""
        self._known: dict[str, tuple[str, ...]] = {}
        self._resets: dict[str, float] = {}
        self._jobs: deque[tuple[_Job, Iterator[None]]] = deque()
        self._finished: list[_Job] = []
        """Finished jobs whose last step is not in the mirror yet. They are answered when it is."""
        self._now = 0.0

    def restore(self, name: str, value: Note, now: float) -> None:
        """Restore a note from the mirror."""
        kind, _, switch = name.partition(":")
        if kind == "lists" and isinstance(value, tuple):
            self._known[switch] = value
        elif kind == "switched" and isinstance(value, float):
            self._resets[switch] = value
        elif kind == "freeing" and isinstance(value, float):
            self._begin_freeing(switch, value, now)

    def notes(self) -> dict[str, Note]:
        """Return all notes that the mirror needs, for a new mirror."""
        notes: dict[str, Note] = {f"lists:{switch}": known for switch, known in self._known.items()}
        notes |= {f"switched:{switch}": at for switch, at in self._resets.items()}
        resets = (job for job, _ in self._jobs if not job.key[1])
        return notes | {f"freeing:{job.key[0]}": job.began for job in resets}

    def receive(self, message: SyncPart, now: float) -> LegResult | Deferred | Refused:
        """Receive a part of a list. The last missing part starts the comparison."""
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
        """Add a part to its list. Drop lists that are too old, and the oldest of too many."""
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
        """Free the switch's legs that were counted before this message."""
        switch = message.switch
        if (running := self._running(switch, "")) is not None:
            return running
        last = self._resets.get(switch)
        if last is not None and now - last < REPEAT_SECONDS:
            return LegResult(True, freed=0)
        self._forget_lists(switch)
        self._set.note(f"freeing:{switch}", now)
        answer = self._begin_freeing(switch, now, now)
        # Last: after a fault the switch repeats its message, and that must free the legs.
        self._resets[switch] = now
        self._set.note(f"switched:{switch}", now)
        return answer

    def _forget_lists(self, switch: str) -> None:
        """Forget the lists of a switch that went up or down: it may number new lists from the start again."""
        self._pending.pop(switch, None)
        if self._known.pop(switch, None) is not None:
            self._set.note(f"lists:{switch}", None)
        for job in self._unanswered():
            if job.key[0] == switch:
                job.forgotten = True

    def step(self, now: float) -> bool:
        """Do one step of the first job. Return True if more work is left.

        The changes of a step are in the mirror before the next step begins.
        """
        while self._finished:  # one by one: a fault in an answer keeps no other answer back
            job = self._finished.pop(0)
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
        """Start a job. If no other job is running, do its first step at once, which completes most jobs."""
        if not self._jobs:
            self._now = now
            if next(steps, self) is self:
                return job.result()
        self._jobs.append((job, steps))
        return job.deferred

    def _begin_freeing(self, switch: str, began: float, now: float) -> LegResult | Deferred:
        """Start to free the legs of a switch that were counted by ``began``."""
        job = _Job((switch, ""), None, Deferred(), began)
        self._freeing[switch] = began
        return self._begin(job, self._free_older(job), now)

    def _compare(self, job: _Job, pending: _Pending) -> Iterator[None]:
        """Compare the set with a complete list."""
        switch, list_id = job.key
        sweep = Sweep(switch, list_id, job.began)
        done = 0
        for part in range(1, pending.parts + 1):
            for selector in pending.received[part]:
                confirmed = self._set.confirm(selector, switch, self._now)
                sweep.seen.update((id(leg), leg) for leg in confirmed)
                if (done := done + 1) % STEP == 0:
                    yield
            if part % STEP == 0:  # parts without calls need a pause too
                yield
        cursor: int | None = 0
        while cursor is not None:
            if cursor or done >= STEP:
                yield
            freed, cursor = self._set.miss(cursor, STEP, sweep, self._now)
            job.freed += freed
        if not job.forgotten:
            known = (*self._known.get(switch, ()), list_id)[-LISTS_KNOWN:]
            self._known[switch] = known
            self._set.note(f"lists:{switch}", known)

    def _free_older(self, job: _Job) -> Iterator[None]:
        """Free the switch's legs that were counted by the time of its message."""
        switch, _ = job.key
        cursor: int | None = 0
        while cursor is not None:
            if cursor:
                yield
            freed, cursor = self._set.free_older(cursor, STEP, switch, job.began)
            job.freed += freed
        del self._freeing[switch]
        self._set.note(f"freeing:{switch}", None)
