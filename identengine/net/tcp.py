"""JSON-RPC over TCP: what is complete in one read is one batch, one decision of the engine and one write.

Flow control is the kernel's: a peer that does not read its answers is not read from, so what it makes us hold is
bounded (``unread_bytes`` and the answers to one read). A connection that completes no message for
``idle_seconds`` is closed, whether it is silent or sends half a message for ever.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import termios
from collections import Counter
from collections.abc import Callable
from typing import cast

from identengine.config import Limits
from identengine.configvalues import Endpoint
from identengine.net.peers import Peers
from identengine.wire.jsonrpc import Peer, Responder
from identengine.wire.jsonstream import JsonStream

READ = 65536
"""Most bytes taken in one read, so that one peer's flood is decided in steps of some milliseconds."""
_BACKLOG = 1024
_LINGER = 5.0
"""Seconds that a closed connection's peer has for reading the last answers."""

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
        endpoint: Endpoint,
        peers: Peers,
        responder: Responder,
        room: Room,
        on_refused: Callable[[str, str], None],
    ) -> None:
        """Bind the socket; OSError where that cannot be.

        ``on_refused`` is told of each connection that is not let in: the peer's address, and why.
        """
        self.peers = peers
        self.room = room
        self.responder = responder
        self.on_refused = on_refused
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            # A restart must not wait until the connections of the last run are forgotten.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((endpoint.host, endpoint.port))
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the real port."""
        host, port = self._socket.getsockname()[:2]
        return Endpoint(host, port)

    async def start(self) -> None:
        """Serve from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self._socket, backlog=_BACKLOG)
        self._sweep = loop.call_later(1.0, self._close_idle)

    def replace_peers(self, peers: Peers) -> None:
        """Go by other switches from now on; connections of those that are no longer among them are closed."""
        self.peers = peers
        for connection in list(self.connections):
            connection.find_peer()

    async def drain(self, deadline: float) -> None:
        """Take no more connections, answer what came on those there are, and close them.

        Until ``deadline`` (the loop's time) at most. A connection ends when everything it brought was read and
        answered; its peer then sees the end of the stream and has what is left of the time for reading.
        """
        loop = asyncio.get_running_loop()
        queue = select.poll()
        queue.register(self._socket, select.POLLIN)
        while loop.time() < deadline:
            if not queue.poll(0):
                break
            await asyncio.sleep(0.001)  # whoever is connected by now is accepted first
        self.close()
        while self.connections and loop.time() < deadline:
            for connection in list(self.connections):
                connection.finish_if_drained()
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
        self._unread = False
        """Whether the peer leaves so many answers unread that it is not read from."""
        self._ending = False
        """Whether the last answer was given: what still comes is thrown away."""
        self._since = 0.0
        """When the last message was complete, or the ending began; in the loop's time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a peer of the config in, as long as there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        listener = self._listener
        name = transport.get_extra_info("peername")
        self._host = name[0] if name else ""
        peer = listener.peers.find(self._host) if name else None
        refusal = listener.room.refusal(peer) if peer is not None else "unknown peer"
        if peer is None or refusal is not None:
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
        """Answer what this read completed."""
        if self._ending or self._peer is None:
            return
        messages = self._stream.feed(bytes(_view[:nbytes]))
        error = self._stream.error
        if messages or error is not None:
            self._since = asyncio.get_running_loop().time()
            answers, broken = self._listener.responder.stream(messages, self._peer, error)
            if answers:
                self._transport.write(answers)
            if broken:
                self._end()

    def eof_received(self) -> bool:
        """Answer half a message with an error; all before it is answered already."""
        if self._stream.pending and not self._ending and self._peer is not None:
            answers, _ = self._listener.responder.stream([], self._peer, "the stream ended within a message")
            self._transport.write(answers)
        return False  # what was written goes out, then the connection is closed

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._unread = False
        self._transport.resume_reading()

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

    def finish_if_drained(self) -> None:
        """End the connection if nothing that the peer sent waits in the kernel."""
        if not self._ending and not self._unread and _waiting(self._transport) == 0:
            self._end()

    def abort(self) -> None:
        """Close at once, whatever was not sent yet."""
        self._transport.abort()

    def _end(self) -> None:
        """Say that no more answers come, and throw away what still arrives until the peer closes.

        To close with unread bytes in the kernel would reset the connection and lose the last answers.
        """
        self._ending = True
        self._since = asyncio.get_running_loop().time()
        if not self._transport.is_closing():
            self._transport.write_eof()


def _waiting(transport: asyncio.Transport) -> int:
    """Return how many bytes wait in the kernel to be read."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is gone
        return 0
    return count[0]
