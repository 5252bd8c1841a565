"""The responder of JSON-RPC 2.0 (interfaces.md 3): messages in, answers out, in batches of the engine. No I/O.

One :class:`Responder` serves all transports and both encodings. It reads each message
(:mod:`identengine.wire.jsonrpc.reader`), lets the engine decide it, and keeps the answers in order. A batch may
hold the messages of several reads. Answers are final when the batch is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import RolledBack
from identengine.model.records import Decision, Request
from identengine.wire.batches import EngineBatches
from identengine.wire.codes import PARSE_ERROR
from identengine.wire.deferred import DeferredCount
from identengine.wire.desk import ANY_SIZE, Batch, Room
from identengine.wire.jsonrpc.answers import DATAGRAM
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec, NotParsable
from identengine.wire.jsonrpc.desk import Desk
from identengine.wire.jsonrpc.reader import Reader
from identengine.wire.jsonrpc.replies import Read, Reply, codec_of
from identengine.wire.responder import LateAnswer, MalformedMessage, Senders
from identengine.wire.session import MAX_UNPROVEN, Session


def _ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""


class Responder:
    """A responder that answers messages with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve. ``on_reject`` is called for each rejected
    ``authorize``. ``on_wrong_token`` is called with the address of each wrong token. ``on_too_old`` is called for
    each message that is dropped as too old. ``on_malformed`` is called for each message whose error is one of
    :data:`MALFORMED`, answered or not. ``on_withheld`` is called with the address of each datagram whose error is
    withheld. Its sender has shown no token, and would get more bytes than it sent. ``batches`` are those of the
    engine. By default the responder makes them, with ``clock`` and ``on_decided``, and no other protocol shares
    them. Without ``usual``, all messages take the general way.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        clock: Callable[[], float] = float,
        on_wrong_token: Callable[[str], None] = _ignore,
        on_too_old: Callable[[], None] = _ignore,
        on_malformed: Callable[[MalformedMessage], None] = _ignore,
        on_withheld: Callable[[str], None] = _ignore,
        on_decided: Callable[[float, int], None] = _ignore,
        *,
        usual: bool = True,
        batches: EngineBatches | None = None,
    ) -> None:
        self._engine = engine
        self.batches = batches or EngineBatches(engine, uptime, clock, on_decided)
        """The batches of the engine."""
        self._desk = Desk(engine, uptime, on_reject, on_too_old, on_malformed, usual=usual)
        self._reader = Reader(engine, self._desk, on_wrong_token, on_too_old, on_malformed, on_withheld)
        self._reads: list[Read] = []
        """The reads of the current batch. The responder has joined the batch if there is one."""

    # ---- a batch

    def begin(self) -> None:
        """Open a batch (:class:`identengine.wire.responder.Batches`)."""
        self.batches.begin()

    def end(self) -> None:
        """Close the batch."""
        self.batches.end()

    def complete(self, rolled_back: RolledBack | None) -> None:
        """Implement :meth:`identengine.wire.batches.Participant.complete`."""
        reads = self._reads
        try:
            if rolled_back is not None:
                rejects = self._desk.roll_back(rolled_back)
                for read in reads:
                    read.replace(rejects)
        finally:
            reads.clear()
            self._desk.forget()

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
        ``owed`` until it is there. Outside of a batch, the datagrams are a batch of their own.
        """
        alone = not self.batches.is_open
        if alone:
            self.batches.begin()
        try:
            read, simple = self._read_datagrams(received, sessions, too_old)
            if not simple:
                read.postpone(owed or DeferredCount(), _ignore if senders is None else senders.answer_later)
                read.put_together()
        finally:
            if alone:
                self.batches.end()
        return read.answers, read.places

    def _read_datagrams(
        self, received: Sequence[bytes], sessions: Sequence[Session], too_old: Sequence[bool] | None
    ) -> tuple[Read, bool]:
        """Decide datagrams. Return True with them if each has one answer, and it fits."""
        room = Room(DATAGRAM)
        batch, read_call = Batch(room, connected=False), self._reader.read_call
        replies: list[Reply] = []
        read = Read(received, sessions, None, room, replies)
        if not self._reads:
            self.batches.joined.append(self)
        self._reads.append(read)
        simple = True
        old = repeat(False) if too_old is None else too_old
        for raw, session, is_old in zip(received, sessions, old, strict=False):
            codec = _SINGLE[raw[0]] if raw else None
            reply: Reply
            if codec is not None:
                reply = read_call(raw, codec, session, is_old, batch)
            else:
                reply = self._reader.read(raw, codec_of(raw), session, is_old, batch)
            replies.append(reply)
            if type(reply) is not bytes or len(reply) > DATAGRAM:
                simple = False
        return read, simple

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
        stops. Outside of a batch, the messages are a batch of their own.
        """
        alone = not self.batches.is_open
        if alone:
            self.batches.begin()
        try:
            read, simple, broken = self._read_stream(codec, messages, session, broken, too_old)
            if not simple:

                def give(_: int, answers: list[bytes]) -> None:
                    for answer in answers:
                        late(answer)

                read.postpone(owed or DeferredCount(), give)
                read.put_together()
        finally:
            if alone:
                self.batches.end()
        return read.answers, broken is not None

    def _read_stream(
        self, codec: Codec, messages: Sequence[bytes], session: Session, broken: str | None, too_old: bool
    ) -> tuple[Read, bool, str | None]:
        """Decide messages of a connection. Return them, True if each has one answer, and the stream's error."""
        room = Room(ANY_SIZE)
        batch, read_call = Batch(room, connected=True), self._reader.read_call
        replies: list[Reply] = []
        read = Read(messages, (session,) * len(messages), codec, room, replies)
        if not self._reads:
            self.batches.joined.append(self)
        self._reads.append(read)
        simple = broken is None
        for raw in messages:
            reply: Reply
            if raw and _SINGLE[raw[0]] is codec:
                reply = read_call(raw, codec, session, too_old, batch)
            else:
                reply = self._reader.read(raw, codec, session, too_old, batch)
            replies.append(reply)
            if type(reply) is bytes and not session.refused:
                continue
            simple = False
            if type(reply) is NotParsable or _is_too_many(session):
                broken = ""
                break
        if broken:
            error = codec.error(b"", PARSE_ERROR, f"not parsable: {broken}")
            replies.append(self._reader.report(error, codec, session.peer, session.host))
        return read, simple, broken


_SINGLE: list[Codec | None] = [None] * 256
"""The encoding of a message by its first byte; None if the message can be an array."""
_SINGLE[ord("{")] = JSON
for _first in (*range(0x80, 0x90), 0xDE, 0xDF):
    _SINGLE[_first] = MESSAGEPACK


def _is_too_many(session: Session) -> bool:
    """Return True if a connection without a right token has sent too many messages."""
    return session.refused >= MAX_UNPROVEN and session.is_unproven(connected=True)
