"""The Unix socket of an operator's commands: one line asks, one line answers.

All connections stand in one queue: after each answer the loop has as long for everything else as the answer took
(but half a millisecond at least), so that however many commands ask, decisions wait for one step at most. A
command that does not read its answer is not read from, one that does nothing is closed, and what a stopped one
makes the server hold is one answer, for seconds.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from identengine.log.events import COMMAND_FAULT
from identengine.net.unix import BACKLOG
from identengine.wire import operator

FILE = "control"
"""Of the socket, in the folder of the set of calls."""
CONNECTIONS = 16
"""At once; a further one takes the place of the one that was silent longest."""
IDLE_SECONDS = 30.0
UNREAD_SECONDS = 5.0
"""How long a command may leave an answer unread."""
_REST = 0.0005
_SILENT = 1.0
"""Seconds after which a connection may be closed for another one."""

_TOO_MANY = operator.line(operator.OperatorFailure("too many commands at once; try again in a second"))
_FAULT = operator.line(operator.OperatorFailure("the server made a mistake; its log has more"))
_TOO_LONG = operator.line(operator.OperatorFailure(f"a line of at most {operator.LONGEST_LINE} bytes is wanted"))


class ControlListener:
    """Serves commands on a socket that :func:`identengine.net.unix.bind_unix` made."""

    def __init__(
        self, bound: socket.socket, answer: Callable[[operator.OperatorRequest], operator.OperatorReply]
    ) -> None:
        self.connections: set[_Connection] = set()
        self.waiting: deque[_Connection] = deque()
        """Those whose next line is to be answered."""
        self._socket = bound
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._rested = 0.0
        """When the next step may be, in the loop's time."""

    async def start(self) -> None:
        """Serve from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=self._socket, backlog=BACKLOG)
        self._sweep = loop.call_later(1.0, self._close_idle)

    def close(self) -> None:
        """Serve no more."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for connection in list(self.connections):
            connection.abort()

    def room(self, now: float) -> bool:
        """Whether one more may come; the one that was silent longest goes, if it was silent a while."""
        if len(self.connections) < CONNECTIONS:
            return True
        silent = min(self.connections, key=lambda one: one.since)
        if now - silent.since < _SILENT:
            return False
        silent.abort()
        self.connections.discard(silent)
        return True

    def wait(self, connection: _Connection) -> None:
        """Answer a line of this connection when it is its turn."""
        self.waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if self.waiting and not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_later(max(0.0, self._rested - loop.time()), self._step)

    def _step(self) -> None:
        """Answer one line; then the rest of the loop has its time."""
        loop = asyncio.get_running_loop()
        # Not the loop's time, which stands still while one of its callbacks runs.
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
        except Exception as fault:  # whatever it is, it ends nothing but this request
            COMMAND_FAULT.tell(fault)
            return _FAULT

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            connection.close_if_idle(now)
        self._sweep = loop.call_later(1.0, self._close_idle)


class _Connection(asyncio.Protocol):
    """One command's connection."""

    _transport: asyncio.Transport

    def __init__(self, listener: ControlListener) -> None:
        self._listener = listener
        self._received = bytearray()
        self._queued = False
        """Whether its turn is to come; meanwhile nothing is read."""
        self._unread = False
        """Whether an answer was not taken yet."""
        self._at_eof = False
        self.since = 0.0
        """When it last asked, or took an answer, in the loop's time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a command in, if there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.since = asyncio.get_running_loop().time()
        if not self._listener.room(self.since):
            self._transport.write(_TOO_MANY)
            self._transport.close()
            return
        self._transport.set_write_buffer_limits(high=0)
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for a turn where a line is whole."""
        if self._transport.is_closing():
            return
        self._received += data
        self._next()

    def eof_received(self) -> bool:
        """Answer what was asked before the end, as of `echo … | nc`."""
        self._at_eof = True
        self._next()
        return True

    def pause_writing(self) -> None:
        """Stop answering and reading a command that does not read."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
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
        """Ask for a turn if a whole line is there, else read on."""
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
        """Close what neither asks nor reads."""
        if now - self.since > (UNREAD_SECONDS if self._unread else IDLE_SECONDS):
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever was not read."""
        self._transport.abort()
