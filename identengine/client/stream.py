"""One connection of the asyncio client: what is asked in one turn of the loop is one write."""

from __future__ import annotations

import asyncio
from typing import cast

from identengine.client.errors import AskError, LostError
from identengine.client.exchange import Exchange
from identengine.client.params import Params
from identengine.errors import WireError
from identengine.wire.jsonrpc.methods import Result


class Link(asyncio.Protocol):
    """A connection. It ends once, by itself or by :meth:`abort`; then all that waits on it fails."""

    def __init__(self, exchange: Exchange, where: str) -> None:
        """Speak by ``exchange`` with the server at ``where``."""
        self.heard = 0.0
        """When something came last, by the loop's clock; 0: nothing did."""
        self._exchange = exchange
        self._where = where
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.why = ""
        """Why it ended."""
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._out: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    async def ask(self, method: str, params: Params) -> Result:
        """Send a request and wait for its answer, however long. Raises AskError, WireError and LostError."""
        while not self._writable.is_set():
            await self._writable.wait()
        if self.ended.done():
            raise LostError(self._lost(), sent=False)
        message_id, message = self._exchange.ask(method, params)
        return await self._send(message_id, message)

    async def authenticate(self, token: str) -> None:
        """Say who asks."""
        await self._send(*self._exchange.authenticate(token))

    async def _send(self, message_id: int, message: bytes) -> Result:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(self._exchange.framed(message))
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting[message_id] = future
        try:
            return await future
        finally:
            self._waiting.pop(message_id, None)
            self._exchange.forget(message_id)

    def abort(self, why: str) -> None:
        """End it now."""
        self.why = self.why or why
        self._transport.abort()

    def close(self) -> None:
        """End it once what was written has gone out."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be connected (asyncio.Protocol)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what came (asyncio.Protocol)."""
        self.heard = self._loop.time()
        for answer in self._exchange.receive(data):
            future = self._waiting.get(answer.id)
            if future is None or future.done():
                continue  # whoever asked was cancelled in this very turn
            if isinstance(answer.result, AskError | WireError):
                future.set_exception(answer.result)
            else:
                future.set_result(answer.result)
        if self._exchange.error is not None:
            self.abort(self._exchange.error)

    def pause_writing(self) -> None:
        """Hold what is asked back: the server does not read (asyncio.Protocol)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on (asyncio.Protocol)."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all that waits (asyncio.Protocol)."""
        self.why = self.why or (str(exc) if exc else "closed by the server")
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError(self._lost(), sent=True))
        self._out.clear()
        self._writable.set()
        if not self.ended.done():
            self.ended.set_result(None)

    def _flush(self) -> None:
        if self._out and not self.ended.done():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _lost(self) -> str:
        said = f"; it had said: {self._exchange.said}" if self._exchange.said else ""
        return f"the connection to {self._where} was lost: {self.why}{said}"
