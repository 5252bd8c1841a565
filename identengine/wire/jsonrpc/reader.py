"""Reads the messages of JSON-RPC and lets the engine answer them one by one (interfaces.md 3). No I/O.

A message of the expected shape costs one typed decoding. :mod:`identengine.wire.jsonrpc.errors` answers any other
message, and :mod:`identengine.wire.jsonrpc.unproven` the messages of peers that have shown no token.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import msgspec

from identengine.calls.backend import EncodedDecision, LegResult
from identengine.engine.core import Engine
from identengine.engine.lifecycle import BadParameter
from identengine.engine.requests import EngineAnswer, EngineRequest, Method, RolledBack
from identengine.engine.lifecycle import Asker
from identengine.errors import expected
from identengine.model.records import CallList, Decision, Request
from identengine.wire.jsonrpc.answers import DATAGRAM, Item, Room, decided, result
from identengine.wire.jsonrpc.auth import Authenticator, may_hold_token
from identengine.wire.jsonrpc.codec import JSON, UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.malformed import malformed
from identengine.wire.jsonrpc.messages import INTERNAL, INVALID_REQUEST, OVERLOADED, Credentials, NoParams, Pong
from identengine.wire.jsonrpc.methods import CALLS, METHODS, USUAL_CALLS, Call
from identengine.wire.jsonrpc.unproven import refusal, shows_token
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import UNPROVEN_BYTES, Peer, Session

MAX_BATCH = 1000
"""Largest number of messages in an array. Real requests fill a message earlier; empty ones do not."""
MAX_EXPLAINS = 16
"""Largest number of explanations in a batch. Each can cost as much as a hundred decisions, and the others wait."""

MAX_WRONG = 16
"""Number of wrong messages of a source in a batch after which the rest of an array is skipped: they cost time."""

try:
    PROGRAM = f"identengine {version('identengine')}"
except PackageNotFoundError:  # run from a checkout that was never installed
    PROGRAM = "identengine"


class Batch:
    """What the messages of one read share, and what is counted among them."""

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


class Reader:
    """Reads messages. See :class:`identengine.wire.jsonrpc.responder.Responder` for the parameters."""

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        on_wrong_token: Callable[[str], None],
        on_too_old: Callable[[], None],
        on_malformed: Callable[[MalformedMessage], None],
        on_withheld: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._uptime = uptime
        self._on_reject = on_reject
        self._auth = Authenticator(on_wrong_token)
        self._on_too_old = on_too_old
        self._on_malformed = on_malformed
        self._on_withheld = on_withheld
        usual = engine.usual
        self._ways: dict[type[Call], Callable[..., bytes | EncodedDecision | LegResult | None]] = {
            USUAL_CALLS["authorize"]: usual.authorize,
            USUAL_CALLS["start"]: usual.start,
            USUAL_CALLS["update"]: usual.update,
            USUAL_CALLS["stop"]: usual.stop,
        }
        """The usual way of each method that has one."""

    def read(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item | list[Item]:
        """Return the answer to a message, or the answers to the messages of an array."""
        if not codec.is_array(raw):
            return self.read_call(raw, codec, session, too_old, batch)
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
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
                return self.report(codec.not_parsable(fault), codec, session.peer, session.host)
            return self.read(repaired, codec, session, too_old, batch)
        if not 1 <= len(items) <= MAX_BATCH:
            what = f"{expected(f'an array of 1 to {MAX_BATCH} messages')}, got {len(items)}"
            return self.report(codec.error(b"", INVALID_REQUEST, what), codec, session.peer, session.host)
        return self._read_items(items, codec, session, too_old, batch)

    def _read_items(
        self, items: list[msgspec.Raw], codec: Codec, session: Session, too_old: bool, batch: Batch
    ) -> list[Item]:
        read: list[Item] = []
        for item in items:
            before = batch.wrong.get(session, 0)
            read.append(self.read_call(item, codec, session, too_old, batch))
            if batch.wrong.get(session, 0) > max(before, MAX_WRONG):
                what = f"the array has more than {MAX_WRONG} wrong messages; the messages after them were skipped"
                error = codec.error(b"", INVALID_REQUEST, what)
                read.append(self.report(error, codec, session.peer, session.host))
                break
        return read

    def read_call(self, raw: Bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item:
        """Return the answer to one message: check its form, its id, its sender and its age, then decide it."""
        if len(raw) > UNPROVEN_BYTES and self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        try:
            call = codec.usual(raw)
        except UNDECODED as fault:
            unusual = self._unusual(raw, codec) if isinstance(fault, msgspec.ValidationError) else None
            if unusual is None:
                return self._undecoded(bytes(raw), codec, session, too_old, batch)
            call = unusual
        kind = type(call)  # compared by identity below: isinstance is too slow here
        message_id = bytes(call.id)
        if message_id and not (
            (codec.number_begins[message_id[0]] and len(message_id) <= _SHORT) or codec.is_usable_id(message_id)
        ):
            return self._complaint(bytes(raw), codec, session, batch)
        if kind is _AUTH:
            return self._authenticate(call.params, raw, message_id, codec, session, batch)  # type: ignore[arg-type]  # _AUTH has Credentials
        peer = session.peer
        if session.checks_tokens and (peer is None or may_hold_token(raw)):
            peer = self._auth.peer_of(raw, codec, session)
        if peer is None:
            if session.is_unproven(connected=batch.connected):
                return self._refuse(bytes(raw), codec, session, batch)
            batch.count_wrong(session)
            error = self.report(self._auth.unknown(message_id, codec, session), codec, None, session.host)
            return error if message_id else None
        if too_old and kind not in _STOP and not batch.connected:
            self._on_too_old()
            return None
        if (way := self._ways.get(kind)) is not None and message_id and call.params is not None and not too_old:
            try:
                usual = way(call.params, peer.asker, peer.options, codec.form)
            except Exception as fault:
                ask = EngineRequest(_ASKED[kind][0], call.params, peer.options, peer.asker)  # type: ignore[arg-type]  # as below
                return self._decided(ask, self._engine.fault(ask, fault), message_id, codec, batch)
            if type(usual) is bytes:
                encoded = codec.spliced(message_id, usual)
                return (
                    encoded
                    if len(encoded) <= batch.room.bytes
                    else decided(codec, message_id, EncodedDecision(usual), batch.room)
                )
            if usual is not None:
                return decided(codec, message_id, usual, batch.room)
        if kind is _PING:
            return result(codec, message_id, self._pong()) if message_id else None
        if kind is _EXPLAIN:
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS:
                what = f"more than {MAX_EXPLAINS} requests for explain at once. Ask again later."
                return codec.error(message_id, OVERLOADED, what) if message_id else None
        method, nothing, takes_params = _ASKED[kind]
        params = call.params if takes_params and call.params is not None else nothing
        ask = EngineRequest(method, params, peer.options, peer.asker, codec.form)  # type: ignore[arg-type]  # the type fits the method
        if too_old and kind not in _STOP:
            shed = self._engine.shed(ask)
            return result(codec, message_id, shed) if message_id else None
        return self._decided(ask, self._engine.answer(ask), message_id, codec, batch)

    def _decided(
        self, ask: EngineRequest, answer: EngineAnswer, message_id: bytes, codec: Codec, batch: Batch
    ) -> Item:
        """Return the answer of the engine as an answer to a message. Report what has to be logged."""
        if type(answer) is Decision:
            if not answer.accepted and ask.method == "authorize":
                self._on_reject(ask.asker, ask.request, answer)  # type: ignore[arg-type]  # the method's parameters
        elif type(answer) is BadParameter:
            self.report(result(JSON, b"", answer), JSON, ask.asker, None)
        return decided(codec, message_id, answer, batch.room)

    @staticmethod
    def _unusual(raw: Bytes, codec: Codec) -> Call | None:
        """Return a message whose parameters are not of the usual shape, or None if it is not a message."""
        try:
            return codec.call(raw)
        except UNDECODED:
            return None

    def rejected_instead(
        self, raw: Bytes, codec: Codec, session: Session, answer: Item, rolled_back: RolledBack, room: Room
    ) -> Item:
        """Return the answer to a message again, after calls that were accepted have been rolled back.

        It is the same one, except for a call that was rolled back.
        """
        try:
            call = codec.call(raw)
        except UNDECODED:
            repaired = codec.repaired(bytes(raw))
            if repaired == raw:
                return answer
            return self.rejected_instead(repaired, codec, session, answer, rolled_back, room)
        peer = session.peer
        if type(call) not in _AUTHORIZE or call.params is None:
            return answer
        if session.checks_tokens and (peer is None or may_hold_token(raw)):
            peer = self._auth.peer_of(raw, codec, session)
        if peer is None:
            return answer
        ask = EngineRequest("authorize", call.params, peer.options, peer.asker, codec.form)  # type: ignore[arg-type]  # _AUTHORIZE has a Request
        rejected = self._engine.reject_rolled_back(ask, rolled_back)
        if rejected is None:
            return answer
        self._on_reject(peer.asker, call.params, rejected)  # type: ignore[arg-type]  # as above
        return decided(codec, bytes(call.id), rejected, room)

    def _authenticate(
        self,
        params: Credentials | None,
        raw: Bytes,
        message_id: bytes,
        codec: Codec,
        session: Session,
        batch: Batch,
    ) -> bytes | None:
        """Return the answer to ``auth``, or None if it has no id."""
        if not batch.connected and self._is_unproven(raw, codec, session, batch):
            return self._refuse(bytes(raw), codec, session, batch)
        error = self._auth.authenticate(params, message_id, codec, session, connected=batch.connected)
        if error is None:
            return codec.answered(message_id, LegResult(True)) if message_id else None
        batch.count_wrong(session)
        session.refused += 1
        self.report(error, codec, session.peer, session.host)
        return error if message_id else None

    def _is_unproven(self, raw: Bytes, codec: Codec, session: Session, batch: Batch) -> bool:
        """Return True if a message is from an unproven peer, and shows no right token. Count a wrong token."""
        if not session.is_unproven(connected=batch.connected):
            return False
        shown = shows_token(codec, raw, session)
        if shown is False:
            self._auth.on_wrong_token(session.host)
        return not shown

    def _refuse(self, raw: Bytes, codec: Codec, session: Session, batch: Batch) -> bytes | None:
        """Return the answer to a message from an unproven peer without a right token."""
        session.refused += 1
        batch.count_wrong(session)
        found = refusal(bytes(raw), codec, None if batch.connected else min(len(raw), DATAGRAM))
        self._on_malformed(MalformedMessage(None, session.host, found.code, found.problem, "token"))
        if found.withheld:
            self._on_withheld(session.host)
        return found.answer

    def _undecoded(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item:
        """Read a message that is not of the expected shape."""
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        repaired = codec.repaired(raw)
        if repaired == raw:
            if too_old and not batch.connected:
                self._on_too_old()
                return None
            return self._complaint(raw, codec, session, batch)
        return self.read_call(repaired, codec, session, too_old, batch)

    def _complaint(self, raw: bytes, codec: Codec, session: Session, batch: Batch) -> bytes | None:
        """Return the error that answers a wrong message, so that the other messages of the batch are answered."""
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        suggests = batch.count_wrong(session) <= MAX_WRONG
        try:
            error, due = complaint(raw, codec, suggests=suggests)
        except Exception as fault:  # for example a value nested almost as deep as the stack
            self._engine.faults.append(fault)
            return codec.error(b"", INTERNAL, "internal error. The server's log has the details.")
        self.report(error, codec, self._auth.supposed(raw, codec, session), session.host)
        return error if due else None

    def report(self, error: bytes, codec: Codec, sender: Peer | Asker | None, host: str | None) -> bytes:
        """Report a malformed message by its error, an encoded answer. Return the error."""
        if (found := malformed(error, codec, sender, host)) is not None:
            self._on_malformed(found)
        return error

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())


_AUTH, _PING, _EXPLAIN = (CALLS[name] for name in ("auth", "ping", "explain"))
_STOP, _AUTHORIZE = ((CALLS[name], USUAL_CALLS[name]) for name in ("stop", "authorize"))


def _asked(method: Method) -> tuple[Method, Request | CallList, bool]:
    params = METHODS[method].params
    nothing = Request() if params is NoParams else params()
    assert isinstance(nothing, Request | CallList)  # noqa: S101 - for the type checker
    return method, nothing, params is not NoParams


_ASKED: dict[type[Call], tuple[Method, Request | CallList, bool]] = {
    kinds[method]: _asked(method) for method in get_args(Method) for kinds in (CALLS, USUAL_CALLS)
}
"""The method of each type of message, its parameters if a message has none, and True if it takes any."""
_SHORT = 20
"""Longest id, in bytes, of which only the first byte is checked if it is an integer."""
