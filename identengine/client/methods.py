"""The methods of JSON-RPC, one coroutine each, for both forms of the client (interfaces.md 3)."""

from __future__ import annotations

from typing import Protocol, TypeVar, Unpack

from identengine.calls.backend import LegResult
from identengine.client.errors import UnansweredError
from identengine.client.params import (
    Bare,
    CallParams,
    Deciding,
    Listing,
    ListParams,
    Params,
    Telling,
    TellParams,
    check_types,
)
from identengine.errors import WireError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, Result

PORT = 4870
TIMEOUT = 2.0
"""Longest time of a request, including the wait for a connection, in seconds."""

R = TypeVar("R", bound=Result)


class Carrier(Protocol):
    """Sends requests to one server and returns their answers."""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer. Raise AskError, EncodingError, WireError, or UnansweredError within ``seconds``."""

    async def close(self) -> None:
        """Close the connection or socket."""


class Methods:
    """The methods over a carrier. A request without an answer is retried."""

    def __init__(self, carrier: Carrier, timeout: float, retries: int) -> None:
        """Wait ``timeout`` seconds for each answer. Retry up to ``retries`` times if none arrives."""
        self._carrier = carrier
        self._timeout = timeout
        self._retries = retries

    async def authorize(self, **params: Unpack[CallParams]) -> Decision:
        """Decide a call and reserve its slot (engine.md 3 to 6)."""
        return await self._ask("authorize", Deciding(**params), Decision)

    async def identify(self, **params: Unpack[CallParams]) -> Decision:
        """Decide without side effects, capacity ignored."""
        return await self._ask("identify", Deciding(**params), Decision)

    async def explain(self, **params: Unpack[CallParams]) -> Explanation:
        """Decide as ``identify`` does, and return every candidate with the reason that ruled it out."""
        return await self._ask("explain", Deciding(**params), Explanation)

    async def start(self, **params: Unpack[TellParams]) -> LegResult:
        """Report that a call was answered (engine.md 5.4)."""
        return await self._ask("start", Telling(**params), LegResult)

    async def update(self, **params: Unpack[TellParams]) -> LegResult:
        """Report that a call is still active. ``interval`` is the time until the next update, in seconds."""
        return await self._ask("update", Telling(**params), LegResult)

    async def stop(self, **params: Unpack[TellParams]) -> LegResult:
        """Report that a call has ended, which frees its slots."""
        return await self._ask("stop", Telling(**params), LegResult)

    async def sync(self, **params: Unpack[ListParams]) -> LegResult:
        """Report the complete list of the switch's calls, or a part of it (engine.md 5.6)."""
        return await self._ask("sync", Listing(**params), LegResult)

    async def switch_up(self) -> LegResult:
        """Report that the switch has started. Its older calls are freed."""
        return await self._ask("switch_up", Bare(), LegResult)

    async def switch_down(self) -> LegResult:
        """Report that the switch is shutting down. All of its calls are freed."""
        return await self._ask("switch_down", Bare(), LegResult)

    async def ping(self) -> Pong:
        """Return the server's program, version of the book, uptime and process id."""
        return await self._ask("ping", Bare(), Pong)

    async def _ask(self, method: str, params: Params, kind: type[R]) -> R:
        check_types(params)
        for _ in range(self._retries if METHODS[method].repeatable else 0):
            try:
                return _checked(method, await self._carrier.ask(method, params, self._timeout), kind)
            except UnansweredError:
                pass
        return _checked(method, await self._carrier.ask(method, params, self._timeout), kind)


def _checked(method: str, result: Result, kind: type[R]) -> R:
    """Return ``result`` with its type. Raise WireError if the method has results of another type."""
    if not isinstance(result, kind):
        raise WireError(f"{method}: expected a {kind.__name__}, got a {type(result).__name__}")
    return result
