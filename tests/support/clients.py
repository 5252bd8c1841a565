"""Both forms of the client behind the face of the asyncio one, so that one test body runs over both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Self, cast

from identengine import BlockingClient, Client

Form = Literal["asyncio", "blocking"]
FORMS: list[Form] = ["asyncio", "blocking"]


class Script:
    """A BlockingClient that is awaited. It asks in threads, since a test's server may run in the caller's loop."""

    def __init__(self, host: str, port: int, **options: Any) -> None:
        """Make a BlockingClient; ``options`` are its own."""
        self._client = BlockingClient(host, port, **options)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client after the request under way."""
        async with self._turn:
            self._client.close()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._client, name)

        async def ask(**params: Any) -> Any:
            async with self._turn:  # requests of one test wait for each other, as in a script
                return await asyncio.to_thread(method, **params)

        return ask


def client_of(form: Form, host: str, port: int, **options: Any) -> Client:
    """Return a client over TCP, or over TLS as ``options`` say."""
    if form == "asyncio":
        return Client(host, port, **options)
    return cast(Client, Script(host, port, **options))
