"""The responder of RADIUS (interfaces.md 5): datagrams in, replies out, in batches of the engine. No I/O.

A packet is decoded, proven by the secret of a switch at its source, and looked up among recent requests. Only
then the engine decides it. Rule: a packet that is not proven gets no reply. It is dropped, and its cause counted.

Replies leave when the batch is closed. Authorizations that the set of calls rolled back are rejected then.
Accounting gets a reply only after it was recorded, so that the switch repeats it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final, NamedTuple, get_args

from identengine.calls.backend import DONE
from identengine.engine.core import Engine
from identengine.engine.decisions import reject
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import RolledBack
from identengine.model.reasons import Reason
from identengine.model.records import CallRequest, Decision, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.batches import EngineBatches
from identengine.wire.deferred import DeferredCount, postpone
from identengine.wire.desk import Batch, Desk, Item, Kind, Later, Room
from identengine.wire.radius.duplicates import Duplicates
from identengine.wire.radius.mapping import RadiusMethod, bare
from identengine.wire.radius.messages import Message, Read
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    HEADER_BYTES,
    LONGEST_PACKET,
    STATUS_SERVER,
    Cause,
    PacketError,
    decode,
    values,
)
from identengine.wire.radius.switches import RadiusSwitches
from identengine.wire.radius.writer import RadiusWriter, decided
from identengine.wire.responder import Senders
from identengine.wire.session import Session

AUTHENTICATION: Final = frozenset((ACCESS_REQUEST, STATUS_SERVER))
"""Codes of the packets that the port for authentication serves."""
ACCOUNTING: Final = frozenset((ACCOUNTING_REQUEST, STATUS_SERVER))
"""Codes of the packets that the port for accounting serves."""
RESETS_BYTES = 1 << 20
"""Memory for recent Accounting-On and -Off, in bytes."""
_ACCT_SESSION_ID = 44
_ACCOUNTING_BYTE = bytes((ACCOUNTING_REQUEST,))
_USUAL_TYPES = (UsualRequest, UsualCallRequest)


class DroppedPacket(NamedTuple):
    """A packet that got no reply."""

    switches: Sequence[str]
    """The switches at its source."""
    host: str
    """The address of the peer."""
    cause: Cause


class Reports(NamedTuple):
    """Callbacks for what is counted and logged."""

    rejected: Callable[[Asker, Request, Decision], None]
    """Called for each rejected authorization."""
    too_old: Callable[[], None]
    """Called for each packet that is dropped as too old."""
    dropped: Callable[[DroppedPacket], None]
    """Called for each packet that is dropped for another cause."""
    bad_parameter: Callable[[Asker, BadParameter], None]
    """Called for each Accounting-Request that is useless because of a parameter."""
    duplicate: Callable[[], None]
    """Called for each packet that repeats a recent one."""


class RadiusResponder:
    """A responder that answers packets with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve. Without ``usual``, all requests take the
    general way.
    """

    def __init__(
        self,
        engine: Engine,
        batches: EngineBatches,
        uptime: Callable[[], float],
        reports: Reports,
        *,
        usual: bool = True,
    ) -> None:
        self._engine, self.batches, self._uptime, self._reports = engine, batches, uptime, reports
        self._desk: Desk[Message, RadiusWriter] = Desk(
            engine, decided, reports.rejected, reports.too_old, self._on_bad_parameter, usual=usual
        )
        methods = get_args(RadiusMethod)
        self._usual: dict[str, Kind] = {one: self._desk.kind(one, usual=True) for one in methods}
        self._general: dict[str, Kind] = {one: self._desk.kind(one, usual=False) for one in methods}
        self._writer = RadiusWriter(engine.settings.reasons)
        self._switches = RadiusSwitches()
        self._recent = Duplicates()
        """Replies by address, port, our port and header of the request (RFC 5080, section 2.2.2)."""
        self._resets = Duplicates(RESETS_BYTES)
        """Recent Accounting-On and -Off by switch, session and status: a repeat would free newer calls."""
        self._messages: list[Message] = []
        """The new requests of the current batch. The responder has joined the batch if there are any reads."""
        self._reads = 0
        self._wrong: BadParameter | None = None
        """The parameter that made the last accounting message useless."""

    # ---- a batch

    def authentication(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Implement :class:`identengine.wire.responder.DatagramResponder` for the port of authentication."""
        return self._respond(False, received, sessions, Read(senders, owed), too_old)

    def accounting(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Implement :class:`identengine.wire.responder.DatagramResponder` for the port of accounting."""
        return self._respond(True, received, sessions, Read(senders, owed), too_old)

    def _respond(
        self,
        accounting: bool,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        read: Read,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int]]:
        if not self._reads:
            self.batches.joined.append(self)
        self._reads += 1
        now = self._uptime()
        self._recent.expire(now)
        self._resets.expire(now)
        self._writer.use(self._engine.settings.reasons)
        batch = Batch(Room(LONGEST_PACKET, self._engine.settings.reasons), connected=False)
        old = repeat(False) if too_old is None else too_old
        for place, (raw, session, is_old) in enumerate(zip(received, sessions, old, strict=False)):
            try:
                self._read(raw, session, accounting, place, read, is_old, batch)
            except PacketError as error:
                names = [peer.name for peer in session.by_secret]
                self._reports.dropped(DroppedPacket(names, session.host, error.cause))
            except Exception as fault:  # of reading; a fault of a decision rejects its call
                self._engine.faults.append(fault)
        return read.answers, read.places

    def complete(self, rolled_back: RolledBack | None) -> None:
        """Implement :meth:`identengine.wire.batches.Participant.complete`."""
        messages, self._messages, self._reads = self._messages, [], 0
        try:
            rejects = {} if rolled_back is None else self._desk.roll_back(rolled_back)
            is_lost = rolled_back is not None and rolled_back.reason is Reason.INTERNAL_ERROR
            now = self._uptime()
            for message in messages:
                reply = message.reply
                if rejects:
                    reply = rejects.get(id(reply), reply)
                if is_lost and message.packet.code == ACCOUNTING_REQUEST:
                    reply = None  # what the batch changed is not certain
                if type(reply) is Later:
                    continue
                self._finish(message, reply if type(reply) is bytes else None, now)
                if type(reply) is bytes:
                    message.read.add(message.place, reply)
                    for other, place in message.repeats:
                        other.add(place, reply)
        finally:
            self._desk.forget()

    def _finish(self, message: Message, reply: bytes | None, now: float) -> None:
        """Keep the reply to a request, or forget a request that gets none."""
        for kept, key in ((self._recent, message.key), (self._resets, message.reset)):
            if key is not None:
                if reply is None:
                    kept.forget(key)
                else:
                    kept.finish(key, reply, now)

    # ---- a packet

    def _read(
        self,
        raw: bytes,
        session: Session,
        accounting: bool,
        place: int,
        read: Read,
        is_old: bool,
        batch: Batch,
    ) -> None:
        """Read one packet, and decide it if it is new. Raise PacketError if it gets no reply."""
        if is_old and raw[:1] != _ACCOUNTING_BYTE:
            self._reports.too_old()
            return
        packet = decode(raw)
        if packet.code not in (ACCOUNTING if accounting else AUTHENTICATION):
            raise PacketError(Cause.CODE)
        switch = self._switches.sender(packet, session)
        key = session.host, read.senders.port(place), accounting, raw[:HEADER_BYTES]
        known = self._recent.find(key)
        if known is not None:
            self._repeat(known, key, place, read)
            return
        message = Message(packet, switch, key, read, place)
        self._messages.append(message)
        self._recent.begin(key)
        if packet.code == ACCESS_REQUEST:
            message.reply = self._authorize(message, batch)
        elif packet.code == ACCOUNTING_REQUEST:
            message.reply = self._account(message, is_old, batch)
        elif self._engine.book is not None:  # without a book, a switch should ask another server
            message.reply = self._writer.alive(message, accounting=accounting)
        if type(message.reply) is Later:
            self._postpone(message, message.reply)

    def _repeat(self, known: bytes, key: object, place: int, read: Read) -> None:
        """Answer a repeated request as before. One that is being answered gets the reply when it is there."""
        self._reports.duplicate()
        if known:
            read.add(place, known)
            return
        for message in reversed(self._messages):
            if message.key == key:
                message.repeats = (*message.repeats, (read, place))
                return

    def _authorize(self, message: Message, batch: Batch) -> Item:
        switch = message.switch
        try:
            asked = switch.attributes.read(message.packet, switch.secret)
        except PacketError:
            raise
        except Exception as fault:
            self._engine.faults.append(fault)
            reasons, book = self._engine.settings.reasons, self._engine.book
            return decided(self._writer, message, reject(reasons, Reason.INTERNAL_ERROR, book, None), batch.room)
        return self._decide("authorize", asked.request, message, batch)

    def _account(self, message: Message, is_old: bool, batch: Batch) -> Item:
        """Decide an Accounting-Request. Its reply is None if it could not be recorded."""
        switch = message.switch
        method, request = switch.attributes.read(message.packet, switch.secret)
        if is_old and method != "stop":
            self._reports.too_old()
            return None
        if method is None:
            return self._writer.done(message, DONE)
        if method in ("switch_up", "switch_down"):
            return self._reset(method, request, message, batch)
        reply = self._decide(method, request, message, batch, is_old=is_old)
        wrong = self._last_wrong()
        if wrong is not None and method != "stop" and isinstance(request, CallRequest | UsualCallRequest):
            # Fields that cannot be used must not lose the report of a call that is held.
            reply = self._decide(method, bare(request), message, batch)
            wrong = self._last_wrong()
        if wrong is not None:
            self._reports.bad_parameter(switch.peer.asker, wrong)
        return reply

    def _reset(self, method: RadiusMethod, request: Request, message: Message, batch: Batch) -> Item:
        """Decide an Accounting-On or -Off, unless it repeats a recent one with another Acct-Delay-Time."""
        session = next(iter(values(message.packet, _ACCT_SESSION_ID)), b"")
        key = message.switch.peer.name, session, method
        known = self._resets.find(key)
        if known is not None:
            self._reports.duplicate()
            return self._writer.done(message, DONE) if known else None
        message.reset = key
        self._resets.begin(key)
        return self._decide(method, request, message, batch)

    def _decide(
        self, method: RadiusMethod, request: Request, message: Message, batch: Batch, *, is_old: bool = False
    ) -> Item:
        kinds = self._usual if type(request) in _USUAL_TYPES else self._general
        return self._desk.decide(kinds[method], request, message, message.switch.peer, self._writer, is_old, batch)

    def _postpone(self, message: Message, later: Later) -> None:
        """Reply when a deferred answer is complete."""

        def complete() -> None:
            if later.deferred.result is not None:
                reply = self._writer.done(message, later.deferred.result)
                self._finish(message, reply, self._uptime())
                message.read.senders.answer_later(message.place, [reply])

        postpone([later.deferred], message.read.owed, complete)

    def _last_wrong(self) -> BadParameter | None:
        """Return the parameter that made the last message useless, and forget it."""
        wrong, self._wrong = self._wrong, None
        return wrong

    def _on_bad_parameter(self, _: Asker, wrong: BadParameter) -> None:
        self._wrong = wrong
