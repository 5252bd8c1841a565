"""Records the decisions of a decider: chooses them, encodes them, and passes them to the writer (engine.md 8.8).

It implements :class:`identengine.engine.core.Record`. An entry has the fields of the request as the switch sent
them. Rule: a fault of the record changes no decision, and no entry has a credential.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from identengine.calls.backend import EncodedDecision
from identengine.calls.leveluse import LevelUse, LevelUses
from identengine.config.schema import RecordConfig
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, levels_of
from identengine.engine.requests import EngineAnswer, EngineRequest
from identengine.log.recordevents import RECORD_UNWRITTEN, RECORD_WRITTEN
from identengine.model.numbers import requested_number
from identengine.model.reasons import Reason
from identengine.model.records import ChapRequest, Decision, Direction, Request
from identengine.record.entry import (
    LONGEST_TEXT,
    MASK,
    CredentialKind,
    decision_from,
    encode,
    masked_number,
)
from identengine.record.ring import RingSettings
from identengine.record.segments import frame
from identengine.record.writer import RecordWriter

CLOSE_SECONDS = 1.0
"""Longest wait for the disk when the process stops, in seconds."""
QUIET_SECONDS = 5.0
"""Time without lost decisions after which the alarm about a slow disk is over, in seconds."""
LARGE_BODY = 1024
"""Size of an encoded entry above which its texts are cut, in bytes."""
_LIMITED = frozenset(
    (
        Reason.ACCOUNT_CAPACITY,
        Reason.CLIENT_CAPACITY,
        Reason.RESELLER_CAPACITY,
        Reason.GLOBAL_CAPACITY,
        Reason.CPS_EXCEEDED,
        Reason.OVERLOAD,
    )
)
"""Reasons of rejects by a limit."""
_SLOW = "the disk is too slow, and no more decisions fit into the memory for those that wait"


class Recorder:
    """The record of one decider."""

    def __init__(
        self,
        engine: Engine,
        calls: LevelUses,
        config: RecordConfig,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Record the decisions of ``engine`` as ``config`` says.

        ``later`` schedules a call of a function after a number of seconds.
        """
        self._engine, self._calls, self._clock = engine, calls, clock
        self._config = config
        self._limits: dict[int, tuple[EngineRequest, list[LevelUse]]] = {}
        """The rejected request and the use of its limits, by the identity of the request, in the current batch."""
        self._failed = 0
        """Number of decisions that could not be encoded."""
        self._lost = 0
        self._quiet_at = 0.0
        """Time from which no lost decisions mean that the alarm is over."""
        self.alarm: str | None = None
        """The text of the current alarm, or None."""
        self._writer = RecordWriter(_ring(config), later)
        self._apply()

    def use(self, config: RecordConfig) -> None:
        """Record by another config from the next batch on."""
        if config == self._config:
            return
        before, self._config = _ring(self._config), config
        if before != _ring(config):
            self._writer.use(_ring(config))
        self._apply()

    def _apply(self) -> None:
        decisions = self._config.decisions
        self.records_accepted = decisions == "all"
        self._engine.record = None if decisions == "none" else self

    @property
    def written(self) -> int:
        """Number of decisions that were written."""
        return self._writer.written

    @property
    def lost(self) -> int:
        """Number of decisions that could not be written."""
        return self._writer.lost + self._failed

    def flush(self) -> None:
        """Pass the last decisions to the writer. Do not wait for it."""
        self._writer.flush()

    def close(self) -> None:
        """Write the last decisions. Wait for at most :data:`CLOSE_SECONDS`."""
        self._engine.record = None
        self._writer.close(CLOSE_SECONDS)

    # ---- a batch

    def note(self, ask: EngineRequest, answer: Decision) -> None:
        """Keep the use of the limits that rejected a call, as it is now."""
        try:
            book, direction = self._engine.book, answer.direction
            if answer.reason not in _LIMITED or answer.account_id is None or book is None or direction is None:
                return
            entry = book.accounts.get(answer.account_id)
            if entry is not None:
                self._limits[id(ask)] = ask, self._calls.level_uses(levels_of(entry, direction))
        except Exception as fault:  # the decision is made
            self._engine.faults.append(fault)

    def write(self, asks: Sequence[EngineRequest], answers: Sequence[EngineAnswer]) -> None:
        """Record the authorizations of a batch, of the general way and rejected ones of the usual way."""
        parts: list[bytes] = []
        at, limits, accepted = self._clock(), self._limits, self.records_accepted
        for ask, answer in zip(asks, answers, strict=False):
            if ask.method != "authorize":
                continue
            if type(answer) is Decision:
                if accepted or not answer.accepted:
                    uses = limits[id(ask)][1] if limits and id(ask) in limits else None
                    self._add(parts, at, ask.asker, ask.request, answer, uses)  # type: ignore[arg-type]  # see EngineRequest.request
            elif accepted and type(answer) is EncodedDecision:
                self._add(parts, at, ask.asker, ask.request, answer.packed, None)  # type: ignore[arg-type]  # see EngineRequest.request
        if limits:
            limits.clear()
        if parts:
            self._writer.add(parts, len(parts) // 2)

    def accepted(self, calls: Sequence[tuple[Asker, Request, bytes | EncodedDecision]]) -> None:
        """Record calls that the usual way accepted in a batch, with their answers."""
        parts: list[bytes] = []
        at = self._clock()
        for asker, request, answer in calls:
            packed = answer if isinstance(answer, bytes) else answer.packed
            self._add(parts, at, asker, request, packed, None)
        if parts:
            self._writer.add(parts, len(parts) // 2)

    def _add(
        self,
        parts: list[bytes],
        at: float,
        asker: Asker,
        asked: Request,
        decision: Decision | bytes,
        limits: list[LevelUse] | None,
    ) -> None:
        """Add the frame of an entry. A decision that cannot be encoded is counted."""
        try:
            credential = None
            if asked.password is not None or asked.digest is not None or type(asked) is ChapRequest:
                credential = self._credential(asked, decision)
            masked = self._config.mask_numbers
            name = asked.name
            if asked.digest is not None and not (name and name.strip()):
                name = asked.digest.username
            try:
                # A tuple in the order of Body is three times faster than a Body.
                body = encode(
                    (
                        asker.switch, asker.interface, asked.call_id, asked.leg_id, asked.direction,
                        asked.account_id, asked.src_ip, asked.src_port, asked.protocol, asked.gateway, name,
                        asked.src_number, asked.dst_number, credential, limits, masked, decision,
                    )
                )  # fmt: skip
            except UnicodeError:  # of half a surrogate pair
                body = b""
            if masked or not body or len(body) > LARGE_BODY:
                body = _cut_body(asker, asked, name, credential, limits, masked, decision)
            parts += frame(at, body), body
        except Exception as fault:  # the decision is made
            self._failed += 1
            self._engine.faults.append(fault)

    def _credential(
        self, asked: Request, decision: Decision | bytes
    ) -> tuple[list[CredentialKind], bool | None, int | None]:
        """Return the fields of a CredentialUse (engine.md 3.6)."""
        kinds: list[CredentialKind] = []
        if asked.password is not None:
            kinds.append("password")
        if asked.digest is not None:
            kinds.append("digest")
        if type(asked) is ChapRequest:
            kinds.append("chap")
        decided = decision_from(decision)
        if decided.reason == Reason.BAD_PASSWORD:
            return kinds, False, None
        book, account_id = self._engine.book, decided.account_id
        if account_id is not None and book is not None and decided.direction is Direction.ORIGINATION:
            entry = book.accounts.get(account_id)
            if entry is not None and entry.account.password is not None:
                return kinds, True, account_id
        return kinds, None, None

    # ---- alarms

    def report(self) -> None:
        """Log once that decisions cannot be written, and once that they are written again."""
        why, lost, now = self._writer.trouble, self._writer.lost, time.monotonic()
        if why is None and lost > self._lost:
            why, self._quiet_at = _SLOW, now + QUIET_SECONDS
        self._lost = lost
        if why is not None and self.alarm is None:
            self.alarm = RECORD_UNWRITTEN.said(why=why)
            RECORD_UNWRITTEN.tell(why=why)
        elif why is None and self.alarm is not None and now >= self._quiet_at:
            self.alarm = None
            RECORD_WRITTEN.tell(lost=self.lost)


def _ring(config: RecordConfig) -> RingSettings:
    return RingSettings(
        folder=config.path,
        max_bytes=config.max_bytes,
        max_age=config.max_age,
        active=config.decisions != "none",
    )


def _cut_body(
    asker: Asker,
    asked: Request,
    name: str | None,
    credential: object,
    limits: list[LevelUse] | None,
    masked: bool,
    decision: Decision | bytes,
) -> bytes:
    """Return the body of an entry with bounded texts, and with masked numbers if ``masked``."""
    fields = (
        asked.call_id, asked.leg_id, asked.direction, asked.account_id, asked.src_ip, asked.src_port,
        asked.protocol, asked.gateway, name, _number(asked.src_number, masked), _number(asked.dst_number, masked),
    )  # fmt: skip
    shown = _bounded(decision, masked)
    return encode((asker.switch, asker.interface, *map(_cut, fields), credential, limits, masked, shown))


def _cut(value: object) -> object:
    """Return a field of a request, a text without half surrogate pairs and of bounded length."""
    if not isinstance(value, str):
        return value
    return value[:LONGEST_TEXT].encode(errors="replace").decode()


def _number(number: str | None, masked: bool) -> str | None:
    """Return a number of a request as an entry has it."""
    if number is None or not masked:
        return number
    try:
        return masked_number(requested_number(number))
    except ValueError:
        return "".join(MASK if each.isdigit() else each for each in number)


def _bounded(decision: Decision | bytes, masked: bool) -> Decision | bytes:
    """Return a decision with bounded texts, and with masked numbers if ``masked``."""
    if not masked and isinstance(decision, bytes):
        return decision
    decided = decision_from(decision)
    field = decided.field
    value = _number(decided.value, masked and field in ("src_number", "dst_number"))
    return msgspec.structs.replace(
        decided,
        src_number=_number(decided.src_number, masked),
        dst_number=_number(decided.dst_number, masked),
        matched=_number(decided.matched, masked and decided.matched_by == "ani"),
        value=None if value is None else _cut(value),
    )
