"""One authorization from start to end (engine.md 6): read, identify, check, policy, admit, answer.

No I/O, no clock, no logging here: what arrives together is decided together by :meth:`Engine.decide`, and a
new version of the book is taken up by one assignment between two batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Literal, Protocol, TypeAlias

import msgspec

from identengine.calls.backend import (
    Admit,
    Backend,
    Done,
    Grant,
    Later,
    Listed,
    Message,
    Progress,
    Refused,
    Stop,
    Switched,
    in_parts,
)
from identengine.calls.legs import Leg, call_key, leg_key
from identengine.calls.levels import Levels
from identengine.engine import lifecycle
from identengine.engine.lifecycle import Asker, Wrong
from identengine.errors import KeyFileError
from identengine.identify import explain, matching, policy, query
from identengine.identify.explain import Explanation
from identengine.identify.index import Bearer, Book
from identengine.identify.matching import Match
from identengine.identify.query import Query, Unusable
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import CallList, CallRequest, Decision, Direction, Request
from identengine.store.vault import Vault

Method = Literal["authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down"]

Answer: TypeAlias = Decision | Grant | Explanation | Done | Later | Wrong
"""A decision or explanation; of a life-cycle method its result, now or later, or which parameter is wrong."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One thing that a switch asks or says, with the options that hold for that switch."""

    method: Method
    request: Request | CallList
    """A Request; of ``start``, ``update`` and ``stop`` a CallRequest, of ``sync`` a CallList."""
    options: IdentifyOptions
    asker: Asker = Asker("", "")


class _Rest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What differs in the answers to calls that come from one account; the rest is :attr:`Bearer.answer`."""

    version: int
    matched_by: str
    ambiguous: bool
    src_rewritten: bool
    dst_number: str
    matched: str | None = None
    src_number: str | None = None
    lease: int | None = None
    unreserved: bool | None = None


class Tally(Protocol):
    """Who counts what was asked and answered, for all interfaces alike (:mod:`identengine.stats.tally`)."""

    def count(self, batch: Sequence[Ask], answers: Sequence[Answer]) -> None:
        """Count a batch; an answer that takes its time is counted when it is there."""

    def shed(self, ask: Ask, answer: Answer) -> None:
        """Count what was answered without being decided."""


class Faults(deque[Exception]):
    """The last exceptions that became ``internal_error``, or came up beside requests; and how many there were."""

    def __init__(self) -> None:
        super().__init__(maxlen=16)
        self.total = 0
        """Of all times: it outlives what is taken out."""

    def append(self, fault: Exception) -> None:
        """Keep one more."""
        self.total += 1
        super().append(fault)


class Engine:
    """Decides requests by the book in use, and holds them to the limits by the set of calls.

    Without ``calls`` no call is held: every decision is ``unreserved``. ``faults`` keeps the last exceptions that
    became ``internal_error``, for the caller to log; an engine fault never accepts a call (engine.md 7).
    """

    def __init__(
        self,
        reasons: ReasonTable,
        vault: Vault | None,
        calls: Backend | None = None,
        *,
        lease: int = 200,
        require_call_id: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self.reasons = reasons
        self.vault = vault
        self.faults = Faults()
        self._calls = calls
        self._lease = lease
        self._require_call_id = require_call_id
        self._tally = tally
        self._book: Book | None = None
        self._thrown: list[tuple[Decision, Exception]] = []
        """What was thrown while a batch was decided, and what that became, unless the call had its answer."""

    @property
    def book(self) -> Book | None:
        """The version in use; None before the first one."""
        return self._book

    def take_up(self, book: Book | None) -> None:
        """Decide by this version from the next batch on."""
        self._book = book

    def hold(self, calls: Backend, tally: Tally | None = None) -> None:
        """Hold calls in this set from the next batch on, and count what is decided."""
        self._calls, self._tally = calls, tally

    def decide(self, batch: Sequence[Ask], now: float = 0.0) -> list[Answer]:
        """Decide what arrived together, as if one by one in the order in which it came (engine.md 5.3).

        ``now`` is the time by the clock of the set of calls.
        """
        book = self._book
        answers: list[Answer] = []
        places: list[int] = []
        messages: list[Message] = []
        begin = self._begin
        for ask in batch:
            try:
                begun = begin(ask, book)
            except Exception as fault:  # whatever it is, the call is answered and not accepted
                begun = self._fault(ask, fault)
            if type(begun) in _MESSAGES:
                places.append(len(answers))
                messages.append(begun)  # type: ignore[arg-type]  # as the line before says
                answers.append(_PENDING)
            else:
                answers.append(begun)  # type: ignore[arg-type]
        if messages:
            self._apply(batch, answers, places, messages, now)
        if self._thrown:
            self._note_thrown(answers)
        if self._tally is not None:
            try:
                self._tally.count(batch, answers)
            except Exception as fault:  # what was decided stands, counted or not
                self.faults.append(fault)
        return answers

    def _note_thrown(self, answers: list[Answer]) -> None:
        """Note the faults that anybody was answered with."""
        for rejected, fault in self._thrown:
            if any(answer is rejected for answer in answers):
                self.faults.append(fault)
        self._thrown.clear()

    def shed(self, ask: Ask) -> Answer:
        """Answer what there is no time to decide; an authorization is rejected as ``overload``."""
        request, book = ask.request, self._book
        direction = query.DIRECTIONS.get(request.direction) if isinstance(request, Request) else None
        rejected = self._reject(Reason.OVERLOAD, book.version if book else None, direction)
        answer = rejected if ask.method in ("authorize", "identify") else Explanation(decision=rejected)
        if self._tally is not None:
            self._tally.shed(ask, answer)
        return answer

    def _apply(
        self, batch: Sequence[Ask], answers: list[Answer], places: list[int], messages: list[Message], now: float
    ) -> None:
        """Let the set of calls answer what is its to answer."""
        try:
            outcomes = (self._calls or _NO_CALLS).apply(messages, now)
        except Exception as fault:  # its own faults accept no call either
            for place in places:
                answers[place] = self._fault(batch[place], fault)
            return
        for place, message, outcome in zip(places, messages, outcomes, strict=True):
            if type(outcome) is Refused:
                answers[place] = self._refused(outcome, message, batch[place])
            else:
                answers[place] = outcome

    def _begin(self, ask: Ask, book: Book | None) -> Answer | Message:
        """Return the answer, or what the set of calls is to answer."""
        request, method = ask.request, ask.method
        if method == "authorize":
            return self._begin_authorize(request, ask, book)  # type: ignore[arg-type]  # see Ask
        if method == "stop":
            return lifecycle.stop(request, ask.asker)  # type: ignore[arg-type]
        if isinstance(request, CallList):
            return lifecycle.listed(request, ask.asker, self._levels_then)
        if method == "identify":
            return self._authorize(request, ask.options, book)
        if method == "explain":
            return self._explain(request, ask.options, book)
        if not isinstance(request, CallRequest):
            return Switched(ask.asker.switch)
        return self._begin_progress(request, ask, book)

    def _begin_authorize(self, request: Request, ask: Ask, book: Book | None) -> Answer | Message:
        if book is None:
            return self._reject(Reason.NOT_READY, None, None)
        asked = query.read(request, book)
        if type(asked) is Unusable:
            return self._unusable(asked, book)
        options, asker = ask.options, ask.asker
        call_id = asked.call_id
        if call_id is None and self._require_call_id:
            return self._reject(Reason.INVALID_REQUEST, book.version, asked.direction, field="call_id")
        if self._calls is None:
            return in_parts(self._decided(asked, options, book, False)[0])

        call = None if call_id is None else call_key(asker.scope, call_id)
        leg = leg_key(asked.direction, asked.leg_id)
        content = content_of(request, book.hash_key)
        try:
            decision, levels = self._decided(asked, options, book, call_id is not None)
        except Exception as fault:  # as in `decide`; what was held before has its answer still
            decision, levels = self._reject(Reason.INTERNAL_ERROR, book.version, None), None
            self._thrown.append((decision, fault))
        if call is None:  # the tally looks whether it has a slot
            decision = in_parts(decision)
        return Admit(call, leg, asker.switch, content, decision, levels)

    def _begin_progress(self, request: CallRequest, ask: Ask, book: Book | None) -> Wrong | Progress:
        identify = None
        if book is not None and lifecycle.carries_identity(request):
            asked = query.read(request, book)
            if isinstance(asked, Unusable):
                field = asked.field or "dst_number"
                return Wrong(field, asked.value or request.dst_number, "a value that can be used")
            identify = partial(self._identified, asked, ask.options, book)
        return lifecycle.progress(ask.method, request, ask.asker, identify, self._levels_then)

    def _identified(self, asked: Query, options: IdentifyOptions, book: Book) -> Levels | None:
        """Return where a call counts that is there already: neither credentials nor Src Policy matter (5.4)."""
        try:
            if asked.account_id is not None:
                bearer = book.bearers.get(asked.account_id)
            else:
                found = matching.identify(book, asked, options, None)
                bearer = found.bearer if isinstance(found, Match) else None
            return None if bearer is None else lifecycle.levels_of(bearer, asked.direction)
        except Exception as fault:  # as in `decide`
            self.faults.append(fault)
            return None

    def _levels_then(self, leg: Leg) -> Levels:
        return lifecycle.levels_then(leg, self._book)

    def _refused(self, refused: Refused, message: Message, ask: Ask) -> Answer:
        """Answer a call, naming the account, or a list, for which the set of calls has no room."""
        book = self._book
        version = book.version if book else None
        if not isinstance(ask.request, Request):
            return Explanation(decision=self._reject(refused.reason, version, None))  # as in `_fault`
        field = refused.field
        if field is not None:  # its leg is active already (engine.md 5.3), or its call has too many
            direction, value = query.DIRECTIONS.get(ask.request.direction), getattr(ask.request, field)
            return self._reject(refused.reason, version, direction, field=field, value=value)
        levels = message.levels if isinstance(message, Admit) else None
        bearer = book.bearers.get(levels.account_id) if book and levels else None
        return self._reject(refused.reason, version, levels.direction if levels else None, bearer)

    def _fault(self, ask: Ask, fault: Exception) -> Answer:
        self.faults.append(fault)
        rejected = self._reject(Reason.INTERNAL_ERROR, self._book.version if self._book else None, None)
        if ask.method in ("authorize", "identify"):
            return rejected
        return Explanation(decision=rejected)  # which an interface tells as its error

    def authorize(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call. A reject is an answer like any other; no exception comes out."""
        (answer,) = self.decide([Ask("authorize", request, options)])
        assert isinstance(answer, Decision | Grant)  # noqa: S101 - tells mypy which method was asked
        return in_parts(answer)

    def identify(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call without side effects or capacity."""
        (answer,) = self.decide([Ask("identify", request, options)])
        assert isinstance(answer, Decision | Grant)  # noqa: S101 - tells mypy which method was asked
        return in_parts(answer)

    def explain(self, request: Request, options: IdentifyOptions) -> Explanation:
        """Decide one call like :meth:`identify` and show every candidate."""
        (answer,) = self.decide([Ask("explain", request, options)])
        assert isinstance(answer, Explanation)  # noqa: S101 - tells mypy which method was asked
        return answer

    def _authorize(self, request: Request, options: IdentifyOptions, book: Book | None) -> Decision | Grant:
        """Decide a call without the set of calls."""
        if book is None:
            return self._reject(Reason.NOT_READY, None, None)
        asked = query.read(request, book)
        if isinstance(asked, Unusable):
            return self._unusable(asked, book)
        return self._decided(asked, options, book, None)[0]

    def _decided(
        self, asked: Query, options: IdentifyOptions, book: Book, reserved: bool | None, /
    ) -> tuple[Decision | Grant, Levels | None]:
        """Return the decision, and where the call counts if it is not rejected; see :meth:`_check`."""
        if asked.account_id is None:
            found = matching.identify(book, asked, options, self._reveal)
        else:
            found = _by_id(book, asked.account_id)
        if type(found) is not Match:
            return self._reject(found, book.version, asked.direction), None
        decision = self._check(asked, found, book, reserved)
        if type(decision) is Grant:
            return decision, found.bearer.levels
        return decision, lifecycle.levels_of(found.bearer, asked.direction) if decision.accepted else None

    def _unusable(self, asked: Unusable, book: Book) -> Decision:
        return self._reject(asked.reason, book.version, asked.direction, field=asked.field, value=asked.value)

    def _explain(self, request: Request, options: IdentifyOptions, book: Book | None) -> Explanation:
        decision = in_parts(self._authorize(request, options, book))
        if book is None or isinstance(asked := query.read(request, book), Unusable) or asked.account_id:
            return Explanation(decision=decision)
        found = matching.identify(book, asked, options, self._reveal)
        shown, cut = explain.candidates(book, asked, options, self._reveal, found)
        return Explanation(decision=decision, candidates=shown, cut=cut)

    def _check(self, asked: Query, found: Match, book: Book, reserved: bool | None, /) -> Decision | Grant:
        """Apply what comes after identification: client status, numbers, Src Policy (engine.md 3.9, 4, 6).

        ``reserved``: whether the call is to have a slot; None where nothing is said of slots (``identify``).
        """
        bearer = found.bearer
        if bearer.blocked:
            return self._reject(Reason.CLIENT_BLOCKED, book.version, asked.direction, bearer)
        if not asked.dst_number:
            return self._reject(Reason.INVALID_DESTINATION, book.version, asked.direction, bearer)
        if asked.direction is _ORIGINATION:
            return self._originate(asked, found, book, reserved)
        return self._terminate(asked, found, book, reserved)

    def _originate(self, asked: Query, found: Match, book: Book, reserved: bool | None, /) -> Decision | Grant:
        bearer, dst_number, src_number, rewritten = found.bearer, asked.dst_number, asked.src_number, False
        tech_prefix = bearer.tech_prefix
        if tech_prefix:
            dst_number = dst_number[len(tech_prefix) :]
            if not dst_number:
                return self._reject(Reason.INVALID_DESTINATION, book.version, _ORIGINATION, bearer)
        if not bearer.shows_any:
            shown = policy.shown_number(bearer.account, src_number, asked.call_id, book.dids, book.hash_key)
            if isinstance(shown, Reason):
                return self._reject(shown, book.version, _ORIGINATION, bearer)
            src_number, rewritten = shown
        rest = _encode(
            _Rest(
                book.version,
                found.matched_by,
                found.ambiguous,
                rewritten,
                dst_number,
                found.matched,
                src_number,
                self._lease if reserved else None,
                True if reserved is False else None,
            )
        )
        return Grant(b"".join((_MAPS[bearer.members + (rest[0] & 0x0F)], bearer.answer, rest[1:])))

    def _terminate(self, asked: Query, found: Match, book: Book, reserved: bool | None, /) -> Decision:
        bearer, dst_number = found.bearer, asked.dst_number
        account, owner = bearer.account, bearer.owner
        return Decision(
            accepted=True,
            account_id=account.id,
            account_name=account.name,
            client_id=account.client_id,
            client_name=owner.client.name,
            direction=_TERMINATION,
            version=book.version,
            matched_by=found.matched_by,
            matched=found.matched,
            ambiguous=found.ambiguous,
            tech_prefix=account.tech_prefix,
            src_number=asked.src_number,
            src_rewritten=False,
            dst_number=bearer.tech_prefix + dst_number if found.matched_by == "account_id" else dst_number,
            rate_table=account.term_rate_table or owner.term_rate_table,
            tag=account.term_tag,
            lease=self._lease if reserved else None,
            unreserved=True if reserved is False else None,
            host=bearer.host,
            port=account.term_port,
            protocol=account.term_protocol,
            proxy=account.term_proxy,
        )

    def _reject(
        self,
        reason: Reason,
        version: int | None,
        direction: Direction | None,
        bearer: Bearer | None = None,
        field: str | None = None,
        value: str | None = None,
    ) -> Decision:
        """Answer a reject; it names the account only where one was found (engine.md 3.7)."""
        account = bearer.account if bearer else None
        codes = self.reasons.codes(reason, account.id if account else None)
        return Decision(
            accepted=False,
            account_id=account.id if account else None,
            account_name=account.name if account else None,
            client_id=account.client_id if account else None,
            client_name=bearer.owner.client.name if bearer else None,
            direction=direction,
            version=version,
            reason=reason,
            sip_code=codes.sip_code,
            q850=codes.q850,
            field=field,
            value=value,
        )

    def _reveal(self, token: str) -> str:
        if self.vault is None:
            raise KeyFileError("the book holds passwords, but there is no key to read them with")
        return self.vault.reveal(token)


def _by_id(book: Book, account_id: int) -> Match | Reason:
    """Return the account that termination names by its id (engine.md 3.9)."""
    bearer = book.bearers.get(account_id)
    if bearer is None:
        return Reason.UNKNOWN_SOURCE
    if not bearer.account.term_enabled:
        return Reason.ACCOUNT_DISABLED
    return Match(bearer, "account_id", None, ambiguous=False)


def content_of(request: Request, key: bytes) -> bytes:
    """Return what makes a request the same as another (engine.md 5.3).

    Values alone, since it is kept with the leg, and without the ids, by which that is found: credentials as a hash
    only, and so what is long.
    """
    content = _encode(msgspec.structs.astuple(request)[_IDS:])
    if request.password is None and request.digest is None and len(content) <= _LONGEST_CONTENT:
        return content
    return blake2b(content, digest_size=16, key=key).digest()


_ORIGINATION, _TERMINATION = Direction  # a look at a member of an enum is dear
_MAPS = [b"\xde" + count.to_bytes(2, "big") for count in range(32)]
"""How a map of so many members begins in MessagePack."""
_MESSAGES = frozenset((Admit, Progress, Stop, Listed, Switched))
_encode = msgspec.msgpack.Encoder().encode
if _encode(_Rest(1, "ip", False, False, "1"))[0] != 0x85:
    raise ImportError("this msgspec begins a map of five members otherwise than the engine knows")
_IDS = 2
"""Of the fields of a request the first are the ids of call and leg."""
_LONGEST_CONTENT = 256
"""Bytes of a request that are kept as they are."""
_PENDING = Done(True)


class _NoCalls:
    """Where an engine has no set of calls, nobody may speak of calls that are held."""

    def apply(self, batch: Sequence[Message], now: float) -> list[Done]:
        raise RuntimeError(f"this engine holds no calls: {len(batch)} messages at {now}")


_NO_CALLS = _NoCalls()
