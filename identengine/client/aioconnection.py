"""One connection on the event loop. It reconnects in the background and bounds the requests in flight."""

from __future__ import annotations

import asyncio
import random
import ssl

from identengine.client.aiostream import LoopStream
from identengine.client.connection import Connection
from identengine.client.errors import ClientError, LostError, UnansweredError
from identengine.client.exchange import Encoding, Exchange
from identengine.errors import WireError

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""First and longest pause before a reconnect, in seconds.

The pause doubles after each failure. Each one is shortened by up to half at random, so that many clients do not
reconnect at the same moment.
"""
CLOSE_TIMEOUT = 1.0
"""Time that a connection has to close cleanly, in seconds."""
HOPELESS = (ssl.SSLError, ValueError, OverflowError)
"""The errors of UNREACHABLE that a retry does not fix."""


class LoopConnection(Connection[LoopStream]):
    """A pipelined connection. Requests wait while a background task connects or reconnects."""

    _slots: asyncio.Semaphore

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        token: str | None,
        encoding: Encoding,
        in_flight: int,
        patience: float,
    ) -> None:
        """Take the arguments of :class:`Connection`. ``patience`` also bounds each attempt to connect."""
        super().__init__(
            host, port, tls=tls, token=token, encoding=encoding, in_flight=in_flight, patience=patience
        )
        self._slots = asyncio.Semaphore(in_flight)
        self._stream: asyncio.Future[LoopStream] | None = None
        """The stream, pending while there is none. None before the first request."""
        self._keeper: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the connection. Requests that wait on it fail."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        await asyncio.wait([keeper])
        await asyncio.sleep(0)  # a pending attempt to connect is closed in the loop's next iteration
        made = self._stream
        stream = made.result() if made and made.done() and not made.exception() else None
        if stream is not None:
            stream.close()
            await asyncio.wait([stream.end], timeout=CLOSE_TIMEOUT)
            if not stream.end.done():
                stream.abort("closed")
                await stream.end

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    def _timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    async def _connected(self) -> LoopStream:
        if self._keeper is None:
            self._stream = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(), name=f"identengine client of {self.where}")
        while True:
            waited = self._stream
            assert waited is not None  # noqa: S101 - it was made with the keeper
            stream = await asyncio.shield(waited)
            if not stream.ended:
                return stream
            await asyncio.sleep(0)  # the keeper has not noticed yet that the stream ended

    async def _dial(self) -> LoopStream:
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: LoopStream(Exchange(self._encoding), self.where), *self._address, ssl=self._tls
        )
        return stream

    async def _keep(self) -> None:
        """Connect, wait until the stream ends, and reconnect."""
        pause = FIRST_PAUSE
        while True:
            waited = self._stream
            assert waited is not None  # noqa: S101 - it was made with the keeper
            try:
                stream = await self._attempt()
            except (ClientError, WireError) as error:
                self._trouble = str(error)
                if not isinstance(error, UnansweredError) or isinstance(error.__cause__, HOPELESS):
                    # The server rejected the token or its certificate is invalid: retrying does not help, so the
                    # waiting requests fail at once.
                    self._stream = asyncio.get_running_loop().create_future()
                    waited.set_exception(error)
                    waited.exception()  # retrieved here, or asyncio would warn if no request waits
            else:
                waited.set_result(stream)
                begun = self._time()
                await asyncio.shield(stream.end)  # close() cancels this task and then waits for the same future
                self._stream = asyncio.get_running_loop().create_future()
                self._trouble = stream.why
                if self._time() - begun > LONGEST_PAUSE:  # the connection worked
                    pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _attempt(self) -> LoopStream:
        """Return a new stream. Raise LostError if connecting takes longer than the client's time-out."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._connect()
        except TimeoutError as error:
            why = f"it took more than {self._patience:g} s"
            raise LostError(f"no connection to {self.where}: {why}", sent=False) from error
