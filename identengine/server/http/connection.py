"""One client's connection: HTTP as uvicorn speaks it, and how long one may take for it.

uvicorn waits for ever for a request that began, and for a client that does not read its answer. Here a request
has so many seconds from its first byte to the last of its answer; between two it may be silent for
``[limits] idle_seconds``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from identengine.server.http.problems import Problem

REQUEST_SECONDS = 20.0
"""More than an answer takes at most, with time for a slow line."""
_LINGER = 2.0
"""Seconds that a client has to take the last bytes."""


def whole_answer(status: int, phrase: str, message: str) -> bytes:
    """Return an answer after which the connection is closed, for a client that there is no request of."""
    body = msgspec.json.encode(Problem(status, message))
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    return f"{head}{retry}Content-Length: {len(body)}\r\n\r\n".encode() + body


_NOT_HTTP = whole_answer(400, "Bad Request", "this is not HTTP as RFC 9112 has it")
_TOO_SLOW = whole_answer(408, "Request Timeout", f"a request has {REQUEST_SECONDS:.0f} s; this one took longer")


class Connection(H11Protocol):
    """A connection that ends if a request takes too long. ``on_lost`` is called once, at its end."""

    def __init__(self, config: Config, state: ServerState, on_lost: Callable[[], None]) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._on_lost = on_lost
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = False
        """Whether the deadline is for what is left of an answer to be read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a request: whoever connects has something to say."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._done()
        self._on_lost()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take what came; the first of it begins a request."""
        if self._deadline is None or (self._answered and not self.transport.get_write_buffer_size()):
            self._begin()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request, once the client has read this answer."""
        self._done()
        if self.transport.get_write_buffer_size():
            self._begin()
            self._answered = True
        super().on_response_complete()
        if not self.transport.is_closing() and self._has_begun_next():
            self._begin()

    def _has_begun_next(self) -> bool:
        """Whether bytes of a request are there that came with those of the one that is answered."""
        return self.conn.their_state is not h11.IDLE or bool(self.conn.trailing_data[0])

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request in the form that all answers have."""
        self._end(_NOT_HTTP)

    def _begin(self) -> None:
        self._done()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

    def _done(self) -> None:
        self._answered = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        answered, waiting = self._answered, self.transport.get_write_buffer_size()
        self._done()
        if waiting or not self.idle:
            self.transport.abort()
        elif not answered:
            self._end(_TOO_SLOW)

    def _end(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()
        self.loop.call_later(_LINGER, self.transport.abort)
