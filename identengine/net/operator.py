"""The Unix socket for the commands of an operator: each line is a request and gets one line as its answer.

All connections share one queue. After each answer the loop has as much time for other work as the answer took, and
at least half a millisecond. So a decision waits for at most one answer, however many commands ask. The server does
not read from a command that leaves an answer unread, and closes idle connections. A stopped command costs the
server the memory of one answer for a few seconds.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from identengine.log.events import COMMAND_FAULT
from identengine.net.unix import BACKLOG, peer_of
from identengine.wire import operator

FILE = "control"
"""Name of the socket in the folder of the set of calls."""
CONNECTIONS = 16
"""Maximum number of connections. A further one replaces the connection that was silent longest."""
IDLE_SECONDS = 30.0
"""Time after which a silent connection is closed."""
UNREAD_SECONDS = 5.0
"""Time after which a connection with an unread answer is closed."""
_REST = 0.0005
"""Minimum time between two answers, in seconds."""
_SILENT = 1.0
"""Silence after which a connection can be closed in favour of a new one, in seconds."""

_TOO_MANY = operator.line(operator.OperatorFailure("too many commands at once. Try again in a second."))
_NOT_YOURS = operator.line(
    operator.OperatorFailure("expected a command of root or of the user of this server, got one of another user")
)
_FAULT = operator.line(
    operator.OperatorFailure("the server failed by a fault of the program. Its log has the details.")
)
_TOO_LONG = operator.line(
    operator.OperatorFailure(f"expected a line of at most {operator.LONGEST_LINE} bytes, got more")
)


class OperatorListener:
    """A server of commands on a socket from :func:`identengine.net.unix.bind_unix`."""

    def __init__(
        self, bound: socket.socket, answer: Callable[[operator.OperatorRequest], operator.OperatorReply]
    ) -> None:
        self.connections: set[_Connection] = set()
        self.waiting: deque[_Connection] = deque()
        """The queue: connections whose next line is complete."""
        self._socket = bound
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._rested = 0.0
        """Earliest time of the next step, in the loop's time."""

    async def start(self) -> None:
        """Start serving."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=self._socket, backlog=BACKLOG)
        self._sweep = loop.call_later(1.0, self._close_idle)

    def close(self) -> None:
        """Stop serving, and close all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for connection in list(self.connections):
            connection.abort()

    def room(self, now: float) -> bool:
        """Return True if there is room for a new connection. Close a silent one if necessary."""
        if len(self.connections) < CONNECTIONS:
            return True
        silent = min(self.connections, key=lambda each: each.since)
        if now - silent.since < _SILENT:
            return False
        silent.abort()
        self.connections.discard(silent)
        return True

    def wait(self, connection: _Connection) -> None:
        """Queue a connection whose next line is complete."""
        self.waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if self.waiting and not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_later(max(0.0, self._rested - loop.time()), self._step)

    def _step(self) -> None:
        """Answer one line, then leave the loop time for other work."""
        loop = asyncio.get_running_loop()
        # The loop's time does not advance while a callback runs.
        begun = time.perf_counter()
        self._scheduled = False
        self.waiting.popleft().take_turn(self._reply)
        taken = time.perf_counter() - begun
        self._rested = loop.time() + taken + max(_REST, taken)
        self._schedule()

    def _reply(self, line: bytes) -> bytes:
        asked = operator.read_ask(line)
        if isinstance(asked, operator.OperatorFailure):
            return operator.line(asked)
        try:
            return operator.line(self._answer(asked))
        except Exception as fault:  # it must fail this request only
            COMMAND_FAULT.tell(fault)
            return _FAULT

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            connection.close_if_idle(now)
        self._sweep = loop.call_later(1.0, self._close_idle)


class _Connection(asyncio.Protocol):
    """The connection of one command."""

    _transport: asyncio.Transport

    def __init__(self, listener: OperatorListener) -> None:
        self._listener = listener
        self._received = bytearray()
        self._queued = False
        """True while the connection is in the queue. It is not read meanwhile."""
        self._unread = False
        """True while an answer is unread."""
        self._at_eof = False
        self.since = 0.0
        """Time of the last request, or of the last answer that was read, in the loop's time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit a command of root or of the server's user, if there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self.since = asyncio.get_running_loop().time()
        permitted = peer_of(self._transport.get_extra_info("socket")).may_ask
        if not permitted or not self._listener.room(self.since):
            self._transport.write(_TOO_MANY if permitted else _NOT_YOURS)
            self._transport.close()
            return
        self._transport.set_write_buffer_limits(high=0)
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Queue the connection if a line is complete."""
        if self._transport.is_closing():
            return
        self._received += data
        self._next()

    def eof_received(self) -> bool:
        """Answer the requests before the end of the stream, as from ``echo … | nc``."""
        self._at_eof = True
        self._next()
        return True

    def pause_writing(self) -> None:
        """Stop reading from a command that does not read its answers."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Continue to read."""
        self._unread = False
        self.since = asyncio.get_running_loop().time()
        self._next()

    def take_turn(self, reply: Callable[[bytes], bytes]) -> None:
        """Answer the next line."""
        self._queued = False
        if self._transport.is_closing() or self not in self._listener.connections:
            return
        self.since = asyncio.get_running_loop().time()
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        self._transport.write(reply(bytes(line)))
        self._next()

    def _next(self) -> None:
        """Queue the connection if a line is complete, else read more."""
        if self._queued or self._unread or self._transport.is_closing():
            return
        end = self._received.find(b"\n", 0, operator.LONGEST_LINE + 1)
        if end >= 0:
            self._queued = True
            self._transport.pause_reading()
            self._listener.wait(self)
        elif len(self._received) > operator.LONGEST_LINE:
            self._transport.write(_TOO_LONG)
            self._transport.close()
        elif self._at_eof:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def close_if_idle(self, now: float) -> None:
        """Close the connection if the command neither asks nor reads."""
        if now - self.since > (UNREAD_SECONDS if self._unread else IDLE_SECONDS):
            self.abort()

    def abort(self) -> None:
        """Close at once and drop unread answers."""
        self._transport.abort()
