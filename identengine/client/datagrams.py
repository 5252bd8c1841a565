"""The UDP side of the asyncio client. It resends the same bytes until an answer arrives (interfaces.md 3)."""

from __future__ import annotations

import asyncio

from identengine.client.connection import UNREACHABLE
from identengine.client.errors import AskError, LateError, LostError
from identengine.client.exchange import Encoding, Exchange
from identengine.client.params import Params
from identengine.errors import WireError, counted
from identengine.wire.jsonrpc.methods import Result

LARGEST = 65507
"""Size of the largest datagram, in bytes. The server has a limit of its own (``message_bytes``)."""


class Datagrams(asyncio.DatagramProtocol):
    """A socket that sends each request as a datagram and resends it every ``again`` seconds."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        token: str | None,
        encoding: Encoding,
        in_flight: int,
        again: float,
        resends: int,
    ) -> None:
        """Take the arguments of :meth:`identengine.client.Client.udp`."""
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._exchange = Exchange(encoding, token)
        self._again = again
        self._resends = resends
        self._slots = asyncio.Semaphore(in_flight)
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._opening = asyncio.Lock()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed: asyncio.Future[None] | None = None
        self._trouble = ""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer.

        Raise AskError, EncodingError, WireError, LostError, or LateError after ``seconds`` or the last resend.
        """
        sent = 0
        message_id = 0
        try:
            async with asyncio.timeout(seconds), self._slots:
                transport = await self._open()
                message_id, message = self._exchange.ask(method, params)
                if len(message) > LARGEST:
                    raise WireError(
                        f"{method}: expected a request of at most {LARGEST} bytes, got {len(message)}. Use TCP."
                    )
                future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
                self._waiting[message_id] = future
                while sent <= self._resends:
                    transport.sendto(message)
                    sent += 1
                    done, _ = await asyncio.wait([future], timeout=self._again)
                    if done:
                        return future.result()
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(message_id, None)
            self._exchange.forget(message_id)
        tries = f"sent {counted(sent, 'time')} to {self.where}"
        why = f" ({self._trouble})" if self._trouble else ""
        raise LateError(f"no answer to {method}, {tries}{why}", sent=bool(sent))

    async def close(self) -> None:
        """Close the socket. Requests that wait for answers fail."""
        if self._transport is not None and self._closed is not None:
            self._transport.close()
            await self._closed

    async def _open(self) -> asyncio.DatagramTransport:
        async with self._opening:
            if self._transport is None:
                loop = asyncio.get_running_loop()
                self._closed = loop.create_future()
                try:
                    transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
                except UNREACHABLE as error:
                    raise LostError(f"no socket for {self.where}: {error}", sent=False) from error
                self._transport = transport
        return self._transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Deliver the answer in a datagram (asyncio.DatagramProtocol)."""
        self._trouble = ""
        for answer in self._exchange.receive_datagram(data):
            future = self._waiting.get(answer.id)
            if future is None or future.done():
                continue  # the caller was cancelled in this iteration of the loop
            if isinstance(answer.result, AskError | WireError):
                future.set_exception(answer.result)
            else:
                future.set_result(answer.result)

    def error_received(self, exc: Exception) -> None:
        """Keep the kernel's error for a LateError. A resend may still reach a server that is starting."""
        self._trouble = str(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all waiting requests (asyncio.DatagramProtocol)."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError("the client was closed", sent=True))
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
