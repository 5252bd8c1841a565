"""Lets the engine decide the messages of known switches: the core of all protocols. No I/O.

A protocol reads a message into parameters, and writes the answer (:class:`Writer`). Between the two, the usual way
decides, or else the general way. Rule: a fault rejects its own call alone, also a fault of the writer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import EngineAnswer, EngineRequest, Method, RolledBack
from identengine.identify.explain import Explanation
from identengine.identify.template import Form
from identengine.model.reasons import ReasonTable
from identengine.model.records import CallList, CallRequest, Decision, Request
from identengine.wire.session import Peer, Session

MAX_EXPLAINS = 16
"""Largest number of explanations in a batch. Each can cost as much as a hundred decisions, and the others wait."""
MAX_CANDIDATES = 500
"""Number of candidates in a batch after which no further request is explained. They are most of the cost."""
ANY_SIZE = 1 << 62
"""The room of an answer in a stream, in bytes."""

Id = TypeVar("Id")
"""The type of the ids of messages: all that the answer needs from the message. An empty id gets no answer."""
Id_contra = TypeVar("Id_contra", contravariant=True)
UsualAnswer: TypeAlias = bytes | EncodedDecision | Decision | LegResult | None


class Room(NamedTuple):
    """The room for an answer."""

    bytes: int
    """Largest size of the answer, in bytes."""
    reasons: ReasonTable
    """The codes of the reject that replaces an answer which does not fit."""


class Later(NamedTuple):
    """An answer that is deferred."""

    message_id: Any
    """The id of the message; empty if no answer is due."""
    deferred: Deferred


Item: TypeAlias = bytes | Later | None
"""The answer to one message; None if it gets no answer."""


class Writer(Protocol[Id_contra]):
    """A writer of answers in the form of one protocol."""

    @property
    def form(self) -> Form:
        """The form in which the engine answers accepted calls."""

    def spliced(self, message_id: Id_contra, result: bytes, /) -> bytes:
        """Return an answer that accepts a call. ``result`` is encoded in :attr:`form`."""

    def done(self, message_id: Id_contra, result: LegResult, /) -> bytes:
        """Return the answer to a message of a call's life."""

    def overloaded(self, message_id: Id_contra, problem: str, /) -> bytes:
        """Return an error: the message is not decided now."""


W = TypeVar("W", bound=Writer[Any])


class Kind(NamedTuple):
    """A kind of messages, made by :meth:`Desk.kind`."""

    method: Method | Literal["ping"]
    usual: Callable[[Any, Asker, Any, Form], UsualAnswer] | None
    """The usual way of the method. None if it has none, or if the parameters may not be of the usual shape."""
    nothing: Request | CallList
    """The parameters of a message that has none."""
    takes_params: bool


class Batch:
    """The messages of one read: the room for their answers, and counts of costly messages."""

    __slots__ = ("candidates", "connected", "explains", "room", "wrong")

    def __init__(self, room: Room, *, connected: bool) -> None:
        self.connected = connected
        """True if the read was from a connection, False if it was datagrams."""
        self.room = room
        """The room for each answer."""
        self.explains = 0
        self.candidates = 0
        """Number of candidates that explanations of the batch have shown."""
        self.wrong: dict[Session, int] = {}
        """The number of wrong messages of each sender."""

    def count_wrong(self, session: Session) -> int:
        """Count a wrong message. Return the number of wrong messages of its sender."""
        count = self.wrong[session] = self.wrong.get(session, 0) + 1
        return count


class Desk(Generic[Id, W]):
    """Decides messages.

    ``decided`` returns the answer to any message that was decided, with a size that fits. ``on_reject`` is called
    for each rejected ``authorize``. ``on_too_old`` is called for each message that is dropped as too old.
    ``on_bad_parameter`` is called for each parameter that makes a life-cycle message useless.
    Without ``usual``, all messages take the general way.
    """

    def __init__(
        self,
        engine: Engine,
        decided: Callable[[W, Id, EngineAnswer, Room], Item],
        on_reject: Callable[[Asker, Request, Decision], None],
        on_too_old: Callable[[], None],
        on_bad_parameter: Callable[[Asker, BadParameter], None],
        *,
        usual: bool = True,
    ) -> None:
        self._engine, self._way, self._decided = engine, engine.usual, decided
        self._on_reject, self._on_too_old, self._on_bad_parameter = on_reject, on_too_old, on_bad_parameter
        self._usual: dict[str, Callable[..., UsualAnswer]] = {}
        if usual:
            way = self._way
            self._usual = {
                "authorize": way.authorize,
                "start": way.start,
                "update": way.update,
                "stop": way.stop,
            }
        """The usual way of each method that has one."""
        self._accepted: list[tuple[Item, Kind, Any, Id, Peer, W, Room, bytes | EncodedDecision]] = []
        """The calls that the usual way accepted in the current batch, with their answers."""
        self._accepted_generally: list[tuple[Item, EngineRequest, Id, W, Room]] = []
        """The calls that the general way accepted, with their answers and the ids of their messages."""

    def kind(self, method: Method | Literal["ping"], *, usual: bool) -> Kind:
        """Return a kind of messages. ``usual`` is True if their parameters are certainly of the usual shape."""
        takes_params = method not in ("ping", "switch_up", "switch_down")
        nothing: Request | CallList = Request()
        if method in ("start", "update", "stop"):
            nothing = CallRequest()
        elif method == "sync":
            nothing = CallList()
        return Kind(method, self._usual.get(method) if usual else None, nothing, takes_params)

    def decide(
        self, kind: Kind, params: Any, message_id: Id, peer: Peer, writer: W, too_old: bool, batch: Batch
    ) -> Item:
        """Return the answer to a message: by the usual way if it is sure, otherwise by the general way."""
        usual = kind.usual
        if usual is None or too_old or not message_id or params is None:
            return self._generally(kind, params, message_id, peer, writer, too_old, batch)
        self._way.batch.newest = None
        answer = ask = None
        try:
            answer = usual(params, peer.asker, peer.options, writer.form)
            if isinstance(answer, bytes):
                encoded = writer.spliced(message_id, answer)
                room = batch.room
                if len(encoded) <= room.bytes:
                    self._accepted.append((encoded, kind, params, message_id, peer, writer, room, answer))
                    return encoded
                answer = EncodedDecision(answer)
            elif type(answer) is LegResult:
                return writer.done(message_id, answer)
            elif answer is None:
                return self._generally(kind, params, message_id, peer, writer, too_old, batch)
            elif isinstance(answer, Decision):
                ask = _ask(kind, params, peer, writer)
                return self._answered(ask, self._engine.note(ask, answer), message_id, writer, batch)
            item = self._decided(writer, message_id, answer, batch.room)
            if type(answer) is EncodedDecision:
                self._accepted.append((item, kind, params, message_id, peer, writer, batch.room, answer))
            return item  # noqa: TRY300 - a fault in any of these lines rejects the call
        except Exception as fault:  # it rejects this call alone
            ask = ask or _ask(kind, params, peer, writer)
            if answer is not None and type(answer) is not Decision:
                self._way.uncount(ask, answer)
            if self._accepted and self._accepted[-1][2] is params:
                del self._accepted[-1]
            return self._answered(ask, self._engine.fault(ask, fault), message_id, writer, batch)

    def _generally(
        self, kind: Kind, params: Any, message_id: Id, peer: Peer, writer: W, too_old: bool, batch: Batch
    ) -> Item:
        """Return the answer to any message by the general way."""
        if too_old and kind.method != "stop" and not batch.connected:
            self._on_too_old()
            return None
        if kind.method == "explain":
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS or batch.candidates >= MAX_CANDIDATES:
                most = f"{MAX_EXPLAINS} requests for explain at once, or {MAX_CANDIDATES} candidates"
                what = f"more than {most}. Ask again later."
                return writer.overloaded(message_id, what) if message_id else None
        ask = _ask(kind, params, peer, writer)
        if too_old and kind.method != "stop":
            shed = self._engine.shed(ask)
            return self._decided(writer, message_id, shed, batch.room)
        try:
            return self._answered(ask, self._engine.answer(ask), message_id, writer, batch)
        except Exception as fault:  # the answer cannot be encoded or reported
            return self._answered(ask, self._engine.fault(ask, fault), message_id, writer, batch)

    def _answered(self, ask: EngineRequest, answer: EngineAnswer, message_id: Id, writer: W, batch: Batch) -> Item:
        """Return the answer of the engine as an answer to a message. Report what has to be logged."""
        if type(answer) is Decision:
            if not answer.accepted and ask.method == "authorize":
                self._on_reject(ask.asker, ask.request, answer)  # type: ignore[arg-type]  # the method's parameters
        elif type(answer) is Explanation:
            batch.candidates += len(answer.candidates)
        elif type(answer) is BadParameter:
            self._on_bad_parameter(ask.asker, answer)
        item = self._decided(writer, message_id, answer, batch.room)
        if type(answer) is EncodedDecision and ask.method == "authorize":
            self._accepted_generally.append((item, ask, message_id, writer, batch.room))
        return item

    def forget(self) -> None:
        """Record the accepted calls of a batch, and forget them, at its end."""
        record = self._engine.record
        if record is not None and record.records_accepted and self._accepted:
            record.accepted(
                [(peer.asker, params, answer) for _, _, params, _, peer, _, _, answer in self._accepted]
            )
        self._accepted.clear()
        self._accepted_generally.clear()

    def roll_back(self, rolled_back: RolledBack) -> dict[int, Item]:
        """Reject accepted calls of the batch. Return the rejects by the identity of the answers they replace."""
        asks = [
            (item, _ask(kind, params, peer, writer), message_id, writer, room, True)
            for item, kind, params, message_id, peer, writer, room, _ in self._accepted
        ]
        asks += [(*noted, False) for noted in self._accepted_generally]
        rejects: dict[int, Item] = {}
        for item, ask, message_id, writer, room, usual in asks:
            rejected = self._engine.reject_rolled_back(ask, rolled_back, usual=usual)
            if rejected is not None:
                self._on_reject(ask.asker, ask.request, rejected)  # type: ignore[arg-type]  # the method's parameters
                rejects[id(item)] = self._decided(writer, message_id, rejected, room)
        self._accepted = [call for call in self._accepted if id(call[0]) not in rejects]
        return rejects


def _ask(kind: Kind, params: Any, peer: Peer, writer: Writer[Any]) -> EngineRequest:
    """Return the request to the engine that a message makes."""
    asked = params if kind.takes_params and params is not None else kind.nothing
    return EngineRequest(kind.method, asked, peer.options, peer.asker, writer.form)  # type: ignore[arg-type]  # no ping is asked
