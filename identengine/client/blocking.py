"""The client for scripts: the same coroutines over a blocking socket, so that each finishes in one step."""

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
    """Asks one server and waits for each answer; a ``with`` closes it. Not for several threads at once.

    Methods, results, errors and what may be asked again are those of :class:`identengine.client.Client`. It
    connects when it is asked, and anew where the connection was lost, or a request timed out. It needs no event
    loop, and may be used where one runs: the loop then stands still until the answer is there.
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
        """As :class:`identengine.client.Client`."""
        self._connection = SocketConnection(host, port, tls=tls, token=token, encoding=encoding, patience=timeout)
        self._methods = Methods(self._connection, timeout, retries)
        self.where = self._connection.where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request would make another."""
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
