"""JSON-RPC over TCP: what one read completes is one batch, one decision of the engine and one write.

Flow control is the kernel's: a peer that does not read its answers is not read from, so what it makes us hold is
bounded (``unread_bytes`` and the answers to one turn). A peer that sends much at once takes turns with the others:
what one turn does not answer waits, and nothing more is read from it meanwhile. A connection that completes no
message for ``idle_seconds`` is closed, whether it is silent or sends half a message for ever.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import termios
from collections import Counter, deque
from collections.abc import Callable
from typing import cast

from identengine.config import Limits
from identengine.configvalues import Endpoint
from identengine.net.peers import Peers
from identengine.net.sockets import BACKLOG, endpoint_of
from identengine.wire.jsonrpc import Owed, Peer, Responder
from identengine.wire.jsonstream import JsonStream

READ = 65536
"""Most bytes taken in one read."""
TURN = 32
TURN_BYTES = 16384
"""Messages of one connection that are answered in one turn of the loop, and their bytes (one message at least)."""
_LINGER = 5.0
"""Seconds that a closed connection's peer has for reading the last answers."""
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

    def refusal(self, peer: Peer) -> str | None:
        """Return why one more connection of this peer is not let in; None where it may come."""
        if self._per_switch.total() >= self.limits.connections:
            return "too many connections"
        if self._per_switch[peer.name] >= self.limits.connections_per_switch:
            return f"too many connections of {peer.name}"
        return None

    def enter(self, peer: Peer) -> None:
        """Count a connection."""
        self._per_switch[peer.name] += 1

    def leave(self, peer: Peer) -> None:
        """Count it no more."""
        self._per_switch[peer.name] -= 1
        if not self._per_switch[peer.name]:
            del self._per_switch[peer.name]


class TcpListener:
    """One listening socket and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: Responder,
        room: Room,
        on_refused: Callable[[str, str], None],
    ) -> None:
        """Take connections of ``bound``, a socket that does not block.

        ``on_refused`` is told of each connection that is not let in: the peer's address, and why.
        """
        self.peers = peers
        self.room = room
        self.responder = responder
        self.on_refused = on_refused
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._socket = bound

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the real port."""
        return endpoint_of(self._socket)

    async def start(self) -> None:
        """Serve from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self._socket, backlog=BACKLOG)
        self._sweep = loop.call_later(1.0, self._close_idle)

    def replace_peers(self, peers: Peers) -> None:
        """Go by other switches from now on; connections of those that are no longer among them are closed."""
        self.peers = peers
        for connection in list(self.connections):
            connection.find_peer()

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


class _Connection(asyncio.BufferedProtocol):
    """One peer's connection."""

    _transport: asyncio.Transport
    _peer: Peer | None = None

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._stream = JsonStream(listener.room.limits.message_bytes)
        self._host = ""
        self._queue: deque[bytes] = deque()
        """Messages that wait for their turn."""
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
        name = transport.get_extra_info("peername")
        self._host = name[0] if name else ""
        peer = listener.peers.find(self._host) if name else None
        refusal = listener.room.refusal(peer) if peer is not None else "unknown peer"
        if peer is None or refusal is not None:
            if name:  # else the peer is gone already
                listener.on_refused(self._host, refusal or "")
            self._transport.abort()
            return
        self._peer = peer
        self._since = asyncio.get_running_loop().time()
        self._transport.set_write_buffer_limits(high=listener.room.limits.unread_bytes)
        listener.connections.add(self)
        listener.room.enter(peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._peer is not None:
            self._listener.connections.discard(self)
            self._listener.room.leave(self._peer)
            self._peer = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to: all connections share it, since it is emptied before the next read."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read and answer it, as much as one turn allows."""
        if self._ending or self._peer is None:
            return
        self._queue.extend(self._stream.feed(bytes(_view[:nbytes])))
        if self._left is not None:
            self._left -= nbytes
        if not self._scheduled:
            self._turn()

    def eof_received(self) -> bool:
        """Answer half a message with an error, after all that is before it."""
        self._at_eof = True
        if not self._scheduled and not self._ending and self._peer is not None:
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
        if self._ending or self._unread or self._peer is None or self._transport.is_closing():
            return
        messages: list[bytes] = []
        size = 0
        while self._queue and len(messages) < TURN and size < TURN_BYTES:
            messages.append(self._queue.popleft())
            size += len(messages[-1])
        more = bool(self._queue)
        error = None if more else self._stream.error
        if not more and self._at_eof and self._stream.pending and error is None:
            error = "the stream ended within a message"
        if (messages or error is not None) and not self._answer(messages, self._peer, error):
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

    def _answer(self, messages: list[bytes], peer: Peer, error: str | None) -> bool:
        """Answer messages, and what is wrong after them; returns whether the connection goes on."""
        self._since = asyncio.get_running_loop().time()
        answers, broken = self._listener.responder.stream(messages, peer, error, self._answer_late, self._owed)
        if answers:
            self._transport.write(answers)
        if broken:
            self._end()
        return not broken

    def _answer_late(self, answer: bytes) -> None:
        """Write an answer that took its time, if there is anybody to read it still."""
        if self._transport.is_closing() or self._ending:
            return
        self._since = asyncio.get_running_loop().time()
        self._transport.write(answer)
        if not self._scheduled:
            self._turn()  # it may have been the last

    def find_peer(self) -> None:
        """Look the peer up again, since the switches have changed."""
        peer = self._listener.peers.find(self._host)
        if self._peer is None:
            return
        self._listener.room.leave(self._peer)
        if peer is None:
            self._listener.connections.discard(self)
            self._transport.abort()
        else:
            self._listener.room.enter(peer)
        self._peer = peer

    def close_if_idle(self, now: float) -> None:
        """Close what completed no message for too long; give up on a peer that does not take the end."""
        if self._ending:
            if now - self._since > _LINGER:
                self.abort()
        elif now - self._since > self._listener.room.limits.idle_seconds:
            if self._unread or self._transport.is_closing():  # the close of the last time got nowhere
                self.abort()
            else:
                self._transport.close()

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
            if not self._stream.pending or self._at_eof or self._peer is None:
                self._end()
            elif not patient:  # else the other half of a message may be under way
                self._answer([], self._peer, "the server ended within a message")
        elif not patient and self._left is None and not self._unread:
            self._left = waiting

    @property
    def settled(self) -> bool:
        """Whether nothing is decided for it any more."""
        return self._ending or self._peer is None or self._transport.is_closing()

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


def _waiting(transport: asyncio.Transport) -> int:
    """Return how many bytes wait in the kernel to be read."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is gone
        return 0
    return count[0]
