"""Asks the process that decides, over a Unix socket: JSON-RPC, one connection a switch, pipelined.

Whoever may connect there is trusted and says for which switch it speaks. The supervisor holds the socket, so that
while a decider is replaced a new connection waits in the kernel. A question whose connection breaks is asked once
more: switches ask again too, and the engine knows a call that it holds (engine.md 5.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec

from identengine.log.events import HTTP_UNANSWERED
from identengine.server.http.problems import Problem, ProblemError, of_trouble, unavailable
from identengine.wire.jsonrpc.messages import Credentials, RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import METHODS

PATIENCE = 3.0
"""Seconds that a question may take."""
LONG_PATIENCE = 15.0
"""The same of what is answered in steps: a long list of calls, all calls of a switch."""
MOST_UNSENT = 1 << 20
"""Bytes of one switch's questions that the decider may leave unread."""


class _BrokenError(Exception):
    """The connection ended before the answer came."""


_decode = msgspec.json.Decoder(ResponseMessage).decode
_encode = msgspec.json.Encoder().encode

Connect = Callable[
    [Callable[[], asyncio.Protocol]], Coroutine[Any, Any, tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]
"""Makes a connection for a protocol; raises OSError."""


class DeciderClient:
    """The connections to the decider, made when they are needed.

    ``most_bytes``: of one question; longer ones are refused here, since there they would end the connection.
    """

    def __init__(self, connect: Connect, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._connect = connect
        self._open: dict[str, asyncio.Task[_DeciderConnection]] = {}

    async def ask(self, switch: str, method: str, params: msgspec.Struct | None) -> msgspec.Raw:
        """Return the result as JSON. Raises ProblemError."""
        patience = LONG_PATIENCE if METHODS[method].in_steps else PATIENCE
        try:
            async with asyncio.timeout(patience):
                return await self._ask(switch, method, params)
        except TimeoutError:
            raise unavailable(
                f"the process that decides gave no answer within {patience:.0f} s; ask again"
            ) from None
        except (OSError, _BrokenError):
            raise unavailable("the process that decides is away; ask again in a moment") from None

    async def _ask(self, switch: str, method: str, params: msgspec.Struct | None) -> msgspec.Raw:
        for last in (False, True):
            try:
                link = await self._link(switch)
                return await link.ask(method, params, self.most_bytes)
            except (ConnectionError, _BrokenError):
                if last:
                    raise
        raise AssertionError  # one of the two has returned or raised

    async def _link(self, switch: str) -> _DeciderConnection:
        """Return the connection of a switch; whoever comes while it is being made waits for the same one."""
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
        """Close all connections; what was asked and not answered ends with an error."""
        for making in self._open.values():
            if making.done() and not making.exception():
                making.result().close()
            making.cancel()
        self._open.clear()


class _DeciderConnection(asyncio.Protocol):
    """One connection."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = False
        self._received = bytearray()
        self._waiting: dict[int, asyncio.Future[ResponseMessage]] = {}
        self._last = 0
        self._switch = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_BrokenError())

    def eof_received(self) -> None:
        """Close, since nothing will be answered here any more."""

    def data_received(self, data: bytes) -> None:
        """Hand each answer, a line, to who waits for it."""
        *lines, rest = (self._received + data).split(b"\n") if self._received else data.split(b"\n")
        self._received = bytearray(rest)
        for line in lines:
            try:
                answer = _decode(line)
            except msgspec.MsgspecError:
                HTTP_UNANSWERED.tell(switch=self._switch, why="its answer is none")
                self.close()
                return
            if answer.id == 0 and answer.error is not None:
                HTTP_UNANSWERED.tell(switch=self._switch, why=answer.error.message)
                self.close()
                return
            if not isinstance(answer.id, int):  # it could not be read there, which ends the connection
                self.close()
                return
            waiting = self._waiting.get(answer.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def introduce(self, switch: str) -> None:
        """Say for which switch this connection speaks."""
        self._switch = switch
        self._transport.write(_encode(RequestMessage("auth", 0, Credentials(switch=switch))) + b"\n")

    async def ask(self, method: str, params: msgspec.Struct | None, most_bytes: int) -> msgspec.Raw:
        """Ask and wait. Raises ProblemError or _BrokenError."""
        if self.ended or self._transport.is_closing():
            raise _BrokenError
        if self._transport.get_write_buffer_size() > MOST_UNSENT:
            raise unavailable("the process that decides does not keep up; ask again in a moment", -32002)
        self._last += 1
        number = self._last
        question = _encode(RequestMessage(method, number, params))
        if len(question) > most_bytes:
            raise ProblemError(Problem(413, f"a request of more than {most_bytes} bytes ([limits] message_bytes)"))
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
        """Close at once."""
        self.ended = True
        self._transport.abort()


def _seen(task: asyncio.Task[_DeciderConnection]) -> None:
    """Take note of what went wrong, though everybody who waited for it may be gone."""
    if not task.cancelled():
        task.exception()
