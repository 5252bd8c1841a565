"""The engine: requests in, answers out, one by one, in batches that share a time and a commit.

A batch is what arrived together. :meth:`Engine.begin` opens it, each request is answered alone, in the order of
its arrival (engine.md 5.3), and :meth:`Engine.end` stores what the batch changed. Answers may leave only then. One
assignment between two batches replaces the version of the book, or the settings. Rule: no I/O, no clock, no log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from identengine.calls.backend import (
    Backend,
    CallsMessage,
    EncodedDecision,
    Refresh,
    Refused,
    Stop,
    SwitchReset,
    SyncPart,
    in_parts,
)
from identengine.calls.legs import call_key, leg_key
from identengine.calls.levels import Levels
from identengine.calls.numbers import ending_of
from identengine.engine import lifecycle
from identengine.engine.authorization import Authorization
from identengine.engine.decisions import reject
from identengine.engine.lifecycle import Asker, levels_of
from identengine.engine.requests import EngineAnswer, EngineRequest, RolledBack
from identengine.engine.settings import EngineSettings
from identengine.engine.usual import Usual, UsualCounts
from identengine.identify import explain, matching, query
from identengine.identify.explain import Explanation
from identengine.identify.index import Book
from identengine.identify.matching import Match
from identengine.identify.query import Query, Unusable
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import CallRequest, Decision, Interface, Request


class Tally(Protocol):
    """A counter of requests and answers, the same for all interfaces (:mod:`identengine.stats.tally`)."""

    def count(self, batch: Sequence[EngineRequest], answers: Sequence[EngineAnswer]) -> None:
        """Count a batch of requests and their answers. A deferred answer is counted when it is complete."""

    def usual(self, interface: Interface, counts: UsualCounts) -> None:
        """Count answers of the usual way, which makes no object of a request."""

    def shed(self, ask: EngineRequest, answer: EngineAnswer) -> None:
        """Count a request that was answered without a decision."""


class Record(Protocol):
    """A record of authorizations (engine.md 8.8)."""

    records_accepted: bool
    """True if it records accepted calls too."""

    def note(self, ask: EngineRequest, answer: Decision) -> None:
        """Keep what led to a reject and later requests of the batch change."""

    def write(self, asks: Sequence[EngineRequest], answers: Sequence[EngineAnswer]) -> None:
        """Record a batch of requests and their answers."""

    def accepted(self, calls: Sequence[tuple[Asker, Request, bytes | EncodedDecision]]) -> None:
        """Record calls that the usual way accepted. Their requests are in no batch of :meth:`write`."""


class Faults(deque[Exception]):
    """The last 16 faults: exceptions that became ``internal_error``, or were raised outside of a request."""

    def __init__(self) -> None:
        super().__init__(maxlen=16)
        self.total = 0
        """Number of faults since the start. It does not fall as faults are removed."""

    def append(self, fault: Exception) -> None:
        """Add a fault; the oldest one is dropped if there are 16."""
        self.total += 1
        super().append(fault)


class _NoBookError(Exception):
    """An unknown call cannot be identified, since no book is loaded yet."""


class Engine:
    """The engine: decides requests by the book in use, within the limits that the set of calls enforces.

    Without ``calls`` no call is held, and each decision is ``unreserved``. ``faults`` keeps the last exceptions
    that became ``internal_error``, for the caller to log. An engine fault never accepts a call (engine.md 7).
    """

    def __init__(
        self, settings: EngineSettings | None = None, calls: Backend | None = None, *, tally: Tally | None = None
    ) -> None:
        self.settings = settings or EngineSettings()
        """The settings in use. Assign a new object between two batches; each batch sees one."""
        self.faults = Faults()
        self.usual = Usual()
        """The usual way in the current batch."""
        self.record: Record | None = None
        """The record of decisions, or None if decisions are not recorded."""
        self._calls: Backend | None = None
        self._tally = tally
        self._book: Book | None = None
        self._authorization = Authorization(self.settings, None, None)
        self._asks: list[EngineRequest] = []
        self._answers: list[EngineAnswer] = []
        self._places: dict[int, int] | None = None
        """The places of the requests of a batch, by identity; made if calls are rolled back."""
        self._handlers: dict[str, Callable[[EngineRequest], EngineAnswer | CallsMessage]] = {
            "authorize": self._authorize,
            "identify": self._authorize,
            "explain": self._explain,
            "start": self._refresh,
            "update": self._refresh,
            "stop": _stop,
            "sync": _sync,
            "switch_up": _reset,
            "switch_down": _reset,
        }
        if calls is not None:
            self.hold(calls, tally)

    @property
    def book(self) -> Book | None:
        """The version of the book in use; None before the first version."""
        return self._book

    def take_up(self, book: Book | None) -> None:
        """Use this version of the book from the next batch on."""
        self._book = book

    def hold(self, calls: Backend, tally: Tally | None = None) -> None:
        """Hold calls in this set, and count answers in this tally, from the next batch on."""
        self._calls, self._tally = calls, tally

    # ---- a batch

    def begin(self, now: float) -> None:
        """Open a batch. ``now`` is the time by the clock of the set of calls."""
        self._asks.clear()
        self._answers.clear()
        self._places = None
        if not self._authorization.is_of(self.settings, self._book, self._calls):
            general = Authorization(self.settings, self._book, self._calls)
            self.usual.use(general)
            self._authorization = general  # last, so that the next batch repeats both after a fault
        if self._calls is not None:
            self._calls.begin(now)

    def answer(self, ask: EngineRequest) -> EngineAnswer:
        """Return the answer to a request of the batch. A fault rejects this request alone, and is kept."""
        if self._calls is not None:
            self._calls.batch.newest = None
        try:
            answer = self._handlers[ask.method](ask)
            if type(answer) in _MESSAGES:
                answer = self._held(answer)  # type: ignore[arg-type]  # the `if` checks the type
            return self.note(ask, answer)  # type: ignore[arg-type]  # no message is left
        except Exception as fault:  # any fault rejects the call, and the rest of the batch is still answered
            return self.fault(ask, fault)

    def note(self, ask: EngineRequest, answer: EngineAnswer) -> EngineAnswer:
        """Note a request and its answer, to be counted at the end of the batch. Return the answer."""
        self._asks.append(ask)
        self._answers.append(answer)
        if self.record is not None and type(answer) is Decision:
            self.record.note(ask, answer)
        return answer

    def fault(self, ask: EngineRequest, fault: Exception) -> EngineAnswer:
        """Undo what a request has changed before a fault, and return its answer: an error, or a reject.

        The answer replaces an earlier one of the request.
        """
        if self._calls is not None:
            self._calls.undo()
        self.faults.append(fault)
        del self._asks[len(self._answers) :]  # the fault may have come between the two
        if self._asks and self._asks[-1] is ask:
            del self._asks[-1], self._answers[-1]
        rejected = reject(self.settings.reasons, Reason.INTERNAL_ERROR, self._book, None)
        return self.note(
            ask, rejected if ask.method in ("authorize", "identify") else Explanation(decision=rejected)
        )

    def end(self) -> RolledBack | None:
        """Store what the batch changed. Return the calls that could not be stored, or None if all changes stand.

        Each of them holds no slot, and gets the answer of :meth:`reject_rolled_back`. After a fault the result may
        have no calls; then other changes of the batch may be lost. :meth:`count` comes last.
        """
        if self._calls is None:
            return None
        try:
            legs, reason = self._calls.end(), Reason.OVERLOAD
            if not legs:
                return None
        except Exception as fault:  # a fault of the set of calls accepts no call either
            self.faults.append(fault)
            legs, reason = self._calls.roll_back(), Reason.INTERNAL_ERROR
        return RolledBack(reason, frozenset((leg.call, leg.leg) for leg in legs))

    def reject_rolled_back(self, ask: EngineRequest, rolled_back: RolledBack, *, usual: bool) -> Decision | None:
        """Return the reject of a call that this batch accepted, or None if it was not rolled back.

        ``usual`` is True if the usual way answered it. Otherwise ``ask`` is the request that the engine answered.
        """
        asked = None if self._book is None else query.read(ask.request, self._book)  # type: ignore[arg-type]  # see EngineRequest.request
        if asked is None or isinstance(asked, Unusable) or asked.call_id is None:
            return None
        leg = call_key(ask.asker.scope, asked.call_id), leg_key(asked.direction, asked.leg_id)
        if leg not in rolled_back.legs:
            return None
        rejected = reject(self.settings.reasons, rolled_back.reason, self._book, asked.direction)
        if usual:
            self.usual.uncount(ask)
            self.note(ask, rejected)
        else:
            if self._places is None:
                self._places = {id(one): place for place, one in enumerate(self._asks)}
            self._answers[self._places[id(ask)]] = rejected
        return rejected

    def count(self) -> int:
        """Count the answers of the batch. Return the number of its requests."""
        requests = len(self._asks)
        try:
            usual = self.usual.counts
            while usual:
                interface, counts = usual.popitem()
                requests += counts.total
                if self._tally is not None:
                    self._tally.usual(interface, counts)
            if self._asks and self._tally is not None:
                self._tally.count(self._asks, self._answers)
            if self._asks and self.record is not None:
                self.record.write(self._asks, self._answers)
        except Exception as fault:  # a decision is valid even if it is not counted
            self.faults.append(fault)
        return requests

    def decide(self, batch: Sequence[EngineRequest], now: float = 0.0) -> list[EngineAnswer]:
        """Decide requests that arrived together, as if one by one in their order (engine.md 5.3).

        ``now`` is the time by the clock of the set of calls.
        """
        self.begin(now)
        answers = [self.answer(ask) for ask in batch]
        rolled_back = self.end()
        if rolled_back is not None:
            for place, (ask, answer) in enumerate(zip(batch, answers, strict=True)):
                if ask.method == "authorize" and type(answer) is EncodedDecision:
                    answers[place] = self.reject_rolled_back(ask, rolled_back, usual=False) or answer
        self.count()
        return answers

    # ---- the methods

    def _authorize(self, ask: EngineRequest) -> EngineAnswer:
        return self._authorization.decide(ask)

    def _explain(self, ask: EngineRequest) -> Explanation:
        decision, book = in_parts(self._authorization.decide(ask)), self._book
        request: Request = ask.request  # type: ignore[assignment]  # see EngineRequest.request
        if book is None or isinstance(asked := query.read(request, book), Unusable) or asked.account_id:
            return Explanation(decision=decision)
        reveal = self.settings.reveal
        found = matching.identify(book, asked, ask.options, reveal)
        shown, hidden, more = explain.candidates(book, asked, ask.options, reveal, found, self.settings.explains)
        return Explanation(decision=decision, candidates=shown, cut=more or hidden > 0, hidden=hidden)

    def _refresh(self, ask: EngineRequest) -> EngineAnswer | CallsMessage:
        request, book = ask.request, self._book
        identify: Callable[[], Levels | None] | None = None
        numbers: bytes | None = None
        assert isinstance(request, CallRequest)  # noqa: S101 - see EngineRequest.request
        if lifecycle.carries_identity(request):
            if book is None:
                identify = _identify_later
            elif isinstance(asked := query.read(request, book), Unusable):
                return lifecycle.unusable(asked.field or "dst_number", request)
            else:
                identify = partial(self._identified, asked, ask.options, book)
                numbers = ending_of(asked.src_number, asked.dst_number)
        return lifecycle.refresh(ask.method, request, ask.asker, identify, self._levels_then, numbers)

    def _identified(self, asked: Query, options: IdentifyOptions, book: Book) -> Levels | None:
        """Return the levels of a call that exists already, or None if it is unidentified (engine.md 5.4).

        Credentials and Src Policy are not checked.
        """
        try:
            if asked.account_id is not None:
                entry = book.accounts.get(asked.account_id)
            else:
                found = matching.identify(book, asked, options, None)
                entry = found.entry if isinstance(found, Match) else None
            return None if entry is None else levels_of(entry, asked.direction)
        except Exception as fault:  # the call exists, so that it must not depend on a fault
            self.faults.append(fault)
            return None

    def _levels_then(self, account: int, counters: tuple[int, ...]) -> Levels:
        return lifecycle.levels_then(account, counters, self._book)

    def _held(self, message: CallsMessage) -> EngineAnswer:
        """Return the answer of the set of calls to a message of a call's life."""
        if self._calls is None:
            raise RuntimeError("this engine has no set of calls")
        try:
            outcome = self._calls.answer(message)
        except _NoBookError:
            return Explanation(decision=reject(self.settings.reasons, Reason.NOT_READY, None, None))
        if type(outcome) is Refused:  # of a list: the other messages are answered or unknown
            return Explanation(decision=reject(self.settings.reasons, outcome.reason, self._book, None))
        return outcome  # type: ignore[return-value]  # it is not Refused

    # ---- single requests

    def shed(self, ask: EngineRequest) -> EngineAnswer:
        """Return the answer to a request that waited too long to be decided: ``overload``."""
        request = ask.request
        direction = query.DIRECTIONS.get(request.direction) if isinstance(request, Request) else None
        rejected = reject(self.settings.reasons, Reason.OVERLOAD, self._book, direction)
        answer = rejected if ask.method in ("authorize", "identify") else Explanation(decision=rejected)
        if self._tally is not None:
            self._tally.shed(ask, answer)
        if self.record is not None:
            self.record.write((ask,), (answer,))
        return answer

    def authorize(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call. A reject is an answer like any other; no exception is raised."""
        (answer,) = self.decide([EngineRequest("authorize", request, options)])
        assert isinstance(answer, Decision | EncodedDecision)  # noqa: S101 - tells mypy which method was asked
        return in_parts(answer)

    def identify(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call without side effects or capacity."""
        (answer,) = self.decide([EngineRequest("identify", request, options)])
        assert isinstance(answer, Decision | EncodedDecision)  # noqa: S101 - tells mypy which method was asked
        return in_parts(answer)

    def explain(self, request: Request, options: IdentifyOptions) -> Explanation:
        """Decide one call like :meth:`identify`, and return all candidates with the decision."""
        (answer,) = self.decide([EngineRequest("explain", request, options)])
        assert isinstance(answer, Explanation)  # noqa: S101 - tells mypy which method was asked
        return answer


def _stop(ask: EngineRequest) -> EngineAnswer | CallsMessage:
    return lifecycle.stop(ask.request, ask.asker)  # type: ignore[arg-type]  # see EngineRequest.request


def _sync(ask: EngineRequest) -> EngineAnswer | CallsMessage:
    return lifecycle.sync_part(ask.request, ask.asker)  # type: ignore[arg-type]  # see EngineRequest.request


def _reset(ask: EngineRequest) -> CallsMessage:
    return SwitchReset(ask.asker.switch)


_MESSAGES = frozenset((Refresh, Stop, SyncPart, SwitchReset))


def _identify_later() -> Levels | None:
    """Raise _NoBookError: the switch must repeat its report, or the call would not count."""
    raise _NoBookError
