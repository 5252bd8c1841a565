"""The client for scripts: one request after another, no event loop, no thread."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Self, TypeVar, Unpack

from identengine.calls.backend import Done
from identengine.client.aio import ONCE_ONLY, PORT, TIMEOUT, checked
from identengine.client.connection import UNREACHABLE
from identengine.client.errors import AskError, LateError, LostError, UnansweredError
from identengine.client.exchange import Answer, Encoding, Exchange, Result
from identengine.client.params import Bare, CallParams, Deciding, Listing, ListParams, Params, Telling, TellParams
from identengine.errors import WireError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong

_READ = 65536

R = TypeVar("R", bound=Result)


class BlockingClient:
    """Asks one server and waits for each answer; a ``with`` closes it. Not for several threads at once.

    Methods, results, errors and what may be asked again are those of :class:`identengine.client.Client`. It
    connects when it is asked, and anew where the connection was lost, or a request timed out.
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
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._tls = tls
        self._token = token
        self._encoding = encoding
        self._timeout = timeout
        self._retries = retries
        self._socket: socket.socket | None = None
        self._exchange = Exchange(encoding)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request would make another."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def authorize(self, **params: Unpack[CallParams]) -> Decision:
        """Decide a call and reserve its slot (engine.md 3 to 6)."""
        return self._ask("authorize", Deciding(**params), Decision)

    def identify(self, **params: Unpack[CallParams]) -> Decision:
        """Decide without side effects or capacity."""
        return self._ask("identify", Deciding(**params), Decision)

    def explain(self, **params: Unpack[CallParams]) -> Explanation:
        """Decide as ``identify``, and say how each candidate fared."""
        return self._ask("explain", Deciding(**params), Explanation)

    def start(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call was answered (engine.md 5.4)."""
        return self._ask("start", Telling(**params), Done)

    def update(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call goes on; ``interval``: seconds until the next time."""
        return self._ask("update", Telling(**params), Done)

    def stop(self, **params: Unpack[TellParams]) -> Done:
        """Tell that a call has ended; its slot is free."""
        return self._ask("stop", Telling(**params), Done)

    def sync(self, **params: Unpack[ListParams]) -> Done:
        """Tell which calls there are: a complete list, or a part of one (engine.md 5.6)."""
        return self._ask("sync", Listing(**params), Done)

    def switch_up(self) -> Done:
        """Tell that the switch has started: it has none of its older calls."""
        return self._ask("switch_up", Bare(), Done)

    def switch_down(self) -> Done:
        """Tell that the switch ends: it has no calls any more."""
        return self._ask("switch_down", Bare(), Done)

    def ping(self) -> Pong:
        """Ask how the server is."""
        return self._ask("ping", Bare(), Pong)

    def _ask(self, method: str, params: Params, kind: type[R]) -> R:
        for _ in range(0 if method in ONCE_ONLY else self._retries):
            with contextlib.suppress(UnansweredError):
                return checked(method, self._once(method, params), kind)
        return checked(method, self._once(method, params), kind)

    def _once(self, method: str, params: Params) -> Result:
        until = time.monotonic() + self._timeout
        opened = self._connected(until)
        try:
            return self._answer(opened, *self._exchange.ask(method, params), until)
        except TimeoutError:
            self.close()
            raise LateError(f"no answer to {method} within {self._timeout:g} s", sent=True) from None
        except OSError as error:
            self.close()
            raise LostError(f"the connection to {self.where} was lost: {error}", sent=True) from error
        except BaseException as error:
            if not isinstance(error, AskError):
                self.close()  # an answer may still come, and belong to nothing
            raise

    def _connected(self, until: float) -> socket.socket:
        if self._socket is not None and _readable(self._socket):
            self.close()  # nothing was asked, so what there is to read is its end
        if self._socket is not None:
            return self._socket
        try:
            opened = socket.create_connection(self._address, timeout=_left(until))
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    opened = self._tls.wrap_socket(opened, server_hostname=self._address[0])
                self._exchange = Exchange(self._encoding)
                if self._token is not None:
                    self._answer(opened, *self._exchange.authenticate(self._token), until)
            except BaseException:
                opened.close()
                raise
        except UNREACHABLE as error:
            raise LostError(f"no connection to {self.where}: {error}", sent=False) from error
        except AskError as error:
            raise AskError(error.code, f"{self.where} does not let us in: {error.message}") from None
        self._socket = opened
        return opened

    def _answer(self, opened: socket.socket, message_id: int, message: bytes, until: float) -> Result:
        """Send a request and read up to its answer."""
        exchange = self._exchange
        opened.settimeout(_left(until))
        opened.sendall(exchange.framed(message))
        while True:
            opened.settimeout(_left(until))
            data = opened.recv(_READ)
            found: list[Answer] = [answer for answer in exchange.receive(data) if answer.id == message_id]
            if found:
                result = found[0].result
                if isinstance(result, AskError | WireError):
                    raise result
                return result
            if exchange.error is not None:
                raise LostError(f"the connection to {self.where} was lost: {exchange.error}", sent=True)
            if not data:
                said = f"; it had said: {exchange.said}" if exchange.said else ""
                raise LostError(f"{self.where} closed the connection{said}", sent=True)


def _readable(opened: socket.socket) -> bool:
    """Return whether there is something to read, or an end; select() takes no file numbers from 1,024 on."""
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    return bool(poll.poll(0))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
