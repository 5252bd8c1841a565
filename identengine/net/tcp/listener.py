"""A listening TCP or Unix socket and its connections: accepting, sweeping out idle ones, draining.

What one connection does is :mod:`identengine.net.tcp.connection`.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from operator import attrgetter
from typing import TypeAlias

from identengine.config.readers import Endpoint
from identengine.config.schema import Limits
from identengine.net.access import Peers
from identengine.net.sockets import BACKLOG, endpoint_of
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.connection import PARTING, Connection, host_of
from identengine.wire.framing import Framings
from identengine.wire.session import Session

_CATCHING_UP = 1.0
"""Seconds in which what waited in the kernel while nobody read is read."""
_SETTLING = 0.1
"""How long a moment in which nothing more has come, or the other half of a message, is waited for while the set of
calls is handed over."""

Meet: TypeAlias = Callable[[Peers, asyncio.Transport], Session | None]
"""Returns who is at the other end of a connection; None for an unknown peer."""


class StreamListener:
    """One listening socket and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        framings: Framings,
        quota: ConnectionQuota,
        on_refused: Callable[[str, str], None],
        meet: Meet | None = None,
    ) -> None:
        """Take connections of ``bound``, a socket that does not block.

        ``on_refused`` is told of each connection that is not let in: the peer's address, and why. ``meet``: how
        one finds out who comes; by default by the address.
        """
        self.peers = peers
        self.quota = quota
        self.framings = framings
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

    def meet(self, transport: asyncio.Transport) -> Session | None:
        """Return who is at the other end; None for an unknown peer."""
        return self._meet(self.peers, transport)

    def reconfigure(self, peers: Peers, limits: Limits) -> None:
        """Go by these from now on; connections of switches that are no longer among them are closed."""
        self.quota.limits = limits
        if peers is not self.peers:
            self.peers = peers
            for connection in list(self.connections):
                connection.reauthenticate()

    def make_room(self) -> bool:
        """End the connection on which nobody has shown himself for longest; returns whether there was one."""
        strangers = [one for one in self.connections if one.unknown]
        return bool(strangers) and min(strangers, key=attrgetter("since")).give_way()

    def looked(self) -> float:
        """Return when the loop looked at its sockets last: what is read now has been there since, at least."""
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
        patience = loop.time() + PARTING
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


def by_address(peers: Peers, transport: asyncio.Transport) -> Session | None:
    """Return who is at the other end, by its address alone."""
    host = host_of(transport)
    return peers.meet(host) if host else None


def trusted(peers: Peers, _: asyncio.Transport) -> Session:
    """Return one who may speak for any switch: only our own may connect there."""
    return peers.host("the HTTP process")
