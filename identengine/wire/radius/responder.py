"""The responder of RADIUS (interfaces.md 5): datagrams in, replies out, in batches of the engine. No I/O.

A packet is decoded, proven by the secret of a switch at its source, and looked up among recent requests. Only
then the engine decides it. Rule: a packet that is not proven gets no reply. It is dropped, and its cause counted.

Replies leave when the batch is closed. Authorizations that the set of calls rolled back are rejected then.
Accounting gets a reply only after it was recorded, so that the switch repeats it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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
_KEYS = frozenset(("call_id", "leg_id", "direction"))
"""The fields without which a report names no call."""
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
        methods: tuple[RadiusMethod, ...] = get_args(RadiusMethod)
        self._kinds: dict[tuple[RadiusMethod, bool], Kind] = {
            (one, usual): self._desk.kind(one, usual=usual) for one in methods for usual in (False, True)
        }
        """The kinds of requests, by method, and by True for requests of the usual shape."""
        self._writer = RadiusWriter(engine.settings.reasons)
        self._switches = RadiusSwitches()
        self._recent: Duplicates[Message] = Duplicates()
        """Replies by address, port, our port and header of the request (RFC 5080, section 2.2.2)."""
        self._resets: Duplicates[Message] = Duplicates(RESETS_BYTES)
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
        return self._respond(received, sessions, self._begin(senders, owed, accounting=False), too_old)

    def accounting(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int] | None]:
        """Implement :class:`identengine.wire.responder.DatagramResponder` for the port of accounting."""
        return self._respond(received, sessions, self._begin(senders, owed, accounting=True), too_old)

    def _begin(self, senders: Senders, owed: DeferredCount, *, accounting: bool) -> Read:
        """Return the replies of a read, and join the batch with the first read."""
        if not self._reads:
            self.batches.joined.append(self)
            now, reasons = self._uptime(), self._engine.settings.reasons
            self._recent.expire(now)
            self._resets.expire(now)
            self._writer.use(reasons)
        self._reads += 1
        batch = Batch(Room(LONGEST_PACKET), connected=False)
        return Read(senders, owed, batch, accounting=accounting)

    def _respond(
        self, received: Sequence[bytes], sessions: Sequence[Session], read: Read, too_old: Sequence[bool] | None
    ) -> tuple[list[bytes], list[int]]:
        old = repeat(False) if too_old is None else too_old
        for place, (raw, session, is_old) in enumerate(zip(received, sessions, old, strict=False)):
            try:
                self._read(raw, session, read, place, is_old)
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
            done: dict[Hashable, bytes] = {}
            for message in messages:
                reply = message.reply
                if rejects:
                    reply = rejects.get(id(reply), reply)
                if is_lost and message.packet.code == ACCOUNTING_REQUEST:
                    reply = None  # what the batch changed is not certain
                if type(reply) is Later:
                    continue
                encoded = reply if type(reply) is bytes else None
                if encoded is None:
                    self._recent.forget(message.key)
                else:
                    done[message.key] = encoded
                    message.read.add(message.place, encoded)
                    for other, place in message.repeats:
                        other.add(place, encoded)
                if message.reset is not None:
                    self._finish_reset(message.reset, encoded)
            self._recent.keep(done, self._uptime())
        except Exception:  # no reply leaves, so repeats must be decided again
            for message in messages:
                self._recent.forget(message.key)
                if message.reset is not None:
                    self._resets.forget(message.reset)
            raise
        finally:
            self._desk.forget()

    def _finish_reset(self, key: Hashable, reply: bytes | None) -> None:
        """Keep the reply to an Accounting-On or -Off, or forget one that gets none."""
        if reply is None:
            self._resets.forget(key)
        else:
            self._resets.keep({key: reply}, self._uptime())

    # ---- a packet

    def _read(self, raw: bytes, session: Session, read: Read, place: int, is_old: bool) -> None:
        """Read one packet, and decide it if it is new. Raise PacketError if it gets no reply."""
        if is_old and raw[:1] != _ACCOUNTING_BYTE:
            self._reports.too_old()
            return
        packet = decode(raw)
        code = packet.code
        if code not in (ACCOUNTING if read.accounting else AUTHENTICATION):
            raise PacketError(Cause.CODE)
        switch = self._switches.sender(packet, session)
        key = session.host, read.ports[place], read.accounting, raw[:HEADER_BYTES]
        message = Message(packet, switch, key, read, place)
        known = self._recent.claim(key, message)
        if known is not message:
            self._repeat(known, read, place)
            return
        self._messages.append(message)
        if code == ACCESS_REQUEST:
            message.reply = self._authorize(message)
        elif code == ACCOUNTING_REQUEST:
            message.reply = reply = self._account(message, is_old)
            if type(reply) is Later:
                self._postpone(message, reply)
        elif self._engine.book is not None:  # without a book, a switch should ask another server
            message.reply = self._writer.alive(message, accounting=read.accounting)

    def _repeat(self, known: bytes | Message, read: Read, place: int) -> None:
        """Answer a repeated request as before. One that this batch decides gets the reply at its end."""
        self._reports.duplicate()
        if isinstance(known, bytes):
            read.add(place, known)
        else:
            known.repeats = (*known.repeats, (read, place))

    def _authorize(self, message: Message) -> Item:
        switch = message.switch
        try:
            asked = switch.attributes.read(message.packet, switch.secret)
        except PacketError:
            raise
        except Exception as fault:
            self._engine.faults.append(fault)
            reasons, book = self._engine.settings.reasons, self._engine.book
            rejected = reject(reasons, Reason.INTERNAL_ERROR, book, None)
            return decided(self._writer, message, rejected, message.read.batch.room)
        return self._decide("authorize", asked.request, message, is_old=False)

    def _account(self, message: Message, is_old: bool) -> Item:
        """Decide an Accounting-Request. Its reply is None if it could not be recorded."""
        switch = message.switch
        method, request = switch.attributes.read(message.packet, switch.secret)
        if is_old and method != "stop":
            self._reports.too_old()
            return None
        if method is None:
            return self._writer.done(message, DONE)
        if method in ("switch_up", "switch_down"):
            return self._reset(method, request, message)
        reply = self._decide(method, request, message, is_old=is_old)
        wrong = self._last_wrong()
        if (
            wrong is not None
            and wrong.field not in _KEYS
            and method != "stop"
            and isinstance(request, CallRequest | UsualCallRequest)
        ):
            # Fields that cannot be used must not lose the report of a call that is held.
            reply = self._decide(method, bare(request), message, is_old=False)
            wrong = self._last_wrong() or (wrong if message.is_unknown else None)
        if wrong is not None:
            self._reports.bad_parameter(switch.peer.asker, wrong)
        return reply

    def _reset(self, method: RadiusMethod, request: Request, message: Message) -> Item:
        """Decide an Accounting-On or -Off, unless it repeats a recent one with another Acct-Delay-Time."""
        session = next(iter(values(message.packet, _ACCT_SESSION_ID)), b"")
        key = message.switch.peer.name, session, method
        known = self._resets.claim(key, message)
        if known is not message:
            self._reports.duplicate()
            return self._writer.done(message, DONE) if isinstance(known, bytes) else None
        message.reset = key
        return self._decide(method, request, message, is_old=False)

    def _decide(self, method: RadiusMethod, request: Request, message: Message, *, is_old: bool) -> Item:
        kind = self._kinds[method, type(request) in _USUAL_TYPES]
        peer, batch = message.switch.peer, message.read.batch
        return self._desk.decide(kind, request, message, peer, self._writer, is_old, batch)

    def _postpone(self, message: Message, later: Later) -> None:
        """Reply when a deferred answer is complete."""

        def complete() -> None:
            if later.deferred.result is not None:
                reply = self._writer.done(message, later.deferred.result)
                self._recent.keep({message.key: reply}, self._uptime())
                if message.reset is not None:
                    self._finish_reset(message.reset, reply)
                message.read.senders.answer_later(message.place, [reply])

        postpone([later.deferred], message.read.owed, complete)

    def _last_wrong(self) -> BadParameter | None:
        """Return the parameter that made the last message useless, and forget it."""
        wrong, self._wrong = self._wrong, None
        return wrong

    def _on_bad_parameter(self, _: Asker, wrong: BadParameter) -> None:
        self._wrong = wrong
