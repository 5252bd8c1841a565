"""JSON-RPC 2.0 (interfaces.md 3): messages in, decisions asked for in one batch, answers out. No I/O.

One :class:`Responder` serves all transports and both encodings. What came in one read is decoded message by
message, handed to the engine as *one* batch, and answered in order. A message of the expected shape costs one
typed decoding; all others go to :mod:`identengine.wire.jsonrpc.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat

import msgspec

from identengine.calls.backend import Done, Later
from identengine.engine.core import Answer, Ask, Engine, Method
from identengine.engine.lifecycle import Asker
from identengine.model.records import Decision, Request
from identengine.wire.jsonrpc.answers import DATAGRAM, Decided, Item, Read, datagrams, result, usual, whole
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, NO_TEXT, UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.messages import (
    BAD_PARAMS,
    DECIDED,
    INTERNAL,
    INVALID_REQUEST,
    NO_SUCH_METHOD,
    OVERLOADED,
    PARSE_ERROR,
    Auth,
    Authorize,
    Call,
    Explain,
    Field,
    Identify,
    NoParams,
    Ping,
    Pong,
    Start,
    Stop,
    Update,
)
from identengine.wire.session import Peer, Visitor

MAX_BATCH = 1000
"""Most messages in one array. As many real requests do not fit into a message; as many empty ones do."""
MAX_EXPLAINS = 16
"""Most explanations given at once: each may cost as much as a hundred decisions, which wait meanwhile."""

MAX_WRONG = 16
"""Most messages of one array that are complained of: wrong ones cost as much as right ones, and need no token."""

try:
    PROGRAM = f"identengine {version('identengine')}"
except PackageNotFoundError:  # run from a checkout that was never installed
    PROGRAM = "identengine"


class Owed:
    """How many answers, that take their time, are still owed to a peer or at a socket."""

    def __init__(self) -> None:
        self.count = 0


def _nobody(*_: object) -> None:
    """Take what nobody waits for."""


class Responder:
    """Answers messages with what the engine decides.

    ``uptime`` gives the seconds since the process began to serve; ``decide`` is what decides a batch, by default
    the engine as it is. ``on_reject`` is told of each rejected ``authorize``, for the log, ``on_wrong_token`` of
    the address that showed one, ``on_too_old`` of each message of a datagram that was dropped as too old.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        decide: Callable[[Sequence[Ask]], list[Answer]] | None = None,
        on_wrong_token: Callable[[str], None] = _nobody,
        on_too_old: Callable[[], None] = _nobody,
    ) -> None:
        self._engine = engine
        self._uptime = uptime
        self._by = decide or engine.decide
        self._on_reject = on_reject
        self._on_wrong_token = on_wrong_token
        self._on_too_old = on_too_old

    def datagrams(
        self,
        received: Sequence[bytes],
        visitors: Sequence[Visitor],
        late: Callable[[int, list[bytes]], None] = _nobody,
        owed: Owed | None = None,
        too_old: Sequence[bool] | None = None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Return the answers to datagrams, each of at most :data:`DATAGRAM` bytes, and which of them each answers.

        Instead of those places there is None where each has one answer, in order. ``visitors`` are who sent them;
        ``too_old`` tells which have waited so long that their senders have asked again or given up: of those
        nothing but a stop counts. ``late`` is given the answers that take their time, and the place in
        ``received`` of what they answer; till then it is among those ``owed``.
        """
        batch = _Batch(connected=False)
        read: list[Item | list[Item]] = []
        codecs: list[Codec] = []
        old = repeat(False) if too_old is None else too_old
        for raw, visitor, is_old in zip(received, visitors, old, strict=False):
            codec = _SINGLE.get(raw[:1])
            if codec is not None:
                read.append(self._read_call(raw, codec, visitor, is_old, batch))
            else:
                codec = codec_of(raw)
                read.append(self._read(raw, codec, visitor, is_old, batch))
            codecs.append(codec)
        decided = self._decide(batch)
        if batch.slow:
            self._postpone(read, codecs, decided, late, owed or Owed())
        answers: list[bytes] = []
        places: list[int] | None = None
        for place, (item, codec) in enumerate(zip(read, codecs, strict=True)):
            answer = usual(item, codec, decided)
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
        messages: Sequence[bytes],
        codec: Codec,
        visitor: Visitor,
        broken: str | None = None,
        late: Callable[[bytes], None] = _nobody,
        owed: Owed | None = None,
        *,
        too_old: bool = False,
    ) -> tuple[list[bytes], bool]:
        """Return the answers to messages of one connection, and whether it must be closed.

        ``broken`` says what is wrong with the stream after these messages, if anything is; so is a message that
        cannot be parsed. Nothing behind it counts, since where a next message begins is not known. ``late`` is
        given an answer that takes its time; till then it is among those ``owed``. Messages that are ``too_old``
        are answered without being decided, save stops.
        """
        batch = _Batch(connected=True)
        read: list[Item | list[Item]] = []
        for raw in messages:
            item = self._read(raw, codec, visitor, too_old, batch)
            read.append(item)
            if item is codec.not_parsable:
                broken = ""
                break
        decided = self._decide(batch)
        if batch.slow:
            owed = owed or Owed()
            for place, item in enumerate(read):
                message = Read(item, codec)
                if _postponed(message, decided, owed, partial(_give_whole, late, message)):
                    read[place] = None
        answers: list[bytes] = []
        for item in read:
            answer = usual(item, codec, decided) or whole(Read(item, codec), decided)
            if answer:
                answers.append(answer)
        if broken:
            answers.append(codec.error(b"", PARSE_ERROR, f"not parsable: {broken}"))
        return answers, broken is not None

    def _decide(self, batch: _Batch) -> Decided:
        asks = batch.asks
        answers = self._by(asks) if asks else []
        for place, decision in enumerate(answers):
            if type(decision) is Decision:
                if not decision.accepted:
                    ask = asks[place]
                    if ask.method == "authorize" and isinstance(ask.request, Request):
                        self._on_reject(ask.asker, ask.request, decision)
            elif type(decision) is Later:
                batch.slow = True
        return Decided(batch.ids, answers)

    def _postpone(
        self,
        read: list[Item | list[Item]],
        codecs: list[Codec],
        decided: Decided,
        late: Callable[[int, list[bytes]], None],
        owed: Owed,
    ) -> None:
        """Leave out what takes its time, till then."""
        reasons = self._engine.settings.reasons
        for place, (item, codec) in enumerate(zip(read, codecs, strict=True)):
            message = Read(item, codec)

            def give(decided: Decided, place: int = place, message: Read = message) -> None:
                late(place, datagrams(message, decided, reasons))

            if _postponed(message, decided, owed, give):
                read[place] = None

    def _read(self, raw: bytes, codec: Codec, visitor: Visitor, too_old: bool, batch: _Batch) -> Item | list[Item]:
        """Read one message; what is to be decided goes to the end of the batch."""
        if not codec.is_array(raw):
            return self._read_call(raw, codec, visitor, too_old, batch)
        try:
            items = codec.items(raw) if codec.is_well_formed(raw) else None
        except UNDECODED:
            items = None
        if items is None:
            mended = codec.mended(raw)
            return codec.not_parsable if mended == raw else self._read(mended, codec, visitor, too_old, batch)
        if not items:
            return codec.error(b"", INVALID_REQUEST, "an empty batch")
        if len(items) > MAX_BATCH:
            return codec.error(b"", INVALID_REQUEST, f"more than {MAX_BATCH} messages in a batch")
        return self._read_items(items, codec, visitor, too_old, batch)

    def _read_items(
        self, items: list[msgspec.Raw], codec: Codec, visitor: Visitor, too_old: bool, batch: _Batch
    ) -> list[Item]:
        read: list[Item] = []
        wrong = 0
        for item in items:
            before = batch.wrong
            read.append(self._read_call(item, codec, visitor, too_old, batch))
            wrong += batch.wrong - before
            if wrong > MAX_WRONG:
                what = f"more than {MAX_WRONG} wrong messages in a batch; what is behind them was not looked at"
                read.append(codec.error(b"", INVALID_REQUEST, what))
                break
        return read

    def _read_call(self, raw: Bytes, codec: Codec, visitor: Visitor, too_old: bool, batch: _Batch) -> Item:
        try:
            call = codec.call(raw)
        except UNDECODED:
            return self._undecoded(bytes(raw), codec, visitor, too_old, batch)
        message_id = bytes(call.id)
        peer, params = visitor.peer, call.params
        method = _PLAIN.get(type(call))
        if (
            method is None
            or too_old
            or params is None
            or peer is None
            or visitor.wants_token
            or not message_id
            or not codec.number_begins[message_id[0]]
            or len(message_id) > _SHORT
        ):
            return self._read_other(call, message_id, raw, codec, visitor, too_old, batch)
        asks = batch.asks
        batch.ids.append(message_id)
        asks.append(Ask(method, params, peer.options, peer.asker))  # type: ignore[arg-type]  # those of the method
        return len(asks) - 1

    def _read_other(
        self,
        call: Call,
        message_id: bytes,
        raw: Bytes,
        codec: Codec,
        visitor: Visitor,
        too_old: bool,
        batch: _Batch,
    ) -> Item:
        """Read what needs more than most messages do."""
        if message_id and not codec.is_usable_id(message_id):
            return self._complaint(bytes(raw), codec, batch)
        if isinstance(call, Auth):
            answer = self._authenticate(call, message_id, codec, visitor, batch)
            return answer if message_id else None
        peer = visitor.peer
        if visitor.wants_token:
            peer = self._credited(raw, codec, visitor)
        if peer is None:
            batch.wrong += 1
            what = "say first for which switch you speak" if visitor.may_name else _WANTED_TOKEN
            return codec.error(message_id, BAD_PARAMS, what, Field("token")) if message_id else None
        if too_old and not isinstance(call, Stop) and not batch.connected:
            self._on_too_old()
            return None
        if isinstance(call, Ping):
            return result(codec, message_id, self._pong()) if message_id else None
        if isinstance(call, Explain):
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS:
                what = f"more than {MAX_EXPLAINS} explanations at once; ask again"
                return codec.error(message_id, OVERLOADED, what) if message_id else None
        method, nothing = DECIDED[type(call)]
        params = nothing if call.params is None or isinstance(call.params, NoParams) else call.params
        ask = Ask(method, params, peer.options, peer.asker)
        if too_old and not isinstance(call, Stop):
            shed = self._engine.shed(ask)
            return result(codec, message_id, shed) if message_id else None
        batch.ids.append(message_id)
        batch.asks.append(ask)
        return len(batch.asks) - 1

    def _undecoded(self, raw: bytes, codec: Codec, visitor: Visitor, too_old: bool, batch: _Batch) -> Item:
        """Read what is not of the expected shape."""
        mended = codec.mended(raw)
        if mended == raw:
            if too_old and not batch.connected:
                self._on_too_old()
                return None
            return self._complaint(raw, codec, batch)
        if _id_of(mended, codec).count(NO_TEXT) > raw.count(NO_TEXT):
            return codec.error(b"", INVALID_REQUEST, "an id that is a string is text")
        return self._read_call(mended, codec, visitor, too_old, batch)

    def _complaint(self, raw: bytes, codec: Codec, batch: _Batch) -> bytes | None:
        """Return what is wrong with a message; whatever it holds, those beside it are answered."""
        batch.wrong += 1
        try:
            return complaint(raw, codec)
        except Exception as fault:  # a value nested as deep as the stack still lets it be read, say
            self._engine.faults.append(fault)
            return codec.error(b"", INTERNAL, "the message cannot be read")

    def _credited(self, raw: Bytes, codec: Codec, visitor: Visitor) -> Peer | None:
        """Return which switch a message is of, by the token that comes with it."""
        try:
            params = codec.credited(raw).params
        except UNDECODED:
            return None
        if params is None or params.token is None:
            return visitor.peer
        peer = visitor.switch_of(params.token)
        if peer is None:
            self._on_wrong_token(visitor.host)
        else:
            visitor.introduced = True
        return peer

    def _authenticate(self, call: Auth, message_id: bytes, codec: Codec, visitor: Visitor, batch: _Batch) -> bytes:
        if not batch.connected:
            what = "auth is for connections; each datagram brings its token as a parameter"
            return codec.error(message_id, NO_SUCH_METHOD, what)
        token, switch = (call.params.token, call.params.switch) if call.params else (None, None)
        if visitor.may_name:
            if switch is None or not visitor.speak_for(switch):
                return codec.error(message_id, BAD_PARAMS, "switch: the name of one is wanted", Field("switch"))
        elif token is None:
            return codec.error(message_id, BAD_PARAMS, "token: a string is wanted", Field("token"))
        elif not visitor.show(token):
            self._on_wrong_token(visitor.host)
            return codec.error(message_id, BAD_PARAMS, _WANTED_TOKEN, Field("token"))
        return codec.answered(message_id, Done(True))

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())


_WANTED_TOKEN = "token: that of a switch at this address is wanted"  # noqa: S105 - says so, and is none


_PLAIN: dict[type, Method] = {call: DECIDED[call][0] for call in (Authorize, Identify, Start, Update, Stop)}
"""What most messages are."""
_SHORT = 20
"""Bytes of an id of which nothing need be known but that it begins as a number."""


class _Batch:
    """What the engine is to decide at once, and for whom."""

    __slots__ = ("asks", "connected", "explains", "ids", "slow", "wrong")

    def __init__(self, *, connected: bool) -> None:
        self.connected = connected
        """Whether it came over a connection."""
        self.asks: list[Ask] = []
        self.ids: list[bytes] = []
        """Of each message that is asked; empty: no answer is wanted."""
        self.explains = self.wrong = 0
        self.slow = False
        """Whether an answer takes its time."""


_SINGLE: dict[bytes, Codec] = {b"{": JSON} | {
    bytes((first,)): MESSAGEPACK for first in (*range(0x80, 0x90), 0xDE, 0xDF)
}
"""The encoding of a datagram that is no array, by its first byte."""


def codec_of(datagram: bytes) -> Codec:
    """Return the encoding of a datagram (interfaces.md 3)."""
    return JSON if datagram.lstrip(b" \t\r\n")[:1] in (b"{", b"[") else MESSAGEPACK


def _id_of(raw: bytes, codec: Codec) -> bytes:
    """Return the id of a message as it stands there; empty where there is none."""
    try:
        return bytes(codec.loose(raw).id)
    except UNDECODED:
        return b""


def _postponed(message: Read, decided: Decided, owed: Owed, give: Callable[[Decided], None]) -> bool:
    """Whether an answer in a message takes its time; ``give`` is then called once all of them are there."""
    items = message.items if isinstance(message.items, list) else [message.items]
    answers = decided.answers
    slow = [later for item in items if isinstance(item, int) and isinstance(later := answers[item], Later)]
    left = len(slow)

    def one_less(_: Done) -> None:
        nonlocal left
        left -= 1
        if not left:
            owed.count -= 1
            there = [answer.done or answer if isinstance(answer, Later) else answer for answer in answers]
            give(Decided(decided.ids, there))

    owed.count += bool(slow)
    for later in slow:
        later.then(one_less)
    return bool(slow)


def _give_whole(late: Callable[[bytes], None], message: Read, decided: Decided) -> None:
    answer = whole(message, decided)
    if answer is not None:
        late(answer)
