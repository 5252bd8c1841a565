"""The responder of JSON-RPC 2.0 (interfaces.md 3): messages in, one batch to the engine, answers out. No I/O.

One :class:`Responder` serves all transports and both encodings. It reads each message
(:mod:`identengine.wire.jsonrpc.reader`), lets the engine decide all of them as *one* batch, and answers them in
order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from time import perf_counter

from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import RolledBack
from identengine.model.records import Decision, Request
from identengine.wire.deferred import DeferredCount
from identengine.wire.jsonrpc.answers import ANY_SIZE, DATAGRAM, Room
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec, NotParsable
from identengine.wire.jsonrpc.desk import Batch, Desk
from identengine.wire.jsonrpc.messages import PARSE_ERROR
from identengine.wire.jsonrpc.reader import Reader
from identengine.wire.jsonrpc.replies import Reply, in_datagrams, in_one_piece, is_postponed
from identengine.wire.jsonrpc.unproven import MAX_UNPROVEN
from identengine.wire.responder import LateAnswer, MalformedMessage, Senders
from identengine.wire.session import Session


def _ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""


class Responder:
    """A responder that answers messages with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve, and ``clock`` the time of the set of calls.
    ``on_reject`` is called for each rejected ``authorize``. ``on_wrong_token`` is called with the address of each
    wrong token. ``on_too_old`` is called for each message that is dropped as too old. ``on_malformed`` is called
    for each message whose error is one of :data:`MALFORMED`, answered or not. ``on_withheld`` is called with the
    address of each datagram whose error is withheld. Its sender has shown no token, and would get more bytes than
    it sent. ``on_decided`` is called for each batch, with the seconds that it took and the number of its messages.
    Without ``usual``, all messages take the general way.
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
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._on_decided = on_decided
        desk = Desk(engine, uptime, on_reject, on_too_old, on_malformed, usual=usual)
        self._reader = Reader(engine, desk, on_wrong_token, on_too_old, on_malformed, on_withheld)
        self._began = 0.0
        self._messages = 0
        """Number of messages of the batch in hand."""

    # ---- a batch

    def begin(self) -> None:
        """Open a batch: all messages that are answered until :meth:`end` are one."""
        self._began, self._messages = perf_counter(), 0
        self._engine.begin(self._clock())

    def end(self) -> RolledBack | None:
        """Store what the batch changed, so that its answers may leave.

        Return the calls that could not be stored. Their answers are those of :meth:`again` then.
        """
        rolled_back = self._engine.end()
        if rolled_back is None:
            self.close()
        return rolled_back

    def close(self) -> None:
        """Count the batch, after its last answer is known."""
        self._engine.count()
        self._on_decided(perf_counter() - self._began, self._messages)

    def datagrams(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders | None = None,
        owed: DeferredCount | None = None,
        too_old: Sequence[bool] | None = None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Return the answers to datagrams, and for each answer the place of its datagram. They are one batch.

        An answer has at most :data:`DATAGRAM` bytes. Without places each datagram has one answer, in order.
        ``sessions`` are the senders. ``too_old`` marks datagrams whose senders have asked again or given up: only
        a stop in them is decided.
        ``senders`` receive deferred answers; without ``senders`` these are dropped. A deferred answer counts in
        ``owed`` until it is there.
        """
        self.begin()
        reasons = self._engine.settings.reasons
        batch = Batch(Room(DATAGRAM, reasons), connected=False)
        answers: list[Reply] = []
        simple, read_call = True, self._reader.read_call
        old = repeat(False) if too_old is None else too_old
        for raw, session, is_old in zip(received, sessions, old, strict=False):
            codec = _SINGLE[raw[0]] if raw else None
            if codec is not None:
                answer: Reply = read_call(raw, codec, session, is_old, batch)
            else:
                codec = codec_of(raw)
                batch.room = Room(DATAGRAM - codec.array_bytes, reasons) if codec.is_array(raw) else batch.room
                answer = self._reader.read(raw, codec, session, is_old, batch)
                batch.room = Room(DATAGRAM, reasons)
            answers.append(answer)
            if type(answer) is not bytes or len(answer) > DATAGRAM:
                simple = False
        self._messages = len(answers)
        rolled_back = self.end()
        if rolled_back is not None:
            self._roll_back(received, sessions, answers, rolled_back, batch.room)
        elif simple:
            return answers, None  # type: ignore[return-value]  # all are bytes
        return self._in_datagrams(received, answers, batch.room, senders, owed or DeferredCount())

    def _in_datagrams(
        self,
        received: Sequence[bytes],
        replies: Sequence[Reply],
        room: Room,
        senders: Senders | None,
        owed: DeferredCount,
    ) -> tuple[list[bytes], list[int] | None]:
        """Return the datagrams and their places, for replies of which some are arrays, absent or deferred."""
        answers: list[bytes] = []
        places: list[int] = []
        for place, (raw, reply) in enumerate(zip(received, replies, strict=False)):
            codec = codec_of(raw)

            def give(reply: Reply, place: int = place, codec: Codec = codec) -> None:
                if senders is not None:
                    senders.answer_later(place, in_datagrams(reply, codec, room))

            if not is_postponed(reply, codec, room, owed, give):
                several = in_datagrams(reply, codec, room)
                answers += several
                places += [place] * len(several)
        return answers, None if places == [*range(len(received))] else places

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

        They are one batch. ``broken`` is the error of the stream after these messages, or None. A message that
        cannot be parsed breaks the stream as well: the beginning of the next message is not known. ``late``
        receives each deferred answer, which counts in ``owed`` until then. Messages that are ``too_old`` are
        answered without a decision, except stops.
        """
        self.begin()
        batch = Batch(Room(ANY_SIZE, self._engine.settings.reasons), connected=True)
        answers: list[Reply] = []
        simple, read_call = True, self._reader.read_call
        for raw in messages:
            if raw and _SINGLE[raw[0]] is codec:
                answer: Reply = read_call(raw, codec, session, too_old, batch)
            else:
                answer = self._reader.read(raw, codec, session, too_old, batch)
            answers.append(answer)
            if type(answer) is bytes and not session.refused:
                continue
            simple = False
            if type(answer) is NotParsable or _is_too_many(session):
                broken = ""
                break
        self._messages = len(answers)
        rolled_back = self.end()
        if rolled_back is not None:
            self._roll_back(messages, repeat(session), answers, rolled_back, batch.room, codec)
        whole: list[bytes] = answers  # type: ignore[assignment]  # if all are bytes
        if not simple or rolled_back is not None:
            whole = self._in_one_piece(answers, codec, batch.room, late, owed or DeferredCount())
        if broken:
            error = codec.error(b"", PARSE_ERROR, f"not parsable: {broken}")
            whole.append(self._reader.report(error, codec, session.peer, session.host))
        return whole, broken is not None

    def _in_one_piece(
        self, replies: Sequence[Reply], codec: Codec, room: Room, late: LateAnswer, owed: DeferredCount
    ) -> list[bytes]:
        """Return the answers of a stream, for replies of which some are arrays, absent or deferred."""

        def give(reply: Reply) -> None:
            if (answer := in_one_piece(reply, codec)) is not None:
                late(answer)

        there = [reply for reply in replies if not is_postponed(reply, codec, room, owed, give)]
        return [answer for reply in there if (answer := in_one_piece(reply, codec)) is not None]

    def _roll_back(
        self,
        messages: Sequence[bytes],
        sessions: Iterable[Session],
        answers: list[Reply],
        rolled_back: RolledBack,
        room: Room,
        codec: Codec | None = None,
    ) -> None:
        """Replace the answers to calls that were rolled back."""
        again = self._reader.rejected_instead
        for place, (raw, session, answer) in enumerate(zip(messages, sessions, list(answers), strict=False)):
            one = codec or codec_of(raw)
            if isinstance(answer, list):
                items = zip(one.items(one.repaired(raw)), answer, strict=False)
                answers[place] = [again(item, one, session, old, rolled_back, room) for item, old in items]
            else:
                answers[place] = again(raw, one, session, answer, rolled_back, room)
        self.close()


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
