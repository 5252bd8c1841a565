"""The UDP side of the asyncio client: the same bytes again until an answer comes (interfaces.md 3)."""

from __future__ import annotations

import asyncio

from identengine.client.connection import UNREACHABLE
from identengine.client.errors import AskError, LateError, LostError
from identengine.client.exchange import Encoding, Exchange
from identengine.client.params import Params
from identengine.errors import WireError
from identengine.wire.jsonrpc.methods import Result

LARGEST = 65507
"""Bytes that a datagram holds at most; what the server takes is its own affair (``message_bytes``)."""


class Datagrams(asyncio.DatagramProtocol):
    """One socket; each request is a datagram, sent again after ``again`` seconds, ``resends`` times at most."""

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
        """As :meth:`identengine.client.Client.udp` says."""
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._exchange = Exchange(encoding, token)
        self._again = again
        self._resends = resends
        self._places = asyncio.Semaphore(in_flight)
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._opening = asyncio.Lock()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed: asyncio.Future[None] | None = None
        self._trouble = ""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer. Raises AskError, WireError, and LateError after ``seconds`` or all resends."""
        sent = 0
        message_id = 0
        try:
            async with asyncio.timeout(seconds), self._places:
                transport = await self._open()
                message_id, message = self._exchange.ask(method, params)
                if len(message) > LARGEST:
                    raise WireError(f"{method} is larger than a datagram ({LARGEST} bytes); use TCP")
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
        tries = f"sent {sent} time{'s' * (sent != 1)} to {self.where}"
        why = f" ({self._trouble})" if self._trouble else ""
        raise LateError(f"no answer to {method}, {tries}{why}", sent=bool(sent))

    async def close(self) -> None:
        """Close the socket; what still waits fails."""
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
                    raise LostError(f"{self.where} cannot be asked: {error}", sent=False) from error
                self._transport = transport
        return self._transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Take what came (asyncio.DatagramProtocol)."""
        self._trouble = ""
        for answer in self._exchange.receive_datagram(data):
            future = self._waiting.get(answer.id)
            if future is None or future.done():
                continue  # whoever asked was cancelled in this very turn
            if isinstance(answer.result, AskError | WireError):
                future.set_exception(answer.result)
            else:
                future.set_result(answer.result)

    def error_received(self, exc: Exception) -> None:
        """Remember what the kernel says; a resend may still reach a server that starts."""
        self._trouble = str(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all that waits (asyncio.DatagramProtocol)."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError("the client was closed", sent=True))
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
