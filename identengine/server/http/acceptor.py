"""Takes connections from the listening socket, as many as there is room for, and ends them in good order.

uvicorn's own way of listening has no bound on connections that do not ask, nor on handshakes of TLS: each of those
holds a quarter of a megabyte. Here a connection counts from the moment it is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from uvicorn.config import Config
from uvicorn.server import ServerState

from identengine.config.schema import Limits
from identengine.server.http.connection import Connection, whole_answer

HANDSHAKE_SECONDS = 5.0
_ACCEPT = 16
"""Connections taken in one turn of the loop."""
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.2
"""Seconds after which one looks again where the system has no room."""
_QUIET = 0.02
"""Seconds for what a client has sent by now to be read, while ending."""
_CATCHING_UP = 1.0
"""Most seconds that are given for it where there is more than that to do."""
_NO_ROOM = whole_answer(503, "Service Unavailable", "too many connections; try again in a moment")


class Refusal(NamedTuple):
    """Why a connection is not let in."""

    counted: Literal["unknown_peer", "too_many", "too_many_of_switch"]
    """One of :data:`identengine.stats.registry.REFUSED`."""
    said: str


_UNKNOWN_PEER = Refusal("unknown_peer", "neither this machine nor a trusted proxy")
_TOO_MANY = Refusal("too_many", "too many connections")
_TOO_MANY_OF_ADDRESS = Refusal("too_many_of_switch", "too many connections from one address")


class Acceptor:
    """The listening socket and its connections. What is public may be replaced at any time."""

    def __init__(
        self, bound: socket.socket, config: Config, limits: Limits, context: ssl.SSLContext | None
    ) -> None:
        self.limits = limits
        self.context = context
        """TLS is spoken where there is one."""
        self.admits: Callable[[str], bool] = lambda _: True
        """Whether an address may connect at all."""
        self.shares: Callable[[str], bool] = lambda _: False
        """Whether many clients come from an address, as from a proxy: then it has no limit of its own."""
        self.on_refused: Callable[[str, Refusal], None] = lambda *_: None
        self.state = ServerState()
        self._socket = bound
        self._config = config
        self._open: Counter[str] = Counter()
        self._empty = asyncio.Event()
        """Whether there are no connections."""
        self._empty.set()
        self._arriving: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Take connections from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(_ACCEPT):
            try:
                taken, address = self._socket.accept()
            except OSError as error:  # none is there, or it is gone by now
                if error.errno in _FULL:  # it would be told again at once
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._socket)
                    loop.call_later(_PAUSE, self._again)
                return
            self._admit(taken, address[0])

    def _again(self) -> None:
        if self._socket.fileno() >= 0:
            self.open()

    def _admit(self, taken: socket.socket, host: str) -> None:
        taken.setblocking(False)
        refusal = self._refusal(host)
        if refusal is not None:
            self.on_refused(host, refusal)
            with taken:
                if self.context is None and refusal != _UNKNOWN_PEER:
                    with contextlib.suppress(OSError):
                        taken.send(_NO_ROOM)
            return
        self._open[host] += 1
        self._empty.clear()
        task = asyncio.get_running_loop().create_task(self._arrive(taken, host))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _refusal(self, host: str) -> Refusal | None:
        """Return why a connection is not let in; None where it may come."""
        if not self.admits(host):
            return _UNKNOWN_PEER
        if self._open.total() >= self.limits.connections:
            return _TOO_MANY
        if self._open[host] >= self.limits.connections_per_switch and not self.shares(host):
            return _TOO_MANY_OF_ADDRESS
        return None

    async def _arrive(self, taken: socket.socket, host: str) -> None:
        leave = partial(self._leave, host)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self.state, leave),
                taken,
                ssl=self.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.context else None,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS if self.context else None,
            )
        except (OSError, TimeoutError, asyncio.CancelledError):  # no handshake came of it
            taken.close()
            leave()

    def _leave(self, host: str) -> None:
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]
        if not self._open:
            self._empty.set()

    async def close(self, seconds: float) -> None:
        """Take no more connections; answer what is asked by now, within so many seconds, and close the others."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        queue = select.poll()
        queue.register(self._socket, select.POLLIN)
        while queue.poll(0) and loop.time() < end:
            self._take()
            await asyncio.sleep(0)
        loop.remove_reader(self._socket)
        self._socket.close()
        await asyncio.sleep(_QUIET)
        patience = min(end, loop.time() + _CATCHING_UP)
        while self._unread() and loop.time() < patience:  # noqa: ASYNC110 - the loop is what is waited for
            await asyncio.sleep(0)
        for task in self._arriving:
            task.cancel()
        for connection in list(self.state.connections):
            if not connection.transport.is_closing():
                connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._empty.wait()
        for connection in list(self.state.connections):
            connection.transport.abort()

    def _unread(self) -> bool:
        """Whether somebody has asked what was not read yet: closed now, the connection would be reset."""
        queue = select.poll()
        for connection in self.state.connections:
            if isinstance(connection, Connection) and connection.idle:
                transport = connection.transport
                if not transport.is_closing():
                    queue.register(transport.get_extra_info("socket"), select.POLLIN)
        return bool(queue.poll(0))
