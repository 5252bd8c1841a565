"""The methods of the JSON-RPC interface, one coroutine each, for both forms of the client (interfaces.md 3)."""

from __future__ import annotations

from typing import Protocol, TypeVar, Unpack

from identengine.calls.backend import LegResult
from identengine.client.errors import UnansweredError
from identengine.client.params import Bare, CallParams, Deciding, Listing, ListParams, Params, Telling, TellParams
from identengine.errors import WireError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, Result

PORT = 4870
TIMEOUT = 2.0
"""Seconds that a request may take, waiting for a connection included."""

R = TypeVar("R", bound=Result)


class Carrier(Protocol):
    """Carries requests to one server and their answers back."""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer. Raise AskError, WireError, or an UnansweredError after ``seconds`` at most."""

    async def close(self) -> None:
        """Close the connection or socket."""


class Methods:
    """Asks over a carrier; a request without answer is retried."""

    def __init__(self, carrier: Carrier, timeout: float, retries: int) -> None:
        """Wait ``timeout`` seconds for each answer; ask again ``retries`` times if none comes."""
        self._carrier = carrier
        self._timeout = timeout
        self._retries = retries

    async def authorize(self, **params: Unpack[CallParams]) -> Decision:
        """Decide a call and reserve its slot (engine.md 3 to 6)."""
        return await self._ask("authorize", Deciding(**params), Decision)

    async def identify(self, **params: Unpack[CallParams]) -> Decision:
        """Decide without side effects or capacity."""
        return await self._ask("identify", Deciding(**params), Decision)

    async def explain(self, **params: Unpack[CallParams]) -> Explanation:
        """Decide as ``identify``, and say how each candidate fared."""
        return await self._ask("explain", Deciding(**params), Explanation)

    async def start(self, **params: Unpack[TellParams]) -> LegResult:
        """Tell that a call was answered (engine.md 5.4)."""
        return await self._ask("start", Telling(**params), LegResult)

    async def update(self, **params: Unpack[TellParams]) -> LegResult:
        """Tell that a call goes on; ``interval``: seconds until the next time."""
        return await self._ask("update", Telling(**params), LegResult)

    async def stop(self, **params: Unpack[TellParams]) -> LegResult:
        """Tell that a call has ended; its slot is free."""
        return await self._ask("stop", Telling(**params), LegResult)

    async def sync(self, **params: Unpack[ListParams]) -> LegResult:
        """Tell which calls there are: a complete list, or a part of one (engine.md 5.6)."""
        return await self._ask("sync", Listing(**params), LegResult)

    async def switch_up(self) -> LegResult:
        """Tell that the switch has started: it has none of its older calls."""
        return await self._ask("switch_up", Bare(), LegResult)

    async def switch_down(self) -> LegResult:
        """Tell that the switch ends: it has no calls any more."""
        return await self._ask("switch_down", Bare(), LegResult)

    async def ping(self) -> Pong:
        """Ask how the server is."""
        return await self._ask("ping", Bare(), Pong)

    async def _ask(self, method: str, params: Params, kind: type[R]) -> R:
        for _ in range(self._retries if METHODS[method].repeatable else 0):
            try:
                return _checked(method, await self._carrier.ask(method, params, self._timeout), kind)
            except UnansweredError:
                pass
        return _checked(method, await self._carrier.ask(method, params, self._timeout), kind)


def _checked(method: str, result: Result, kind: type[R]) -> R:
    """Return a result as what it is."""
    if not isinstance(result, kind):
        raise WireError(f"{method} is answered with a {type(result).__name__}")
    return result
