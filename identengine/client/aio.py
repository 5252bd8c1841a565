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
"""Largest number of requests in flight. Further requests wait before they are sent."""

R = TypeVar("R", bound=Result)


class Client(Methods):
    """A client that keeps many requests in flight. An ``async with`` block closes it.

    It connects on the first request and reconnects automatically whenever the connection is lost. A request waits
    for the connection until its time-out. It ends in one of these ways:

    - with a result. A rejected call is a result whose ``accepted`` is false.
    - :class:`AskError`: the server reports that the request is wrong.
    - :class:`LateError` or :class:`LostError`: no answer. If ``sent`` is true, it may have been carried out.
    - :class:`EncodingError` or TypeError: a parameter cannot be encoded. The request was not sent.
    - WireError: the answer cannot be decoded.

    A request without an answer can be sent again, by ``retries`` or by the caller. That is safe. ``authorize``
    with the same call_id and content returns the same answer and the same slot until the call is started
    (engine.md 5.3). A second ``start``, ``update``, ``stop``, or ``sync`` of the same list_id changes nothing. The
    client never retries ``switch_up`` and ``switch_down``.
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
        """Ask over TCP, or over TLS if ``tls`` is given.

        ``token`` is the token of the switch, or None if it has none. ``timeout`` is the longest time of a request,
        and of an attempt to connect, in seconds. ``retries`` is how often a request without an answer is sent
        again, each time with a new time-out. ``in_flight`` is the largest number of requests in flight.
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
        """Return a client that asks over UDP and resends the same datagram after ``again`` seconds.

        It resends up to ``resends`` times, so a request takes at most ``again * (resends + 1)`` seconds. An answer
        that does not fit into a datagram is an AskError.
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
        """Wait until every request in flight is answered or times out, then close the connection."""
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
