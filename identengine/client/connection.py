"""Asking over TCP or TLS: connect, authenticate, send and receive, in one body for both forms of the client.

The coroutines here suspend only in the abstract methods of :class:`Connection` and of its streams. On the event
loop those methods wait. On a blocking socket they block, so a coroutine finishes in its first step.
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
"""The errors of an attempt to connect.

TimeoutError and ssl.SSLError are OSErrors. An impossible host is a ValueError (UnicodeError), an impossible port
is an OverflowError.
"""

S = TypeVar("S", bound=Stream)


class Connection(abc.ABC, Generic[S]):
    """A connection to one server, over one stream at a time. Subclasses dial, keep time and reconnect."""

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
        """Take the arguments of :class:`identengine.client.Client`. ``patience`` is the time-out in seconds."""
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._tls = tls
        self._token = token
        self._encoding = encoding
        self._in_flight = in_flight
        self._patience = patience
        self._trouble = f"there is no connection to {self.where}"
        """Reason why there is no connection."""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer.

        Raise AskError, EncodingError, WireError, LostError, or LateError after ``seconds``.
        """
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
                why = f"{self._in_flight} other requests are in flight" if crowded else self._trouble
                raise LateError(f"{late}: {why}", sent=False) from None
            if stream.heard < asked and self._time() - asked >= self._patience:
                # Not one byte arrived meanwhile: the server vanished without closing the connection, or hangs.
                stream.abort(f"no answer within {seconds:g} s")
            raise LateError(late, sent=True) from None

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the connection. Requests that wait on it fail."""

    @abc.abstractmethod
    def _time(self) -> float:
        """Return the time of the connection's clock, in seconds."""

    @abc.abstractmethod
    def _timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Return a context that raises TimeoutError after ``seconds``."""

    @abc.abstractmethod
    async def _connected(self) -> S:
        """Return the stream. Connect if there is none. Raise AskError, WireError or LostError if that fails."""

    @abc.abstractmethod
    async def _dial(self) -> S:
        """Return a new stream. Raise one of :data:`UNREACHABLE`."""

    async def _connect(self) -> S:
        """Return a new stream that has authenticated.

        Raise AskError if the server rejects the token, WireError if its answer to the token cannot be decoded,
        and LostError if there is no connection.
        """
        stream: S | None = None
        try:
            stream = await self._dial()
            if self._token is not None:
                await stream.authenticate(self._token)
        except BaseException as error:
            if stream is not None:
                stream.abort("authentication failed")
            if isinstance(error, AskError):
                raise AskError(error.code, f"{self.where} rejected the token: {error.message}") from None
            if isinstance(error, LostError):
                raise LostError(str(error), sent=False) from error  # the token was sent, the request was not
            if isinstance(error, UNREACHABLE):
                raise LostError(f"no connection to {self.where}: {error}", sent=False) from error
            raise
        return stream
