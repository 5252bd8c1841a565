"""JSON-RPC over connections: what one read completes is one batch, one decision of the engine and one write.

Flow control is the kernel's: a peer that does not read its answers is not read from, so what it makes us hold is
bounded (``unread_bytes`` and the answers to one turn). A peer that sends much at once takes turns with the others:
what one turn does not answer waits, and nothing more is read from it meanwhile. A connection that completes no
message for ``idle_seconds`` is closed, whether it is silent or sends half a message for ever. What waited for
longer than ``datagram_age_ms``, here or in the kernel, is shed: answered, but not decided (interfaces.md 3).
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import sys
import termios
import time
from collections import Counter, deque
from collections.abc import Callable
from operator import attrgetter
from typing import TypeAlias, cast

from identengine.config.readers import Endpoint
from identengine.config.schema import Limits
from identengine.net.access import Peers
from identengine.net.sockets import BACKLOG, endpoint_of
from identengine.wire.framing import Framer, framer_of
from identengine.wire.jsonrpc.responder import Owed, Responder
from identengine.wire.session import Visitor

READ = 65536
"""Most bytes taken in one read."""
TURN = 64
TURN_BYTES = 16384
"""Messages of one connection that are answered in one turn of the loop, and their bytes (one message at least).

What a switch has under way is one batch, as a rule; who sends more takes turns with the others.
"""
_LINGER = 5.0
"""Seconds that a closed connection's peer has for reading the last answers."""
_CATCHING_UP = 1.0
"""Seconds in which what waited in the kernel while nobody read is read."""
_TCP_INFO_SIZE = 56
_LAST_DATA = slice(52, 56)
"""Of ``struct tcp_info``: milliseconds since the newest data came."""
_INTRODUCTION = 10.0
"""Seconds in which a connection has to show which switch it is of, where addresses alone do not tell."""
_PARTING = 0.5
"""The same while draining, once all answers are with the kernel, which delivers them after our end too; and how
long a draining connection waits for a moment in which nothing more has come."""
_SETTLING = 0.1
"""How long a moment in which nothing more has come, or the other half of a message, is waited for while the set of
calls is handed over."""

_buffer = bytearray(READ)
_view = memoryview(_buffer)


class Room:
    """How many connections there are, of all listeners together, and how many there may be."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._per_switch: Counter[str] = Counter()

    def full(self, besides: int) -> str | None:
        """Return why no connection at all is let in where ``besides`` others are about to come; None if one is."""
        if self._per_switch.total() + besides >= self.limits.connections:
            return "too many connections"
        return None

    def refusal(self, switch: str) -> str | None:
        """Return why one more connection of this switch is not let in; None where it may come."""
        if self._per_switch.total() >= self.limits.connections:
            return "too many connections"
        if self._per_switch[switch] >= self.limits.connections_per_switch:
            return f"too many connections of {switch}"
        return None

    def enter(self, switch: str) -> None:
        """Count a connection."""
        self._per_switch[switch] += 1

    def leave(self, switch: str) -> None:
        """Count it no more."""
        self._per_switch[switch] -= 1
        if not self._per_switch[switch]:
            del self._per_switch[switch]


Meet: TypeAlias = Callable[[Peers, asyncio.Transport], Visitor | None]
"""Returns who is at the other end of a connection; None for an unknown peer."""


class StreamListener:
    """One listening socket and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: Responder,
        room: Room,
        on_refused: Callable[[str, str], None],
        meet: Meet | None = None,
    ) -> None:
        """Take connections of ``bound``, a socket that does not block.

        ``on_refused`` is told of each connection that is not let in: the peer's address, and why. ``meet``: how
        one finds out who comes; by default by the address.
        """
        self.peers = peers
        self.room = room
        self.responder = responder
        self.on_refused = on_refused
        self.connections: set[Connection] = set()
        self._meet = meet or by_address
        self._look: float | None = None
        self._last_look = self._late_until = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._socket = bound

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the real port."""
        return endpoint_of(self._socket)

    async def start(self) -> None:
        """Serve from now on."""
        loop = asyncio.get_running_loop()
        await self._accept(loop)
        self._sweep = loop.call_later(1.0, self._close_idle)

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let connections come."""
        make = loop.create_unix_server if self._socket.family == socket.AF_UNIX else loop.create_server
        self._server = await make(lambda: Connection(self), sock=self._socket, backlog=BACKLOG)

    def meet(self, transport: asyncio.Transport) -> Visitor | None:
        """Return who is at the other end; None for an unknown peer."""
        return self._meet(self.peers, transport)

    def reconfigure(self, peers: Peers, limits: Limits) -> None:
        """Go by these from now on; connections of switches that are no longer among them are closed."""
        self.peers = peers
        self.room.limits = limits
        for connection in list(self.connections):
            connection.meet_again()

    def make_room(self) -> bool:
        """End the connection on which nobody has shown himself for longest; returns whether there was one."""
        strangers = [one for one in self.connections if one.unknown]
        return bool(strangers) and min(strangers, key=attrgetter("since")).give_way()

    def looked(self) -> float:
        """Return when the loop looked at its sockets last: what is read now has been there since, at least."""
        if self._look is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            if (now - self._last_look) * 1000 > self.room.limits.datagram_age_ms:
                self._late_until = now + _CATCHING_UP
            self._look = self._last_look = now
            loop.call_soon(self._look_again)
        return self._look

    @property
    def late(self) -> bool:
        """Whether nothing was read for so long that what is read now may have waited in the kernel."""
        return self._last_look < self._late_until

    def _look_again(self) -> None:
        self._look = None

    async def drain(self, deadline: float) -> None:
        """Take no more connections, answer what came by now on those there are, and close them.

        Until ``deadline`` (the loop's time) at most. A connection ends as soon as all that came on it is answered;
        one whose peer never stops sending, when it has answered what had come after half a second of that.
        """
        loop = asyncio.get_running_loop()
        queue = select.poll()
        queue.register(self._socket, select.POLLIN)
        for _ in range(BACKLOG):
            if not queue.poll(0) or loop.time() >= deadline:
                break
            await asyncio.sleep(0.001)  # whoever is connected by now is accepted first
        self.close()
        await self.part(deadline)

    async def settle(self, deadline: float) -> None:
        """Take no more connections, and answer what came on those there are; :meth:`part` comes next.

        Whoever is connected and not accepted yet is left to another process that listens on the same socket. It
        waits shortly, until ``deadline`` (the loop's time) at most, since nobody decides meanwhile: a connection
        that still has anything to be answered then, as its peer does not read, is cut.
        """
        loop = asyncio.get_running_loop()
        self.close()
        patience = loop.time() + _SETTLING
        while (now := loop.time()) < deadline:
            for connection in list(self.connections):
                connection.drain(now, patient=now < patience)
            if all(connection.settled for connection in self.connections):
                return
            await asyncio.sleep(0.001)
        for connection in list(self.connections):
            if not connection.settled:
                connection.abort()

    async def part(self, deadline: float) -> None:
        """Answer what came on the connections there are and close them, until ``deadline`` at most."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + _PARTING
        while self.connections and (now := loop.time()) < deadline:
            for connection in list(self.connections):
                connection.drain(now, patient=now < patience)
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()

    def close(self) -> None:
        """Take no more connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        self._socket.close()

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            connection.close_if_idle(now)
        self._sweep = loop.call_later(1.0, self._close_idle)


class Connection(asyncio.BufferedProtocol):
    """One peer's connection."""

    _transport: asyncio.Transport
    _visitor: Visitor
    _framer: Framer | None = None
    """None: its first byte, which decides, did not come yet."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._counted: str | None = None
        """The switch as whose connection this counts; None where it was not let in, or is no more."""
        self._queue: deque[bytes] = deque()
        """Messages that wait for their turn."""
        self._arrived = 0.0
        """When what waits was read; in the loop's time."""
        self._scheduled = False
        """Whether a turn is to come; meanwhile nothing is read."""
        self._left: int | None = None
        """How many bytes are read still, where a drain has set a mark."""
        self._at_eof = False
        self._unread = False
        """Whether the peer leaves so many answers unread that it is not read from."""
        self._ending = False
        """Whether the last answer was given: what still comes is thrown away."""
        self._since = 0.0
        """When the last message was complete, or the ending began; in the loop's time."""
        self._owed = Owed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a peer of the config in, as long as there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        listener = self._listener
        visitor = listener.meet(self._transport)
        refusal = "unknown peer" if visitor is None else listener.room.refusal(_counted_as(visitor))
        if visitor is not None and refusal is not None and listener.make_room():
            refusal = listener.room.refusal(_counted_as(visitor))
        if visitor is None or refusal is not None:
            host = host_of(self._transport)
            if host:  # else the peer is gone already
                listener.on_refused(host, refusal or "")
            self._transport.abort()
            return
        self._visitor = visitor
        self._since = asyncio.get_running_loop().time()
        self._transport.set_write_buffer_limits(high=listener.room.limits.unread_bytes)
        listener.connections.add(self)
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._counted is not None:
            self._listener.connections.discard(self)
            self._listener.room.leave(self._counted)
            self._counted = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to: all connections share it, since it is emptied before the next read."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read and answer it, as much as one turn allows."""
        if self._ending or self._counted is None:
            return
        if self._framer is None:
            self._framer = framer_of(_view[0], self._listener.room.limits.message_bytes)
        if not self._queue:
            self._arrived = self._listener.looked()
            if self._listener.late:  # asking costs as much as a decision
                self._arrived = min(self._arrived, time.monotonic() - _age_of_newest(self._transport))
        self._queue.extend(self._framer.feed(bytes(_view[:nbytes])))
        if self._left is not None:
            self._left -= nbytes
        if not self._scheduled:
            self._turn()

    def eof_received(self) -> bool:
        """Answer half a message with an error, after all that is before it."""
        self._at_eof = True
        if not self._scheduled and not self._ending and self._counted is not None:
            self._turn()
        # What was written goes out, then the connection is closed; unless there is more to answer first.
        return self._scheduled or self._unread or self._owed.count > 0

    def pause_writing(self) -> None:
        """Stop answering and reading a peer that does not read."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._unread = False
        if not self._scheduled:
            self._turn()

    def _turn(self) -> None:
        """Answer what waits: so much of it that others are not kept waiting; the rest next time."""
        self._scheduled = False
        framer = self._framer
        if self._ending or self._unread or self._counted is None or self._transport.is_closing():
            return
        if framer is None:  # nothing came but the end
            self._end()
            return
        messages: list[bytes] = []
        size = 0
        while self._queue and len(messages) < TURN and size < TURN_BYTES:
            messages.append(self._queue.popleft())
            size += len(messages[-1])
        more = bool(self._queue)
        error = None if more else framer.error
        if not more and self._at_eof and framer.pending and error is None:
            error = "the stream ended within a message"
        if (messages or error is not None) and not self._answer(messages, framer, error):
            return
        if more:
            self._transport.pause_reading()
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._at_eof or (self._left is not None and self._left <= 0):
            if not self._owed.count:
                self._end()
        elif not self._unread:  # the answers may have been too many just now
            self._transport.resume_reading()

    def _answer(self, messages: list[bytes], framer: Framer, error: str | None) -> bool:
        """Answer messages, and what is wrong after them; returns whether the connection goes on."""
        listener, visitor = self._listener, self._visitor
        if visitor.introduced:  # who has not shown himself is not here for long, whatever he says
            self._since = asyncio.get_running_loop().time()
        too_old = (time.monotonic() - self._arrived) * 1000 > listener.room.limits.datagram_age_ms
        before = visitor.peer
        answers, broken = listener.responder.stream(
            messages, framer.codec, visitor, error, self._answer_late, self._owed, too_old=too_old
        )
        if answers:
            self._transport.write(b"".join(map(framer.frame, answers)))
        if visitor.peer is not before and not self._count():
            return False
        if broken:
            self._end()
        return not broken

    def _answer_late(self, answer: bytes) -> None:
        """Write an answer that took its time, if there is anybody to read it still."""
        if self._transport.is_closing() or self._ending or self._framer is None:
            return
        self._since = asyncio.get_running_loop().time()
        self._transport.write(self._framer.frame(answer))
        if not self._scheduled:
            self._turn()  # it may have been the last

    def meet_again(self) -> None:
        """Find out anew who this is, since the switches have changed; what it has shown counts still."""
        if self._counted is None:
            return
        visitor = self._listener.meet(self._transport)
        if visitor is None:
            self._transport.abort()
            return
        known = self._visitor.peer is not None
        self._visitor = self._visitor.met_again(visitor)
        if known and self._visitor.peer is None:  # its token is none any more
            self._transport.abort()
            return
        self._count(always=True)

    def _count(self, *, always: bool = False) -> bool:
        """Count the connection as that of who it is by now; returns whether it may stay, as it may ``always``."""
        room = self._listener.room
        switch = _counted_as(self._visitor)
        if self._counted is not None:
            room.leave(self._counted)
        refusal = None if always else room.refusal(switch)
        room.enter(switch)
        self._counted = switch
        if refusal is not None:
            self._listener.on_refused(self._visitor.host, refusal)
            self._end()
        return refusal is None

    def close_if_idle(self, now: float) -> None:
        """Close what completed no message for too long; give up on a peer that does not take the end."""
        if self._ending:
            if now - self._since > _LINGER:
                self.abort()
        elif now - self._since > self._patience():
            if self._unread or self._transport.is_closing():  # the close of the last time got nowhere
                self.abort()
            else:
                self._transport.close()

    def _patience(self) -> float:
        """Return how many seconds may pass without a message; it is short for who has not shown himself."""
        idle = self._listener.room.limits.idle_seconds
        return idle if self._visitor.introduced else min(idle, _INTRODUCTION)

    @property
    def unknown(self) -> bool:
        """Whether nobody has shown himself on it."""
        return self._counted is not None and not self._visitor.introduced

    @property
    def since(self) -> float:
        """When the last message of somebody known was complete, or it was made; in the loop's time."""
        return self._since

    def give_way(self) -> bool:
        """End if nobody has shown himself on this connection; returns whether there is room for another now."""
        if self._counted is None or not self.unknown:
            return False
        self._listener.room.leave(self._counted)
        self._listener.connections.discard(self)
        self._counted = None
        self._transport.abort()
        return True

    def drain(self, now: float, *, patient: bool) -> None:
        """End if all that came is answered; where that is never so, set a mark up to which it is read.

        Close once the last answers are with the kernel and the peer had its moment to close first.
        """
        if self._ending:
            if not self._transport.get_write_buffer_size() and now - self._since > _PARTING:
                self._transport.close()
            return
        waiting = _waiting(self._transport)
        if not waiting and not self._scheduled and not self._unread and not self._owed.count:
            framer = self._framer
            if framer is None or not framer.pending or self._at_eof or self._counted is None:
                self._end()
            elif not patient:  # else the other half of a message may be under way
                self._answer([], framer, "the server ended within a message")
        elif not patient and self._left is None and not self._unread:
            self._left = waiting

    @property
    def settled(self) -> bool:
        """Whether nothing is decided for it any more."""
        return self._ending or self._counted is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once, whatever was not sent yet."""
        self._transport.abort()

    def _end(self) -> None:
        """Say that no more answers come, and throw away what still arrives until the peer closes.

        To close with unread bytes in the kernel would reset the connection and lose the last answers.
        """
        self._queue.clear()
        self._since = asyncio.get_running_loop().time()
        if self._at_eof:
            self._transport.close()  # once the peer has taken what was written, in its own time
            return
        self._ending = True
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._transport.resume_reading()


def by_address(peers: Peers, transport: asyncio.Transport) -> Visitor | None:
    """Return who is at the other end, by its address alone."""
    host = host_of(transport)
    return peers.meet(host) if host else None


def trusted(peers: Peers, _: asyncio.Transport) -> Visitor:
    """Return one who may speak for any switch: only our own may connect there."""
    return peers.host("the front")


def host_of(transport: asyncio.Transport) -> str:
    """Return the address of the other end; empty where it is gone already."""
    name = transport.get_extra_info("peername")
    return name[0] if name else ""


def _counted_as(visitor: Visitor) -> str:
    return visitor.peer.name if visitor.peer is not None else visitor.host


def _waiting(transport: asyncio.Transport) -> int:
    """Return how many bytes wait to be read: in the kernel, or where TLS deciphers them."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is gone
        return 0
    undelivered: int = transport.get_extra_info("undelivered", 0)
    return count[0] + undelivered


def _age_of_newest(transport: asyncio.Transport) -> float:
    """Return for how many seconds the newest bytes of a connection have been here; 0 where nobody knows."""
    try:
        told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:  # no TCP, or gone
        return 0.0
    return int.from_bytes(told[_LAST_DATA], sys.byteorder) / 1000
