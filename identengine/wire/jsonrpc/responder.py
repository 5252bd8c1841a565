"""The responder of JSON-RPC 2.0 (interfaces.md 3): messages in, one batch to the engine, answers out. No I/O.

One :class:`Responder` serves all transports and both encodings. It reads each message
(:mod:`identengine.wire.jsonrpc.reader`), lets the engine decide all of them as *one* batch, and answers them in
order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.engine.core import Engine, EngineAnswer, EngineRequest
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.model.reasons import ReasonTable
from identengine.model.records import Decision, Request
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
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec, NotParsable
from identengine.wire.jsonrpc.messages import PARSE_ERROR
from identengine.wire.jsonrpc.reader import Batch, Reader
from identengine.wire.jsonrpc.unproven import MAX_UNPROVEN
from identengine.wire.responder import LateAnswer, MalformedMessage, Senders
from identengine.wire.session import Session


def _ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""


class Responder:
    """A responder that answers messages with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve. ``decide`` decides a batch; the default is
    the method of ``engine``. ``on_reject`` is called for each rejected ``authorize``. ``on_wrong_token`` is called
    with the address of each wrong token. ``on_too_old`` is called for each message that is dropped as too old.
    ``on_malformed`` is called for each message whose error is one of :data:`MALFORMED`, answered or not.
    ``on_withheld`` is called with the address of each datagram whose error is withheld. Its sender has shown no
    token, and would get more bytes than it sent.
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
        on_withheld: Callable[[str], None] = _ignore,
    ) -> None:
        self._engine = engine
        self._by = decide or engine.decide
        self._on_reject = on_reject
        self._reader = Reader(engine, uptime, on_wrong_token, on_too_old, on_malformed, on_withheld)

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
        batch, reader = Batch(connected=False), self._reader
        read: list[Item | list[Item]] = []
        codecs: list[Codec] = []
        old = repeat(False) if too_old is None else too_old
        for raw, session, is_old in zip(received, sessions, old, strict=False):
            codec = _SINGLE[raw[0]] if raw else None
            if codec is not None:
                read.append(reader.read_call(raw, codec, session, is_old, batch))
            else:
                codec = codec_of(raw)
                read.append(reader.read(raw, codec, session, is_old, batch))
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
        batch, reader = Batch(connected=True), self._reader
        read: list[Item | list[Item]] = []
        for raw in messages:
            if raw and _SINGLE[raw[0]] is codec:
                item: Item | list[Item] = reader.read_call(raw, codec, session, too_old, batch)
            else:
                item = reader.read(raw, codec, session, too_old, batch)
            read.append(item)
            if type(item) is not int and (type(item) is NotParsable or _is_too_many(session)):
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
            answers.append(self._reader.report(error, codec, session.peer, session.host))
        return answers, broken is not None

    def _decide(self, batch: Batch) -> Decided:
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
                self._reader.report(result(JSON, b"", decision), JSON, asks[place].asker, None)
        return Decided(batch.ids, answers)


_SINGLE: list[Codec | None] = [None] * 256
"""The encoding of a message by its first byte; None if the message can be an array."""
_SINGLE[ord("{")] = JSON
for _first in (*range(0x80, 0x90), 0xDE, 0xDF):
    _SINGLE[_first] = MESSAGEPACK


def codec_of(datagram: bytes) -> Codec:
    """Return the encoding of a datagram (interfaces.md 3)."""
    return JSON if datagram.lstrip(b" \t\r\n")[:1] in (b"{", b"[") else MESSAGEPACK


def _is_too_many(session: Session) -> bool:
    """Return True if a connection without a right token has sent too many messages."""
    return session.refused >= MAX_UNPROVEN and session.is_unproven(connected=True)


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
