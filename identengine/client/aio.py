"""The client for programs that run an event loop."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self, TypeVar

from identengine.client.aioconnection import LoopConnection
from identengine.client.datagrams import Datagrams
from identengine.client.errors import LostError
from identengine.client.exchange import Encoding
from identengine.client.methods import PORT, TIMEOUT, Methods
from identengine.client.params import Params
from identengine.wire.jsonrpc.methods import Result

IN_FLIGHT = 10_000
"""Requests that wait for answers at once; more wait before they are sent."""

R = TypeVar("R", bound=Result)


class Client(Methods):
    """Asks one server; many requests may wait for their answers at once. An ``async with`` closes it.

    It connects when it is first asked, and again by itself whenever the connection is lost; a request waits for
    that as long as its time-out allows. What a request can end with:

    - its result: a reject is one (``accepted`` is false);
    - :class:`AskError`: the server says what is wrong with the request;
    - :class:`LateError`, :class:`LostError`: no answer; ``sent`` tells whether it may have been carried out;
    - WireError: the server answered something that is not understood.

    After no answer a request may be asked again, by ``retries`` or by the caller. That is safe: ``authorize`` with
    the same call_id and content gets the same answer and the same slot as long as the call was not started
    (engine.md 5.3); ``start``, ``update``, ``stop`` and a ``sync`` of the same list_id change nothing the second
    time. ``switch_up`` and ``switch_down`` are never asked again by the client.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        encoding: Encoding = "json",
        timeout: float = TIMEOUT,
        retries: int = 0,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        """Ask over TCP, or over TLS as the context ``tls`` says.

        ``token``: the switch's, where it has one; ``timeout``: seconds a request (and an attempt to connect) may
        take; ``retries``: how often a request without answer is asked again, each with a time-out of its own.
        """
        connection = LoopConnection(
            host, port, tls=tls, token=token, encoding=encoding, in_flight=in_flight, patience=timeout
        )
        super().__init__(connection, timeout, retries)
        self._asked = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @classmethod
    def udp(
        cls,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        token: str | None = None,
        encoding: Encoding = "json",
        again: float = 0.5,
        resends: int = 3,
        in_flight: int = IN_FLIGHT,
    ) -> Self:
        """Return a client that asks over UDP: the same datagram again after ``again`` seconds.

        That is done ``resends`` times, so a request takes ``again * (resends + 1)`` seconds at most. An answer
        that does not fit into a datagram is an AskError that says so.
        """
        client = cls(host, port, timeout=again * (resends + 1))
        client._carrier = Datagrams(
            host, port, token=token, encoding=encoding, in_flight=in_flight, again=again, resends=resends
        )
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the answers that are still to come (each has its time-out), then close the connection."""
        self._closed = True
        await self._idle.wait()
        await self._carrier.close()

    async def _ask(self, method: str, params: Params, kind: type[R]) -> R:
        if self._closed:
            raise LostError("the client is closed", sent=False)
        self._asked += 1
        self._idle.clear()
        try:
            return await super()._ask(method, params, kind)
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()
