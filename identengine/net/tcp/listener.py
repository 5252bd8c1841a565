"""A listening TCP or Unix socket with its connections: it accepts them, closes idle ones, and drains all.

:mod:`identengine.net.tcp.connection` has the behaviour of one connection.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from identengine.config.readers import Endpoint
from identengine.config.schema import Limits
from identengine.net.access import Peers
from identengine.net.sockets import BACKLOG, endpoint_of
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.connection import PARTING, Connection
from identengine.net.tcp.peeks import host_of
from identengine.net.tcp.turns import Turns
from identengine.net.unix import peer_of
from identengine.wire.framing import Framings
from identengine.wire.session import Session

_CATCHING_UP = 1.0
"""Time after a pause of the loop in which reads may return data that waited in the kernel, in seconds."""
_SETTLING = 0.1
"""Longest wait for the rest of a message, or for a moment without new data, during a hand-over, in seconds."""

OnRefused: TypeAlias = Callable[[str, str, Sequence[str]], None]
"""Called for each refused connection: address of the peer, reason, and names in its certificate."""
Meet: TypeAlias = Callable[[Peers, asyncio.Transport], Session | None]
"""Returns the session of a connection, or None for an unknown peer."""


class StreamListener:
    """One listening socket and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        framings: Framings,
        quota: ConnectionQuota,
        on_refused: OnRefused,
        meet: Meet | None = None,
        turns: Turns | None = None,
    ) -> None:
        """Accept connections on ``bound``, a non-blocking socket.

        ``meet`` finds the session of a new connection, by default by its address. Listeners with the same
        ``turns`` decide the messages of their connections together.
        """
        self.peers = peers
        self.quota = quota
        self.framings = framings
        self.on_refused = on_refused
        self.turns = turns or Turns()
        self.connections: set[Connection] = set()
        self.strangers: dict[Connection, None] = {}
        self._meet = meet or by_address
        self._look: float | None = None
        self._last_look = self._late_until = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._socket = bound

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the socket, with the actual port."""
        return endpoint_of(self._socket)

    async def start(self) -> None:
        """Start serving."""
        loop = asyncio.get_running_loop()
        await self._accept(loop)
        self._sweep = loop.call_later(1.0, self._close_idle)

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start accepting connections."""
        make = loop.create_unix_server if self._socket.family == socket.AF_UNIX else loop.create_server
        self._server = await make(lambda: Connection(self), sock=self._socket, backlog=BACKLOG)

    def meet(self, transport: asyncio.Transport) -> Session | None:
        """Return the session of a connection, or None for an unknown peer."""
        return self._meet(self.peers, transport)

    def refuse(self, transport: asyncio.Transport, why: str) -> None:
        """Count and log a connection that is refused, unless its peer has left already."""
        host = "a process of this machine" if self._socket.family == socket.AF_UNIX else host_of(transport)
        if host:
            self.on_refused(host, why, self._names(transport))

    def _names(self, transport: asyncio.Transport) -> Sequence[str]:
        """Return the names in the certificate of a peer."""
        return ()

    def reconfigure(self, peers: Peers, limits: Limits) -> None:
        """Use other peers and limits. Close connections of switches that are no longer among the peers."""
        self.quota.limits = limits
        if peers is not self.peers:
            self.peers = peers
            for connection in list(self.connections):
                connection.reauthenticate()

    def make_room(self) -> bool:
        """Abort the oldest unauthenticated connection. Return True if there was one."""
        while self.strangers:
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            if oldest.give_way():
                return True
        return False

    def looked(self) -> float:
        """Return the time of the loop's last poll. Data that is read now had arrived then."""
        if self._look is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            if (now - self._last_look) * 1000 > self.quota.limits.datagram_age_ms:
                self._late_until = now + _CATCHING_UP
            self._look = self._last_look = now
            loop.call_soon(self._look_again)
        return self._look

    @property
    def late(self) -> bool:
        """True if reads paused for so long that data may have waited in the kernel."""
        return self._last_look < self._late_until

    def _look_again(self) -> None:
        self._look = None

    async def drain(self, deadline: float) -> None:
        """Stop accepting, answer all received messages, and close the connections.

        This lasts until ``deadline`` (the loop's time) at most. A connection ends when all its received messages
        are answered. If its peer never stops sending, that means all messages of the first half second.
        """
        loop = asyncio.get_running_loop()
        queue = select.poll()
        queue.register(self._socket, select.POLLIN)
        for _ in range(BACKLOG):
            if not queue.poll(0) or loop.time() >= deadline:
                break
            await asyncio.sleep(0.001)  # accept the connections that wait already
        self.close()
        await self.part(deadline)

    async def settle(self, deadline: float) -> None:
        """Stop accepting, and answer all received messages. :meth:`part` is the next step.

        Connections that are not accepted yet are left to another process that listens on the same socket. The wait
        is short, until ``deadline`` (the loop's time) at most, since no process decides meanwhile. A connection
        that still has unanswered messages then, because its peer does not read, is aborted.
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
        """Answer all received messages and close the connections, until ``deadline`` at most."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + PARTING
        while self.connections and (now := loop.time()) < deadline:
            for connection in list(self.connections):
                connection.drain(now, patient=now < patience)
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()

    def close(self) -> None:
        """Stop accepting connections."""
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


def by_address(peers: Peers, transport: asyncio.Transport) -> Session | None:
    """Return the session of a connection by its address alone."""
    host = host_of(transport)
    return peers.meet(host) if host else None


def trusted(peers: Peers, transport: asyncio.Transport) -> Session | None:
    """Return a session that may speak for any switch, or None for a process of another user."""
    permitted = peer_of(transport.get_extra_info("socket")).may_ask
    return peers.host("the HTTP process") if permitted else None
