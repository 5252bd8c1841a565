"""Asks the decider over a Unix socket: JSON-RPC, one connection per switch, pipelined.

The decider trusts every peer of this socket, and each connection names the switch for which it speaks. The
supervisor holds the socket, so a new connection waits in the kernel while a decider is replaced. If a connection
breaks, its requests are repeated once. That is safe, since the engine recognizes a retransmission (engine.md 5.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec

from identengine.log.events import HTTP_UNANSWERED
from identengine.server.http.problems import AWAY, Problem, ProblemError, of_trouble, too_large, unavailable
from identengine.wire.codes import OVERLOADED
from identengine.wire.jsonrpc.messages import Credentials, RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import METHODS

PATIENCE = 3.0
"""The time limit of a request, in seconds."""
LONG_PATIENCE = 15.0
"""The time limit of a method that is answered in steps, such as ``sync``, in seconds."""
MOST_UNSENT = 1 << 20
"""The limit on requests of one switch that the decider has not read, in bytes."""


class _BrokenError(Exception):
    """The connection was closed before the answer arrived."""


_decode = msgspec.json.Decoder(ResponseMessage).decode
_encode = msgspec.json.Encoder().encode

Connect = Callable[
    [Callable[[], asyncio.Protocol]], Coroutine[Any, Any, tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]
"""A function that connects a protocol to the decider. It raises OSError if it fails."""


class DeciderClient:
    """The connections to the decider, each made for the first request of its switch.

    A request may have ``most_bytes``. Longer ones are refused here, since the decider would close the connection.
    """

    def __init__(self, connect: Connect, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._connect = connect
        self._open: dict[str, asyncio.Task[_DeciderConnection]] = {}

    async def ask(self, switch: str, method: str, params: msgspec.Struct | None) -> msgspec.Raw:
        """Return the result as JSON. Raise ProblemError if the decider answers with an error, or not at all."""
        patience = LONG_PATIENCE if METHODS[method].in_steps else PATIENCE
        try:
            async with asyncio.timeout(patience):
                return await self._ask(switch, method, params)
        except TimeoutError:
            raise unavailable(f"the decider did not answer within {patience:.0f} s. Repeat the request.") from None
        except (OSError, _BrokenError):
            raise unavailable(AWAY) from None

    async def _ask(self, switch: str, method: str, params: msgspec.Struct | None) -> msgspec.Raw:
        for last in (False, True):
            try:
                link = await self._link(switch)
                return await link.ask(method, params, self.most_bytes)
            except (ConnectionError, _BrokenError):
                if last:
                    raise
        raise AssertionError  # the second pass always returns or raises

    async def _link(self, switch: str) -> _DeciderConnection:
        """Return the connection of a switch. Requests that arrive while it is being made share it."""
        making = self._open.get(switch)
        if making is None or (making.done() and (making.exception() or making.result().ended)):
            making = self._open[switch] = asyncio.create_task(self._made(switch))
            making.add_done_callback(_seen)
        return await asyncio.shield(making)

    async def _made(self, switch: str) -> _DeciderConnection:
        async with asyncio.timeout(PATIENCE):
            _, made = await self._connect(_DeciderConnection)
        link = cast("_DeciderConnection", made)
        link.introduce(switch)
        return link

    def close(self) -> None:
        """Close all connections. Requests without an answer fail."""
        for making in self._open.values():
            if making.done() and not making.exception():
                making.result().close()
            making.cancel()
        self._open.clear()


class _DeciderConnection(asyncio.Protocol):
    """One connection to the decider, for one switch."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = False
        self._received = bytearray()
        self._waiting: dict[int, asyncio.Future[ResponseMessage]] = {}
        self._last = 0
        self._switch = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_BrokenError())

    def eof_received(self) -> None:
        """Close the connection, since no further answer can arrive."""

    def data_received(self, data: bytes) -> None:
        """Pass each answer, which is one line, to the request that waits for it."""
        *lines, rest = (self._received + data).split(b"\n") if self._received else data.split(b"\n")
        self._received = bytearray(rest)
        for line in lines:
            try:
                answer = _decode(line)
            except msgspec.MsgspecError:
                HTTP_UNANSWERED.tell(switch=self._switch, why="not a JSON-RPC answer")
                self.close()
                return
            if answer.id == 0 and answer.error is not None:
                HTTP_UNANSWERED.tell(switch=self._switch, why=answer.error.message)
                self.close()
                return
            if not isinstance(
                answer.id, int
            ):  # the decider could not read the request, so it closes the connection
                self.close()
                return
            waiting = self._waiting.get(answer.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def introduce(self, switch: str) -> None:
        """Name the switch for which this connection speaks."""
        self._switch = switch
        self._transport.write(_encode(RequestMessage("auth", 0, Credentials(switch=switch))) + b"\n")

    async def ask(self, method: str, params: msgspec.Struct | None, most_bytes: int) -> msgspec.Raw:
        """Return the result of a request.

        Raise ProblemError if the answer is an error, and _BrokenError if the connection breaks.
        """
        if self.ended or self._transport.is_closing():
            raise _BrokenError
        if self._transport.get_write_buffer_size() > MOST_UNSENT:
            raise unavailable("the decider is overloaded. Repeat the request.", OVERLOADED)
        self._last += 1
        number = self._last
        question = _encode(RequestMessage(method, number, params))
        if len(question) > most_bytes:
            raise ProblemError(Problem(413, too_large(most_bytes)))
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(question + b"\n")
            answer: ResponseMessage = await waiting
        finally:
            del self._waiting[number]
        if answer.error is not None:
            raise of_trouble(answer.error)
        return answer.result

    def close(self) -> None:
        """Abort the connection."""
        self.ended = True
        self._transport.abort()


def _seen(task: asyncio.Task[_DeciderConnection]) -> None:
    """Retrieve the exception, so that asyncio does not report it if no request waits for the task any more."""
    if not task.cancelled():
        task.exception()
