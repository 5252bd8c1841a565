"""Both forms of the client with the methods of the asyncio one, so that one test body runs over both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Self, cast

from identengine import BlockingClient, Client

Form = Literal["asyncio", "blocking"]
FORMS: list[Form] = ["asyncio", "blocking"]


class Script:
    """A BlockingClient with coroutines.

    It asks in threads, since the server of a test may run in the caller's loop.
    """

    def __init__(self, host: str, port: int, **options: Any) -> None:
        """Make a BlockingClient with these options."""
        self._client = BlockingClient(host, port, **options)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client after the current request."""
        async with self._turn:
            self._client.close()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._client, name)

        async def ask(**params: Any) -> Any:
            async with self._turn:  # requests of one test wait for each other, as in a script
                return await asyncio.to_thread(method, **params)

        return ask


def client_of(form: Form, host: str, port: int, **options: Any) -> Client:
    """Return a client over TCP, or over TLS if ``options`` contain it."""
    if form == "asyncio":
        return Client(host, port, **options)
    return cast(Client, Script(host, port, **options))
