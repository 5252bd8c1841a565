"""Lets the engine decide the messages of known switches (interfaces.md 3): the last step of reading. No I/O."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

from identengine.calls.backend import EncodedDecision, LegResult
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import EngineAnswer, EngineRequest, Method, RolledBack
from identengine.model.records import CallList, Decision, Request
from identengine.wire.jsonrpc.answers import Item, Room, decided, result
from identengine.wire.jsonrpc.codec import JSON, Codec
from identengine.wire.jsonrpc.malformed import reported
from identengine.wire.jsonrpc.messages import OVERLOADED, NoParams, Pong
from identengine.wire.jsonrpc.methods import CALLS, METHODS, USUAL_CALLS, Call
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Peer, Session

MAX_EXPLAINS = 16
"""Largest number of explanations in a batch. Each can cost as much as a hundred decisions, and the others wait."""

try:
    PROGRAM = f"identengine {version('identengine')}"
except PackageNotFoundError:  # run from a checkout that was never installed
    PROGRAM = "identengine"


class Batch:
    """The messages of one read: the room for their answers, and counts of costly messages."""

    __slots__ = ("connected", "explains", "room", "wrong")

    def __init__(self, room: Room, *, connected: bool) -> None:
        self.connected = connected
        """True if the read was from a connection, False if it was datagrams."""
        self.room = room
        """The room for each answer."""
        self.explains = 0
        self.wrong: dict[Session, int] = {}
        """The number of wrong messages of each sender."""

    def count_wrong(self, session: Session) -> int:
        """Count a wrong message. Return the number of wrong messages of its sender."""
        count = self.wrong[session] = self.wrong.get(session, 0) + 1
        return count


class Desk:
    """Decides messages. See :class:`identengine.wire.jsonrpc.responder.Responder` for the parameters."""

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        on_too_old: Callable[[], None],
        on_malformed: Callable[[MalformedMessage], None],
        *,
        usual: bool = True,
    ) -> None:
        self._engine, self._way, self._uptime = engine, engine.usual, uptime
        self._on_reject, self._on_too_old, self._on_malformed = on_reject, on_too_old, on_malformed
        self._usual: dict[type[Call], Callable[..., bytes | EncodedDecision | Decision | LegResult | None]] = {}
        if usual:
            way = self._way
            methods: dict[str, Callable[..., bytes | EncodedDecision | Decision | LegResult | None]]
            methods = {"authorize": way.authorize, "start": way.start, "update": way.update, "stop": way.stop}
            self._usual = {USUAL_CALLS[name]: method for name, method in methods.items()}
        """The usual way of each method that has one."""
        self._accepted: list[tuple[Item, Call, Peer, Codec, Room]] = []
        """The calls that the usual way accepted in the current batch, with their answers."""
        self._accepted_generally: list[tuple[Item, EngineRequest, bytes, Codec, Room]] = []
        """The calls that the general way accepted, with their answers and the ids of their messages."""

    def decide(self, call: Call, message_id: bytes, peer: Peer, codec: Codec, too_old: bool, batch: Batch) -> Item:
        """Return the answer to a message: by the usual way if it is sure, otherwise by the general way."""
        usual = self._usual.get(type(call))
        if usual is None or too_old or not message_id or call.params is None:
            return self._generally(call, message_id, peer, codec, too_old, batch)
        self._way.batch.newest = None
        answer = ask = None
        try:
            answer = usual(call.params, peer.asker, peer.options, codec.form)
            if type(answer) is LegResult:
                return codec.done(message_id, answer)
            if answer is None:
                return self._generally(call, message_id, peer, codec, too_old, batch)
            if type(answer) is Decision:
                ask = _ask(call, peer, codec)
                return self._answered(ask, self._engine.note(ask, answer), message_id, codec, batch)
            if isinstance(answer, bytes):
                encoded = codec.spliced(message_id, answer)
                if len(encoded) <= batch.room.bytes:
                    self._accepted.append((encoded, call, peer, codec, batch.room))
                    return encoded
                answer = EncodedDecision(answer)
            item = decided(codec, message_id, answer, batch.room)
            if type(answer) is EncodedDecision:
                self._accepted.append((item, call, peer, codec, batch.room))
            return item  # noqa: TRY300 - a fault in any of these lines rejects the call
        except Exception as fault:  # it rejects this call alone
            ask = ask or _ask(call, peer, codec)
            if answer is not None and type(answer) is not Decision:
                self._way.uncount(ask, answer)
            if self._accepted and self._accepted[-1][1] is call:
                del self._accepted[-1]
            return self._answered(ask, self._engine.fault(ask, fault), message_id, codec, batch)

    def _generally(
        self, call: Call, message_id: bytes, peer: Peer, codec: Codec, too_old: bool, batch: Batch
    ) -> Item:
        """Return the answer to any message by the general way."""
        kind = type(call)
        if too_old and kind not in _STOP and not batch.connected:
            self._on_too_old()
            return None
        if kind is _PING:
            return result(codec, message_id, self._pong()) if message_id else None
        if kind is _EXPLAIN:
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS:
                what = f"more than {MAX_EXPLAINS} requests for explain at once. Ask again later."
                return codec.error(message_id, OVERLOADED, what) if message_id else None
        ask = _ask(call, peer, codec)
        if too_old and kind not in _STOP:
            shed = self._engine.shed(ask)
            return result(codec, message_id, shed) if message_id else None
        try:
            return self._answered(ask, self._engine.answer(ask), message_id, codec, batch)
        except Exception as fault:  # the answer cannot be encoded or reported
            return self._answered(ask, self._engine.fault(ask, fault), message_id, codec, batch)

    def _answered(
        self, ask: EngineRequest, answer: EngineAnswer, message_id: bytes, codec: Codec, batch: Batch
    ) -> Item:
        """Return the answer of the engine as an answer to a message. Report what has to be logged."""
        if type(answer) is Decision:
            if not answer.accepted and ask.method == "authorize":
                self._on_reject(ask.asker, ask.request, answer)  # type: ignore[arg-type]  # the method's parameters
        elif type(answer) is BadParameter:
            reported(result(JSON, b"", answer), JSON, ask.asker, None, self._on_malformed)
        item = decided(codec, message_id, answer, batch.room)
        if type(answer) is EncodedDecision and ask.method == "authorize":
            self._accepted_generally.append((item, ask, message_id, codec, batch.room))
        return item

    def begin(self) -> None:
        """Begin a batch."""
        self._accepted.clear()
        self._accepted_generally.clear()

    def roll_back(self, rolled_back: RolledBack) -> dict[int, Item]:
        """Reject accepted calls of the batch. Return the rejects by the identity of the answers they replace."""
        asks = [
            (item, _ask(call, peer, codec), bytes(call.id), codec, room, True)
            for item, call, peer, codec, room in self._accepted
        ]
        asks += [(*noted, False) for noted in self._accepted_generally]
        rejects: dict[int, Item] = {}
        for item, ask, message_id, codec, room, usual in asks:
            rejected = self._engine.reject_rolled_back(ask, rolled_back, usual=usual)
            if rejected is not None:
                self._on_reject(ask.asker, ask.request, rejected)  # type: ignore[arg-type]  # the method's parameters
                rejects[id(item)] = decided(codec, message_id, rejected, room)
        return rejects

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())


_PING, _EXPLAIN = CALLS["ping"], CALLS["explain"]
_STOP = CALLS["stop"], USUAL_CALLS["stop"]


def _ask(call: Call, peer: Peer, codec: Codec) -> EngineRequest:
    """Return the request to the engine that a message makes."""
    method, nothing, takes_params = _ASKED[type(call)]
    params = call.params if takes_params and call.params is not None else nothing
    return EngineRequest(method, params, peer.options, peer.asker, codec.form)  # type: ignore[arg-type]  # the type fits the method


def _asked(method: Method) -> tuple[Method, Request | CallList, bool]:
    params = METHODS[method].params
    nothing = Request() if params is NoParams else params()
    assert isinstance(nothing, Request | CallList)  # noqa: S101 - for the type checker
    return method, nothing, params is not NoParams


_ASKED: dict[type[Call], tuple[Method, Request | CallList, bool]] = {
    kinds[method]: _asked(method) for method in get_args(Method) for kinds in (CALLS, USUAL_CALLS)
}
"""The method of each type of message, its parameters if a message has none, and True if it takes any."""
