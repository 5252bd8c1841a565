"""One client's connection: uvicorn's HTTP, with a time limit for each request.

uvicorn waits without limit for the rest of a request, and for a client that does not read its answer. Here a
request has REQUEST_SECONDS from its first byte to the last byte of its answer. Between two requests a connection
may be idle for ``[limits] idle_seconds``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from identengine.server.http.problems import Problem, too_slow

REQUEST_SECONDS = 20.0
"""The time limit of a request, in seconds: the longest answer, and time for a slow network."""
_LINGER = 2.0
"""The time in which a client has to read the last bytes, in seconds."""


def whole_answer(status: int, phrase: str, message: str) -> bytes:
    """Return an error for a connection without a usable request. The server closes the connection after it."""
    body = msgspec.json.encode(Problem(status, message))
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    return f"{head}{retry}Content-Length: {len(body)}\r\n\r\n".encode() + body


_NOT_HTTP = whole_answer(400, "Bad Request", "expected HTTP/1.1 (RFC 9112)")
_TOO_SLOW = whole_answer(408, "Request Timeout", too_slow(REQUEST_SECONDS))


class Connection(H11Protocol):
    """A connection that closes if a request takes too long. It calls ``on_lost`` once, when it is closed."""

    def __init__(self, config: Config, state: ServerState, on_lost: Callable[[], None]) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._on_lost = on_lost
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = False
        """True if the deadline applies to the client's reading of an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the deadline of the first request, since a client connects in order to send one."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline and report the end of the connection."""
        super().connection_lost(exc)
        self._done()
        self._on_lost()

    @property
    def idle(self) -> bool:
        """True if no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Parse the bytes. The first byte after an answer starts the deadline of the next request."""
        if self._deadline is None or (self._answered and not self.transport.get_write_buffer_size()):
            self._begin()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Set a deadline for the client to read the answer, then wait for the next request."""
        self._done()
        if self.transport.get_write_buffer_size():
            self._begin()
            self._answered = True
        super().on_response_complete()
        if not self.transport.is_closing() and self._has_begun_next():
            self._begin()

    def _has_begun_next(self) -> bool:
        """Return True if the first bytes of the next request arrived together with the previous request."""
        return self.conn.their_state is not h11.IDLE or bool(self.conn.trailing_data[0])

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP in the shape of all errors."""
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
