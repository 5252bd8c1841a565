"""Accepts connections from the listening socket, up to the limits of the config, and drains them at the end.

uvicorn's own listener limits neither idle connections nor TLS handshakes, and each handshake holds a quarter of a
megabyte. Here a connection counts from the moment at which it is accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial

from uvicorn.config import Config
from uvicorn.server import ServerState

from identengine.config.schema import Limits
from identengine.server.http.admission import Admission, Refusal, Slot
from identengine.server.http.connection import Connection, whole_answer
from identengine.server.http.problems import Problem

HANDSHAKE_SECONDS = 5.0
_ACCEPT = 16
"""The maximum number of connections that are accepted in one turn of the loop."""
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.2
"""The delay before the next attempt if the system has no room for a connection, in seconds."""
_QUIET = 0.02
"""The time that a drain takes to read bytes which clients have already sent, in seconds."""
_CATCHING_UP = 1.0
"""The longest time that a drain reads if further bytes keep arriving, in seconds."""
_NO_ROOM = whole_answer(Problem(503, "too many connections. Repeat the request."))
_UNKNOWN_PEER = Refusal("unknown_peer", "neither this machine nor a trusted proxy")


class Acceptor:
    """The listening socket and its connections. The public attributes may be replaced at any time."""

    def __init__(
        self, bound: socket.socket, config: Config, limits: Limits, context: ssl.SSLContext | None
    ) -> None:
        self.admission = Admission(limits)
        self.context = context
        """Context of TLS; None for HTTP in clear."""
        self.admits: Callable[[str], bool] = lambda _: True
        """Function that returns True for an address that may connect."""
        self.state = ServerState()
        self._socket = bound
        self._config = config
        self._empty = asyncio.Event()
        """Set while there are no connections."""
        self._empty.set()
        self._arriving: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to accept connections."""
        asyncio.get_running_loop().add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(_ACCEPT):
            try:
                taken, address = self._socket.accept()
            except OSError as error:  # no connection is waiting, or it has been closed already
                if error.errno in _FULL:  # the loop would call again at once, without end
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
        if not self.admits(host):
            self.admission.on_refused(host, _UNKNOWN_PEER)
            taken.close()
            return
        slot = self.admission.admit(host, partial(_shut, taken))
        if isinstance(slot, Refusal):
            with taken, contextlib.suppress(OSError):
                if self.context is None:
                    taken.send(_NO_ROOM)
            return
        self._empty.clear()
        task = asyncio.get_running_loop().create_task(self._arrive(taken, slot))
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, taken, slot))

    async def _arrive(self, taken: socket.socket, slot: Slot) -> None:
        leave = partial(self._leave, slot)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self.state, self.admission, slot, leave),
                taken,
                ssl=self.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.context else None,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS if self.context else None,
            )
        except (OSError, TimeoutError):  # the handshake failed
            taken.close()
            leave()

    def _arrived(self, taken: socket.socket, slot: Slot, task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        if task.cancelled():
            taken.close()
            self._leave(slot)

    def _leave(self, slot: Slot) -> None:
        self.admission.leave(slot)
        if not len(self.admission):
            self._empty.set()

    async def close(self, seconds: float) -> None:
        """Stop accepting, answer the requests that have arrived within ``seconds``, and close all connections."""
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
        while self._unread() and loop.time() < patience:  # noqa: ASYNC110 - waits for the loop itself
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
        """Return True if a client has sent bytes that were not read yet. Closing would reset its connection."""
        queue = select.poll()
        for connection in self.state.connections:
            if isinstance(connection, Connection) and connection.idle:
                transport = connection.transport
                if not transport.is_closing():
                    queue.register(transport.get_extra_info("socket"), select.POLLIN)
        return bool(queue.poll(0))


def _shut(taken: socket.socket) -> None:
    """End a connection before its transport is made: the transport then meets the end of its data."""
    with contextlib.suppress(OSError):
        taken.shutdown(socket.SHUT_RDWR)
