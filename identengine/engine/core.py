"""One authorization from start to end (engine.md 6). :meth:`Engine._authorize` holds the order of its steps.

:meth:`Engine.decide` decides requests that arrive together as one batch. One assignment between two batches
replaces the version of the book, or the settings. Rule: no I/O, no clock, no logging.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Literal, Protocol, TypeAlias

import msgspec

from identengine.calls.backend import (
    Admit,
    Backend,
    CallsMessage,
    Deferred,
    EncodedDecision,
    Fault,
    LegResult,
    Refresh,
    Refused,
    Stop,
    SwitchReset,
    SyncPart,
    in_parts,
)
from identengine.calls.backend import CallsAnswer as Outcome
from identengine.calls.legs import call_key, leg_key, request_fingerprint
from identengine.calls.levels import Levels
from identengine.engine import lifecycle
from identengine.engine.decisions import refused, reject, terminate, unusable
from identengine.engine.lifecycle import Asker, BadParameter, levels_of
from identengine.engine.settings import EngineSettings
from identengine.identify import explain, matching, policy, query
from identengine.identify.explain import Explanation
from identengine.identify.index import AccountEntry, Book
from identengine.identify.matching import Match
from identengine.identify.query import Query, Unusable
from identengine.identify.template import CallHalf, encode
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import CallList, CallRequest, Decision, Direction, Request

Method = Literal["authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down"]

EngineAnswer: TypeAlias = Decision | EncodedDecision | Explanation | LegResult | Deferred | BadParameter
"""A decision or an explanation. For a life-cycle method: its result, now or later, or the wrong parameter."""


class EngineRequest(msgspec.Struct, frozen=True, gc=False):
    """A request of a switch, with the options of that switch."""

    method: Method
    request: Request | CallList
    """The parameters: a CallRequest for ``start``, ``update`` and ``stop``, a CallList for ``sync``."""
    options: IdentifyOptions
    asker: Asker = Asker("", "")


class Tally(Protocol):
    """A counter of requests and answers, the same for all interfaces (:mod:`identengine.stats.tally`)."""

    def count(self, batch: Sequence[EngineRequest], answers: Sequence[EngineAnswer]) -> None:
        """Count a batch of requests and their answers. A deferred answer is counted when it is complete."""

    def shed(self, ask: EngineRequest, answer: EngineAnswer) -> None:
        """Count a request that was answered without a decision."""


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
        self._calls = calls
        self._tally = tally
        self._book: Book | None = None
        self._thrown: list[tuple[Decision, Exception]] = []
        """Exceptions of the current batch with the rejects that they became. Some rejects are not sent."""

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

    def decide(self, batch: Sequence[EngineRequest], now: float = 0.0) -> list[EngineAnswer]:
        """Decide requests that arrived together, as if one by one in their order (engine.md 5.3).

        ``now`` is the time by the clock of the set of calls.
        """
        book, settings = self._book, self.settings
        answers: list[EngineAnswer] = []
        places: list[int] = []
        messages: list[CallsMessage] = []
        for ask in batch:
            begun: EngineAnswer | CallsMessage
            try:
                method = ask.method
                if method == "authorize":
                    begun = self._authorize(ask, book, settings)
                elif method == "stop":
                    begun = lifecycle.stop(ask.request, ask.asker)  # type: ignore[arg-type]  # see EngineRequest.request
                else:
                    begun = self._begin(ask, book, settings)
            except Exception as fault:  # any fault rejects the call, and the batch is still answered
                begun = self._fault(ask, fault)
            if type(begun) in _MESSAGES:
                places.append(len(answers))
                messages.append(begun)  # type: ignore[arg-type]  # the `if` checks the type
                answers.append(_PENDING)
            else:
                answers.append(begun)  # type: ignore[arg-type]  # the `if` checks the type
        if messages:
            outcomes: Sequence[Outcome | EngineAnswer]
            try:
                outcomes = (self._calls or _NO_CALLS).apply(messages, now)
            except Exception as fault:  # a fault of the set of calls accepts no call either
                outcomes = [self._fault(batch[place], fault) for place in places]
            for place, message, outcome in zip(places, messages, outcomes, strict=True):
                if type(outcome) is Refused or type(outcome) is Fault:
                    try:
                        answers[place] = self._refused(outcome, message, batch[place])
                    except Exception as fault:  # the other calls of the batch hold their slots
                        answers[place] = self._fault(batch[place], fault)
                else:
                    answers[place] = outcome
        if self._thrown:
            self._note_thrown(answers)
        if self._tally is not None:
            try:
                self._tally.count(batch, answers)
            except Exception as fault:  # a decision is valid even if it is not counted
                self.faults.append(fault)
        return answers

    def _authorize(
        self, ask: EngineRequest, book: Book | None, settings: EngineSettings
    ) -> Decision | EncodedDecision | Admit:
        """Decide one call in the order of engine.md 6. The comments name its steps.

        Return the answer, or for ``authorize`` the message with which the set of calls does the remaining steps.
        """
        authorizes, request, reasons = ask.method == "authorize", ask.request, settings.reasons
        if book is None:
            return reject(reasons, Reason.NOT_READY, None, None)
        # validate
        asked = query.read(request, book)  # type: ignore[arg-type]  # see EngineRequest.request
        if type(asked) is Unusable:
            return unusable(reasons, asked, book)
        direction, dst, outward = asked.direction, asked.dst_number, asked.direction is _TERMINATION
        if authorizes and asked.call_id is None and settings.require_call_id:
            return reject(reasons, Reason.INVALID_REQUEST, book, direction, field="call_id")
        # retransmission: the set of calls compares, since only it knows the legs that are held; see `_admission`
        admits = authorizes and self._calls is not None
        lease = settings.lease if admits and asked.call_id is not None else None
        unreserved = True if authorizes and lease is None else None
        levels: Levels | None = None
        shown: tuple[str | None, bool] | Reason
        shown = asked.src_number, False
        try:
            # identify; credentials: verified in it, since they choose between equal candidates (engine.md 3.6)
            found = matching.identify(book, asked, ask.options, settings.reveal)
            if type(found) is not Match:
                decision: Decision | EncodedDecision = reject(reasons, found, book, direction)
            # client status
            elif (entry := found.entry).blocked:
                decision = reject(reasons, Reason.CLIENT_BLOCKED, book, direction, entry)
            # strip
            elif not (dst := dst[len(entry.tech_prefix) :] if entry.tech_prefix and not outward else dst):
                decision = reject(reasons, Reason.INVALID_DESTINATION, book, direction, entry)
            elif outward:  # Src Policy only applies to origination (engine.md 4)
                decision, levels = terminate(asked, found, book, lease, unreserved), levels_of(entry, direction)
            # Src Policy
            elif not entry.shows_any and isinstance(shown := _show(entry, asked, book), Reason):
                decision = reject(reasons, shown, book, direction, entry)
            # CPS; capacity: the set of calls checks all, then takes all (engine.md 5.2, 5.9); see `_admission`
            else:  # answer
                (src, rewritten), by, matched = shown, found.matched_by, found.matched
                half = CallHalf(book.version, by, found.ambiguous, rewritten, dst, matched, src, lease, unreserved)
                encoded, levels = EncodedDecision(entry.template.fill(encode(half))), entry.levels
                decision = in_parts(encoded) if unreserved else encoded  # the tally counts calls without a slot
        except Exception as fault:  # as in `decide`; a retransmission still gets its first answer
            decision, levels = reject(reasons, Reason.INTERNAL_ERROR, book, None), None
            self._thrown.append((decision, fault))
        return _admission(ask, asked, book, decision, levels) if admits else decision

    def _begin(
        self, ask: EngineRequest, book: Book | None, settings: EngineSettings
    ) -> EngineAnswer | CallsMessage:
        """Return the answer to one of the rarer methods, or the message that the set of calls must answer."""
        request = ask.request
        if isinstance(request, CallList):
            return lifecycle.sync_part(request, ask.asker)
        if ask.method == "identify":
            return self._authorize(ask, book, settings)
        if ask.method == "explain":
            return self._explain(request, ask, book, settings)
        if not isinstance(request, CallRequest):
            return SwitchReset(ask.asker.switch)
        identify = None
        if book is not None and lifecycle.carries_identity(request):
            asked = query.read(request, book)
            if isinstance(asked, Unusable):
                return lifecycle.unusable(asked.field or "dst_number", request)
            identify = partial(self._identified, asked, ask.options, book)
        return lifecycle.refresh(ask.method, request, ask.asker, identify, self._levels_then)

    def _explain(
        self, request: Request, ask: EngineRequest, book: Book | None, settings: EngineSettings
    ) -> Explanation:
        decided = self._authorize(ask, book, settings)
        assert not isinstance(decided, Admit)  # noqa: S101 - tells mypy that explaining admits no call
        decision = in_parts(decided)
        if book is None or isinstance(asked := query.read(request, book), Unusable) or asked.account_id:
            return Explanation(decision=decision)
        found = matching.identify(book, asked, ask.options, settings.reveal)
        shown, cut = explain.candidates(book, asked, ask.options, settings.reveal, found)
        return Explanation(decision=decision, candidates=shown, cut=cut)

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
        except Exception as fault:  # as in `decide`
            self.faults.append(fault)
            return None

    def _levels_then(self, account: int, counters: tuple[int, ...]) -> Levels:
        return lifecycle.levels_then(account, counters, self._book)

    def _refused(self, refusal: Refused | Fault, message: CallsMessage, ask: EngineRequest) -> EngineAnswer:
        """Return the answer to a call or a list that the set of calls refused, or that raised an exception."""
        if type(refusal) is Fault:
            return self._fault(ask, refusal.error)
        if isinstance(ask.request, Request):
            return refused(self.settings.reasons, refusal, message, ask.request, self._book)
        return Explanation(
            decision=reject(self.settings.reasons, refusal.reason, self._book, None)
        )  # as in `_fault`

    def _fault(self, ask: EngineRequest, fault: Exception) -> EngineAnswer:
        self.faults.append(fault)
        rejected = reject(self.settings.reasons, Reason.INTERNAL_ERROR, self._book, None)
        if ask.method in ("authorize", "identify"):
            return rejected
        return Explanation(decision=rejected)  # an interface reports it as an error

    def _note_thrown(self, answers: list[EngineAnswer]) -> None:
        """Keep the faults whose reject is among the answers. The others were retransmissions with an answer."""
        for rejected, fault in self._thrown:
            if any(
                answer is rejected or (type(answer) is Explanation and answer.decision is rejected)
                for answer in answers
            ):
                self.faults.append(fault)
        self._thrown.clear()

    def shed(self, ask: EngineRequest) -> EngineAnswer:
        """Return the answer to a request that waited too long to be decided: ``overload``."""
        request = ask.request
        direction = query.DIRECTIONS.get(request.direction) if isinstance(request, Request) else None
        rejected = reject(self.settings.reasons, Reason.OVERLOAD, self._book, direction)
        answer = rejected if ask.method in ("authorize", "identify") else Explanation(decision=rejected)
        if self._tally is not None:
            self._tally.shed(ask, answer)
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


def _show(entry: AccountEntry, asked: Query, book: Book) -> tuple[str | None, bool] | Reason:
    """Apply Src Policy (engine.md 4); see :func:`identengine.identify.policy.shown_number`."""
    return policy.shown_number(entry.account, asked.src_number, asked.call_id, book.dids, book.hash_key)


def _admission(
    ask: EngineRequest, asked: Query, book: Book, decision: Decision | EncodedDecision, levels: Levels | None
) -> Admit:
    """Return a decision as the message that asks the set of calls to admit the call.

    The set of calls does three steps of engine.md 6. It recognizes a *retransmission* by key and content, and
    answers it as before. It checks *CPS* and *capacity* at ``levels``, which are ``None`` for a rejected call.
    """
    asker, call_id = ask.asker, asked.call_id
    call = None if call_id is None else call_key(asker.scope, call_id)
    content = request_fingerprint(ask.request, book.hash_key)  # type: ignore[arg-type]  # see EngineRequest.request
    return Admit(call, leg_key(asked.direction, asked.leg_id), asker.switch, content, decision, levels)


_TERMINATION = Direction.TERMINATION  # access to a member of an enum is slow
_MESSAGES = frozenset((Admit, Refresh, Stop, SyncPart, SwitchReset))
_PENDING = LegResult(True)


class _NoCalls:
    """The set of calls of an engine without calls: each message to it is a fault."""

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[LegResult]:
        raise RuntimeError(f"this engine has no set of calls: {len(batch)} messages at {now}")


_NO_CALLS = _NoCalls()
