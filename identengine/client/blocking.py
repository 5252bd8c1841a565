"""The client for scripts: the same coroutines over a blocking socket, where each finishes in one step."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Coroutine
from typing import Concatenate, ParamSpec, Self, TypeVar

from identengine.client.exchange import Encoding
from identengine.client.methods import PORT, TIMEOUT, Methods
from identengine.client.socketconnection import SocketConnection

P = ParamSpec("P")
R = TypeVar("R")


def _finished(coroutine: Coroutine[object, None, R]) -> R:
    """Return the result of a coroutine that blocks and never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking client suspended")


def _blocking(
    method: Callable[Concatenate[Methods, P], Coroutine[object, None, R]],
) -> Callable[Concatenate[BlockingClient, P], R]:
    """Return the blocking form of a method, with its parameters, result and docstring."""

    @functools.wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _finished(method(self._methods, *args, **kwargs))

    return call


class BlockingClient:
    """A client that waits for each answer. A ``with`` block closes it. Threads must not share one.

    Methods, results, errors and the rules for retries are those of :class:`identengine.client.Client`. It connects
    on the first request, and reconnects if the connection was lost or a request timed out. It needs no event loop.
    Within a running loop it works too, but blocks the loop until the answer arrives.
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
    ) -> None:
        """Take the arguments of :class:`identengine.client.Client`."""
        self._connection = SocketConnection(host, port, tls=tls, token=token, encoding=encoding, patience=timeout)
        self._methods = Methods(self._connection, timeout, retries)
        self.where = self._connection.where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        _finished(self._connection.close())

    authorize = _blocking(Methods.authorize)
    identify = _blocking(Methods.identify)
    explain = _blocking(Methods.explain)
    start = _blocking(Methods.start)
    update = _blocking(Methods.update)
    stop = _blocking(Methods.stop)
    sync = _blocking(Methods.sync)
    switch_up = _blocking(Methods.switch_up)
    switch_down = _blocking(Methods.switch_down)
    ping = _blocking(Methods.ping)
