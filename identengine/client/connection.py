"""Asking over TCP or TLS: connect, authenticate, send, receive, in one body for both forms of the client.

The coroutines here suspend only in the abstract methods of :class:`Connection` and of its streams. On the event
loop those wait. On a blocking socket they block, so a coroutine finishes in its first step.
"""

from __future__ import annotations

import abc
import ssl
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from identengine.client.errors import AskError, LateError, LostError
from identengine.client.exchange import Encoding
from identengine.client.params import Params
from identengine.client.stream import Stream
from identengine.wire.jsonrpc.methods import Result

UNREACHABLE = (OSError, ValueError, OverflowError)
"""What dialling can end with. TimeoutError and ssl.SSLError are OSErrors; a host that can be none is a ValueError
(UnicodeError), a port that can be none an OverflowError."""

S = TypeVar("S", bound=Stream)


class Connection(abc.ABC, Generic[S]):
    """Asks one server over one stream at a time. Subclasses dial, keep time and decide when to reconnect."""

    _slots: AbstractAsyncContextManager[object]
    """Held by each request in flight."""

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
        """As :class:`identengine.client.Client` says; ``patience`` is its time-out in seconds."""
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._tls = tls
        self._token = token
        self._encoding = encoding
        self._in_flight = in_flight
        self._patience = patience
        self._trouble = f"there is no connection to {self.where}"
        """Why there is no connection."""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer. Raise AskError, WireError, LostError, or LateError after ``seconds``."""
        stream: S | None = None
        asked = 0.0
        crowded = True
        try:
            async with self._timeout(seconds), self._slots:
                crowded = False
                while True:
                    stream = await self._connected()
                    asked = self._time()
                    try:
                        return await stream.ask(method, params)
                    except LostError as lost:
                        if lost.sent:
                            raise
        except TimeoutError:
            late = f"no answer to {method} within {seconds:g} s"
            if stream is None:
                why = f"{self._in_flight} other requests wait for their answers" if crowded else self._trouble
                raise LateError(f"{late}: {why}", sent=False) from None
            if stream.heard < asked and self._time() - asked >= self._patience:
                # Nothing at all came meanwhile: the other side is gone without a word, or stands still.
                stream.abort(f"no answer within {seconds:g} s")
            raise LateError(late, sent=True) from None

    @abc.abstractmethod
    async def close(self) -> None:
        """End the connection; requests that still wait on it fail."""

    @abc.abstractmethod
    def _time(self) -> float:
        """Return the clock's seconds."""

    @abc.abstractmethod
    def _timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Return a block that ends with TimeoutError after ``seconds``."""

    @abc.abstractmethod
    async def _connected(self) -> S:
        """Return the stream, connecting if there is none. Raise AskError, WireError or LostError if that fails."""

    @abc.abstractmethod
    async def _dial(self) -> S:
        """Return a new stream. Raise one of :data:`UNREACHABLE`."""

    async def _connect(self) -> S:
        """Return a new stream that has authenticated. Raise AskError if the server refuses the token.

        Raise WireError if its answer to the token is not understood, LostError if there is no connection.
        """
        stream: S | None = None
        try:
            stream = await self._dial()
            if self._token is not None:
                await stream.authenticate(self._token)
        except BaseException as error:
            if stream is not None:
                stream.abort("not let in")
            if isinstance(error, AskError):
                raise AskError(error.code, f"{self.where} does not let us in: {error.message}") from None
            if isinstance(error, LostError):
                raise LostError(str(error), sent=False) from error  # the token was sent, the request was not
            if isinstance(error, UNREACHABLE):
                raise LostError(f"no connection to {self.where}: {error}", sent=False) from error
            raise
        return stream
