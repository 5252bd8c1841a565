"""The responder of JSON-RPC 2.0 (interfaces.md 3): messages in, one batch to the engine, answers out. No I/O.

One :class:`Responder` serves all transports and both encodings. It decodes each message of a read, lets the engine
decide all of them as *one* batch, and answers them in order. A message of the expected shape costs one typed
decoding. All others are left to :mod:`identengine.wire.jsonrpc.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from typing import get_args

import msgspec

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.engine.core import Engine, EngineAnswer, EngineRequest, Method
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.errors import expected
from identengine.model.reasons import ReasonTable
from identengine.model.records import CallList, Decision, Request
from identengine.wire.deferred import DeferredCount, postpone
from identengine.wire.jsonrpc.answers import (
    DATAGRAM,
    Decided,
    Item,
    Read,
    datagrams,
    encode_answer,
    result,
)
from identengine.wire.jsonrpc.auth import Authenticator, may_hold_token
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, UNDECODED, Bytes, Codec, NotParsable
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.malformed import malformed
from identengine.wire.jsonrpc.messages import INTERNAL, INVALID_REQUEST, OVERLOADED, PARSE_ERROR, NoParams, Pong
from identengine.wire.jsonrpc.methods import CALLS, METHODS, Call
from identengine.wire.responder import LateAnswer, MalformedMessage, Senders
from identengine.wire.session import Peer, Session

MAX_BATCH = 1000
"""Largest number of messages in an array. Real requests fill a message earlier; empty ones do not."""
MAX_EXPLAINS = 16
"""Largest number of explanations in a batch. Each can cost as much as a hundred decisions, and the others wait."""

MAX_WRONG = 16
"""Number of wrong messages after which the rest of an array is skipped: they cost time, and need no token."""

try:
    PROGRAM = f"identengine {version('identengine')}"
except PackageNotFoundError:  # run from a checkout that was never installed
    PROGRAM = "identengine"


def _ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""


class Responder:
    """A responder that answers messages with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve. ``decide`` decides a batch; the default is
    the method of ``engine``. ``on_reject`` is called for each rejected ``authorize``. ``on_wrong_token`` is called
    with the address of each wrong token. ``on_too_old`` is called for each message that is dropped as too old.
    ``on_malformed`` is called for each message whose error is one of :data:`MALFORMED`, answered or not.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        decide: Callable[[Sequence[EngineRequest]], list[EngineAnswer]] | None = None,
        on_wrong_token: Callable[[str], None] = _ignore,
        on_too_old: Callable[[], None] = _ignore,
        on_malformed: Callable[[MalformedMessage], None] = _ignore,
    ) -> None:
        self._engine = engine
        self._uptime = uptime
        self._by = decide or engine.decide
        self._on_reject = on_reject
        self._auth = Authenticator(on_wrong_token)
        self._on_too_old = on_too_old
        self._on_malformed = on_malformed

    def datagrams(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders | None = None,
        owed: DeferredCount | None = None,
        too_old: Sequence[bool] | None = None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Return the answers to datagrams, and for each answer the place of its datagram.

        An answer has at most :data:`DATAGRAM` bytes. Without places each datagram has one answer, in order.
        ``sessions`` are the senders. ``too_old`` marks datagrams whose senders have asked again or given up: only
        a stop in them is decided.
        ``senders`` receive deferred answers; without ``senders`` these are dropped. A deferred answer counts in
        ``owed`` until it is there.
        """
        batch = _Batch(connected=False)
        read: list[Item | list[Item]] = []
        codecs: list[Codec] = []
        old = repeat(False) if too_old is None else too_old
        for raw, session, is_old in zip(received, sessions, old, strict=False):
            codec = _SINGLE[raw[0]] if raw else None
            if codec is not None:
                read.append(self._read_call(raw, codec, session, is_old, batch))
            else:
                codec = codec_of(raw)
                read.append(self._read(raw, codec, session, is_old, batch))
            codecs.append(codec)
        decided = self._decide(batch)
        if batch.slow:
            give = partial(_give_datagrams, senders, self._engine.settings.reasons)
            _postpone(read, codecs, decided, owed or DeferredCount(), give)
        answers: list[bytes] = []
        places: list[int] | None = None
        for place, (item, codec) in enumerate(zip(read, codecs, strict=True)):
            answer = None
            if type(item) is int and (message_id := decided.ids[item]):
                answer = codec.fast_answer(message_id, decided.answers[item])
            if answer is not None and len(answer) <= DATAGRAM:
                answers.append(answer)
                if places is not None:
                    places.append(place)
                continue
            several = datagrams(Read(item, codec), decided, self._engine.settings.reasons)
            if places is None and len(several) != 1:
                places = list(range(place))
            answers += several
            if places is not None:
                places += [place] * len(several)
        return answers, places

    def stream(
        self,
        codec: Codec,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None = None,
        late: LateAnswer = _ignore,
        owed: DeferredCount | None = None,
        too_old: bool = False,
    ) -> tuple[list[bytes], bool]:
        """Return the answers to messages of one connection, and True if the connection must be closed.

        ``broken`` is the error of the stream after these messages, or None. A message that cannot be parsed breaks
        the stream as well: the beginning of the next message is not known. ``late`` receives each deferred answer,
        which counts in ``owed`` until then. Messages that are ``too_old`` are answered without a decision, except
        stops.
        """
        batch = _Batch(connected=True)
        read: list[Item | list[Item]] = []
        for raw in messages:
            if raw and _SINGLE[raw[0]] is codec:
                item: Item | list[Item] = self._read_call(raw, codec, session, too_old, batch)
            else:
                item = self._read(raw, codec, session, too_old, batch)
            read.append(item)
            if type(item) is NotParsable:
                broken = ""
                break
        decided = self._decide(batch)
        if batch.slow:
            _postpone(read, repeat(codec), decided, owed or DeferredCount(), partial(_give_whole, late))
        answers: list[bytes] = []
        for item in read:
            answer = None
            if type(item) is int and (message_id := decided.ids[item]):
                answer = codec.fast_answer(message_id, decided.answers[item])
            answer = answer or encode_answer(Read(item, codec), decided)
            if answer:
                answers.append(answer)
        if broken:
            error = codec.error(b"", PARSE_ERROR, f"not parsable: {broken}")
            answers.append(self._report(error, codec, session.peer, session.host))
        return answers, broken is not None

    def _decide(self, batch: _Batch) -> Decided:
        asks = batch.asks
        answers = self._by(asks) if asks else []
        for place, decision in enumerate(answers):
            if type(decision) is EncodedDecision or type(decision) is LegResult:  # as most are
                continue
            if type(decision) is Decision:
                if not decision.accepted:
                    ask = asks[place]
                    if ask.method == "authorize" and isinstance(ask.request, Request):
                        self._on_reject(ask.asker, ask.request, decision)
            elif type(decision) is Deferred:
                batch.slow = True
            elif type(decision) is BadParameter:
                self._report(result(JSON, b"", decision), JSON, asks[place].asker, None)
        return Decided(batch.ids, answers)

    def _read(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: _Batch) -> Item | list[Item]:
        """Read a message or an array; add the requests that need a decision to the batch."""
        if not codec.is_array(raw):
            return self._read_call(raw, codec, session, too_old, batch)
        items: list[msgspec.Raw] = []
        fault: Exception | None = codec.text_fault(raw)
        if fault is None:
            try:
                items = codec.items(raw)
            except UNDECODED as error:
                fault = error
        if fault is not None:
            repaired = codec.repaired(raw)
            if repaired == raw:
                return self._report(codec.not_parsable(fault), codec, session.peer, session.host)
            return self._read(repaired, codec, session, too_old, batch)
        if not 1 <= len(items) <= MAX_BATCH:
            what = f"{expected(f'an array of 1 to {MAX_BATCH} messages')}, got {len(items)}"
            return self._report(codec.error(b"", INVALID_REQUEST, what), codec, session.peer, session.host)
        return self._read_items(items, codec, session, too_old, batch)

    def _read_items(
        self, items: list[msgspec.Raw], codec: Codec, session: Session, too_old: bool, batch: _Batch
    ) -> list[Item]:
        read: list[Item] = []
        wrong = 0
        for item in items:
            before = batch.wrong
            read.append(self._read_call(item, codec, session, too_old, batch))
            wrong += batch.wrong - before
            if wrong > MAX_WRONG:
                what = f"the array has more than {MAX_WRONG} wrong messages; the messages after them were skipped"
                error = codec.error(b"", INVALID_REQUEST, what)
                read.append(self._report(error, codec, session.peer, session.host))
                break
        return read

    def _read_call(self, raw: Bytes, codec: Codec, session: Session, too_old: bool, batch: _Batch) -> Item:
        """Read one message: its form, its id, its sender, its age and its request."""
        try:
            call = codec.call(raw)
        except UNDECODED:
            return self._undecoded(bytes(raw), codec, session, too_old, batch)
        kind = type(call)  # compared by identity below: isinstance is too slow here
        message_id = bytes(call.id)
        if message_id and not (
            (codec.number_begins[message_id[0]] and len(message_id) <= _SHORT) or codec.is_usable_id(message_id)
        ):
            return self._complaint(bytes(raw), codec, session, batch)
        if kind is _AUTH:
            named = message_id or codec.null_id  # an answer to a notification is encoded too, for the report
            answer = self._auth.authenticate(call.params, named, codec, session, connected=batch.connected)  # type: ignore[arg-type]  # _AUTH has Credentials
            self._report(answer, codec, session.peer, session.host)
            return answer if message_id else None
        peer = session.peer
        if session.checks_tokens and (peer is None or may_hold_token(raw)):
            peer = self._auth.peer_of(raw, codec, session)
        if peer is None:
            batch.wrong += 1
            error = self._report(self._auth.unknown(message_id, codec, session), codec, None, session.host)
            return error if message_id else None
        if too_old and kind is not _STOP and not batch.connected:
            self._on_too_old()
            return None
        if kind is _PING:
            return result(codec, message_id, self._pong()) if message_id else None
        if kind is _EXPLAIN:
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS:
                what = f"more than {MAX_EXPLAINS} requests for explain at once. Ask again later."
                return codec.error(message_id, OVERLOADED, what) if message_id else None
        method, nothing, takes_params = _ASKED[kind]
        params = call.params if takes_params and call.params is not None else nothing
        ask = EngineRequest(method, params, peer.options, peer.asker)  # type: ignore[arg-type]  # the type fits the method
        if too_old and kind is not _STOP:
            shed = self._engine.shed(ask)
            return result(codec, message_id, shed) if message_id else None
        batch.ids.append(message_id)
        batch.asks.append(ask)
        return len(batch.asks) - 1

    def _undecoded(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: _Batch) -> Item:
        """Read a message that is not of the expected shape."""
        repaired = codec.repaired(raw)
        if repaired == raw:
            if too_old and not batch.connected:
                self._on_too_old()
                return None
            return self._complaint(raw, codec, session, batch)
        return self._read_call(repaired, codec, session, too_old, batch)

    def _complaint(self, raw: bytes, codec: Codec, session: Session, batch: _Batch) -> bytes | None:
        """Return the error that answers a wrong message, so that the other messages of the batch are answered."""
        batch.wrong += 1
        try:
            error, due = complaint(raw, codec)
        except Exception as fault:  # for example a value nested almost as deep as the stack
            self._engine.faults.append(fault)
            return codec.error(b"", INTERNAL, "internal error. The server's log has the details.")
        self._report(error, codec, self._auth.supposed(raw, codec, session), session.host)
        return error if due else None

    def _report(self, error: bytes, codec: Codec, sender: Peer | Asker | None, host: str | None) -> bytes:
        """Report a malformed message by its error, an encoded answer. Return the error."""
        if (found := malformed(error, codec, sender, host)) is not None:
            self._on_malformed(found)
        return error

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())


_AUTH, _PING, _EXPLAIN, _STOP = (CALLS[name] for name in ("auth", "ping", "explain", "stop"))


def _asked(method: Method) -> tuple[Method, Request | CallList, bool]:
    params = METHODS[method].params
    nothing = Request() if params is NoParams else params()
    assert isinstance(nothing, Request | CallList)  # noqa: S101 - for the type checker
    return method, nothing, params is not NoParams


_ASKED: dict[type[Call], tuple[Method, Request | CallList, bool]] = {
    CALLS[method]: _asked(method) for method in get_args(Method)
}
"""The method of each type of message, its parameters if a message has none, and True if it takes any."""
_SHORT = 20
"""Longest id, in bytes, of which only the first byte is checked if it is an integer."""


class _Batch:
    """The requests of one read that the engine decides together."""

    __slots__ = ("asks", "connected", "explains", "ids", "slow", "wrong")

    def __init__(self, *, connected: bool) -> None:
        self.connected = connected
        """True if the read was from a connection, False if it was datagrams."""
        self.asks: list[EngineRequest] = []
        self.ids: list[bytes] = []
        """The id of each request; empty for a notification."""
        self.explains = self.wrong = 0
        self.slow = False
        """True if an answer is deferred."""


_SINGLE: list[Codec | None] = [None] * 256
"""The encoding of a message by its first byte; None if the message can be an array."""
_SINGLE[ord("{")] = JSON
for _first in (*range(0x80, 0x90), 0xDE, 0xDF):
    _SINGLE[_first] = MESSAGEPACK


def codec_of(datagram: bytes) -> Codec:
    """Return the encoding of a datagram (interfaces.md 3)."""
    return JSON if datagram.lstrip(b" \t\r\n")[:1] in (b"{", b"[") else MESSAGEPACK


def _postpone(
    read: list[Item | list[Item]],
    codecs: Iterable[Codec],
    decided: Decided,
    owed: DeferredCount,
    give: Callable[[int, Read, Decided], None],
) -> None:
    """Remove messages with deferred answers, and pass each to ``give`` with its place when they are complete."""
    for place, (items, codec) in enumerate(zip(read, codecs, strict=False)):
        message = Read(items, codec)

        def give_this(answers: list[EngineAnswer], place: int = place, message: Read = message) -> None:
            give(place, message, Decided(decided.ids, answers))

        places = [item for item in (items if isinstance(items, list) else [items]) if isinstance(item, int)]
        if postpone(places, decided.answers, owed, give_this):
            read[place] = None


def _give_datagrams(
    senders: Senders | None, reasons: ReasonTable, place: int, message: Read, decided: Decided
) -> None:
    if senders is not None:
        senders.answer_later(place, datagrams(message, decided, reasons))


def _give_whole(late: LateAnswer, _: int, message: Read, decided: Decided) -> None:
    answer = encode_answer(message, decided)
    if answer is not None:
        late(answer)
