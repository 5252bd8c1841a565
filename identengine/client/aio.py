"""The client for programs that run an event loop."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self, TypeVar, Unpack

from identengine.calls.backend import Done
from identengine.client.connection import Connection
from identengine.client.datagrams import Datagrams
from identengine.client.errors import LostError, UnansweredError
from identengine.client.exchange import Encoding, Result
from identengine.client.params import Bare, CallParams, Deciding, Listing, ListParams, Params, Telling, TellParams
from identengine.errors import WireError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong

PORT = 4870
TIMEOUT = 2.0
"""Seconds that a request may take, waiting for a connection included."""
IN_FLIGHT = 10_000
"""Requests that wait for answers at once; more wait before they are sent."""
ONCE_ONLY = frozenset({"switch_up", "switch_down"})
"""Said again a moment later, these would free the calls that were begun between."""

R = TypeVar("R", bound=Result)


class Client:
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
        self._timeout = timeout
        self._retries = retries
        self._asked = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._carrier: Connection | Datagrams = Connection(
            host, port, tls=tls, token=token, encoding=encoding, in_flight=in_flight, patience=timeout
        )

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

    async def authorize(self, **params: Unpack[CallParams]) -> Decision:
        """Decide a call and reserve its slot (engine.md 3 to 6)."""
        return await self._ask("authorize", Deciding(**params), Decision)

    async def identify(self, **params: Unpack[CallParams]) -> Decision:
        """Decide without side effects or capacity."""
        return await self._ask("identify", Deciding(**params), Decision)

    async def explain(self, **params: Unpack[CallParams]) -> Explanation:
        """Decide as ``identify``, and say how each candidate fared."""
        return await self._ask("explain", Deciding(**params), Explanation)

    async def start(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call was answered (engine.md 5.4)."""
        return await self._ask("start", Telling(**params), Done)

    async def update(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call goes on; ``interval``: seconds until the next time."""
        return await self._ask("update", Telling(**params), Done)

    async def stop(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call has ended; its slot is free."""
        return await self._ask("stop", Telling(**params), Done)

    async def sync(self, **params: Unpack[ListParams]) -> Done:
        """Tell which calls there are: a complete list, or a part of one (engine.md 5.6)."""
        return await self._ask("sync", Listing(**params), Done)

    async def switch_up(self) -> Done:
        """Tell that the switch has started: it has none of its older calls."""
        return await self._ask("switch_up", Bare(), Done)

    async def switch_down(self) -> Done:
        """Tell that the switch ends: it has no calls any more."""
        return await self._ask("switch_down", Bare(), Done)

    async def ping(self) -> Pong:
        """Ask how the server is."""
        return await self._ask("ping", Bare(), Pong)

    async def _ask(self, method: str, params: Params, kind: type[R]) -> R:
        if self._closed:
            raise LostError("the client is closed", sent=False)
        self._asked += 1
        self._idle.clear()
        try:
            result = await self._tried(method, params)
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()
        return checked(method, result, kind)

    async def _tried(self, method: str, params: Params) -> Result:
        for _ in range(0 if method in ONCE_ONLY else self._retries):
            try:
                return await self._carrier.ask(method, params, self._timeout)
            except UnansweredError:
                pass
        return await self._carrier.ask(method, params, self._timeout)


def checked(method: str, result: Result, kind: type[R]) -> R:
    """Return a result as what it is."""
    if not isinstance(result, kind):
        raise WireError(f"{method} is answered with a {type(result).__name__}")
    return result
