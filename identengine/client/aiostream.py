"""A stream on the event loop. Requests of one iteration of the loop leave in one write."""

from __future__ import annotations

import asyncio
from typing import cast

from identengine.client.errors import AskError
from identengine.client.exchange import Answer, Exchange
from identengine.client.stream import Stream
from identengine.errors import WireError
from identengine.wire.jsonrpc.methods import Result


class LoopStream(Stream, asyncio.Protocol):
    """A stream over an asyncio transport. Many requests can wait for their answers at once."""

    def __init__(self, exchange: Exchange, where: str) -> None:
        """Take the arguments of :class:`Stream`. An event loop must be running."""
        super().__init__(exchange, where)
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[None] = self._loop.create_future()
        """Done once the stream has ended."""
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._out: list[bytes] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: asyncio.Transport

    def abort(self, why: str) -> None:
        """End the stream at once (Stream)."""
        self._mark_ended(why)  # not in the loop's next iteration, so that no further request is sent on it
        self._transport.abort()

    def close(self) -> None:
        """End the stream once all written bytes have left."""
        self._transport.close()

    async def _resumed(self) -> None:
        await self._may_write.wait()

    def _answer(self, message_id: int, data: bytes) -> asyncio.Future[Result]:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting[message_id] = future
        return future

    def _forget(self, message_id: int) -> None:
        super()._forget(message_id)
        self._waiting.pop(message_id, None)

    def _deliver(self, answer: Answer) -> None:
        future = self._waiting.get(answer.id)
        if future is None or future.done():
            return  # the caller was cancelled in this iteration of the loop
        if isinstance(answer.result, AskError | WireError):
            future.set_exception(answer.result)
        else:
            future.set_result(answer.result)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Deliver the answers in the bytes that arrived (asyncio.Protocol)."""
        self.heard = self._loop.time()
        self._received(data)

    def pause_writing(self) -> None:
        """Hold requests back while the server does not read (asyncio.Protocol)."""
        self._paused = True
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Release the requests that were held back (asyncio.Protocol)."""
        self._release()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all waiting requests (asyncio.Protocol)."""
        self._mark_ended(str(exc) if exc else "")
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._lost(sent=True))
        self._out.clear()
        self._release()
        if not self.end.done():
            self.end.set_result(None)

    def _release(self) -> None:
        self._paused = False
        self._may_write.set()

    def _flush(self) -> None:
        if self._out and not self.ended:
            self._transport.write(b"".join(self._out))
        self._out.clear()
