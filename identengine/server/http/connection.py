"""One client's connection: uvicorn's HTTP behind a strict framer, with a time limit for each request.

uvicorn waits without limit for the rest of a request, and for a client that does not read its answer. It also
parses all bytes of a read at once, and buffers a body before the application has checked the token. Here the
parser receives one head a turn, and a part of the body when the application asks for the body.

A request has REQUEST_SECONDS from its first byte to the last byte of its answer. Between two requests a connection
may be idle for ``[limits] idle_seconds``. Until its client has shown a right token, both times are at most
UNPROVEN_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from identengine.server.http.admission import Admission, Slot
from identengine.server.http.framing import FramingError, RequestFramer
from identengine.server.http.problems import NOT_HTTP, Problem, too_slow

REQUEST_SECONDS = 20.0
"""The time limit of a request, in seconds: the longest answer, and time for a slow network."""
UNPROVEN_SECONDS = 10.0
"""The time limit of a request and of idleness without a right token, in seconds."""
MOST_WAITING = 1 << 16
"""The number of bytes that wait for the parser before the connection is read no further."""
_LINGER = 2.0
"""The time in which a client has to read the last bytes, in seconds."""


def whole_answer(problem: Problem) -> bytes:
    """Return an error for a connection without a usable request. The server closes the connection after it."""
    body = msgspec.json.encode(problem)
    head = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: application/json\r\n"
    retry = "Retry-After: 1\r\n" if problem.status == 503 else ""
    return f"{head}Connection: close\r\n{retry}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(H11Protocol):
    """A connection that closes if a request takes too long. It calls ``on_lost`` once, when it is closed."""

    def __init__(
        self, config: Config, state: ServerState, admission: Admission, slot: Slot, on_lost: Callable[[], None]
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={"connection": self})
        self._admission = admission
        self._slot = slot
        self._on_lost = on_lost
        self._framer = RequestFramer()
        self._wants_body = False
        """True if the application waits for the body, or does not need it any more."""
        self._ended = False
        """True if the last answer was written and further bytes are dropped."""
        self._begun = 0.0
        """Time at which the deadline began."""
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = False
        """True if the deadline applies to the client's reading of an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the deadline of the first request, since a client connects in order to send one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._on_wanted)
        self._slot.close = transport.abort
        self._begin()
        if not self._slot.is_open:  # its place was needed while it was being made
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline and report the end of the connection."""
        super().connection_lost(exc)
        self._done()
        self._on_lost()

    @property
    def idle(self) -> bool:
        """True if no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def serve(self, host: str) -> None:
        """Count the connection for a client: the peer, or the client that a trusted proxy names."""
        self._admission.begin(self._slot, host)

    def prove(self) -> None:
        """Note that the client has shown a right token, and give its request the whole time."""
        if not self._slot.proven:
            self._admission.prove(self._slot)
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = self.loop.call_at(self._begun + REQUEST_SECONDS, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Frame the bytes. The first byte after an answer starts the deadline of the next request."""
        if self._ended:
            return
        if self._deadline is None or (self._answered and not self.transport.get_write_buffer_size()):
            self._begin()
        self._unset_keepalive_if_required()
        self._framer.receive(data)
        self._advance()
        if len(self._framer) > MOST_WAITING and not self.transport.is_closing():
            self.transport.pause_reading()

    def _advance(self) -> None:
        """Pass the parser the next head, or the next part of the body."""
        if self._ended or self.transport.is_closing():
            return
        try:
            if self._framer.in_body:
                self._pass_body()
            elif self.idle:
                self._pass_head()
        except FramingError as error:
            if self._framer.in_body and self.idle:  # the request was answered without its body
                self._linger()
            else:
                self._refuse(error.problem)
            return
        if len(self._framer) <= MOST_WAITING and not self.transport.is_closing():
            self.transport.resume_reading()

    def _pass_head(self) -> None:
        head = self._framer.next_head()
        if head is not None:
            self._wants_body = False
            super().data_received(head)

    def _pass_body(self) -> None:
        if not (self._wants_body or self.idle):
            return
        part = self._framer.next_part()
        if part:
            self._wants_body = False
            super().data_received(part)
        if self.idle and not self._framer.in_body:
            self._settle()
        elif self.idle and self._framer.awaits(self._admission.limits.message_bytes):
            self._linger()

    def _on_wanted(self) -> None:
        """Pass the body on, since the application waits for it."""
        self._wants_body = True
        if self._framer.in_body and not self.idle:
            self._advance()

    def on_response_complete(self) -> None:
        """Note that the request was answered, and wait for the next one."""
        self._admission.rest(self._slot)
        idle = self._admission.limits.idle_seconds
        self.timeout_keep_alive = idle if self._slot.proven else min(idle, int(UNPROVEN_SECONDS))
        super().on_response_complete()
        self._settle()

    def _settle(self) -> None:
        """Wait until the client has read its answer, for the rest of its request, or for its next one."""
        self._done()
        self._unset_keepalive_if_required()
        if self.transport.get_write_buffer_size():
            self._begin()
            self._answered = True
        if self._ended or self.transport.is_closing():
            return
        if self._framer.in_body or len(self._framer):
            self._begin()
            self.loop.call_soon(self._advance)  # a request a turn, so that other connections have theirs
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP in the shape of all errors."""
        self._refuse(Problem(400, NOT_HTTP))

    def shutdown(self) -> None:
        """Close the connection, or announce that it is closed after the answer."""
        if self._ended:
            self.transport.close()
        else:
            super().shutdown()

    def _begin(self) -> None:
        self._done()
        self._begun = self.loop.time()
        self._deadline = self.loop.call_later(self._patience, self._too_slow)

    @property
    def _patience(self) -> float:
        return REQUEST_SECONDS if self._slot.proven else min(REQUEST_SECONDS, UNPROVEN_SECONDS)

    def _done(self) -> None:
        self._answered = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        answered, waiting = self._answered, self.transport.get_write_buffer_size()
        self._done()
        if waiting or not self.idle or self._framer.in_body:
            self.transport.abort()
        elif not answered:
            self._refuse(Problem(408, too_slow(self._patience)))

    def _refuse(self, problem: Problem) -> None:
        """Answer an error and close, or close alone if an answer has begun."""
        if self.idle:
            self.transport.write(whole_answer(problem))
            self._linger()
        elif self.cycle.response_started:
            self.transport.abort()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.write(whole_answer(problem))
            self._linger()

    def _linger(self) -> None:
        """Close the connection, but drop the client's bytes for a while: a reset could overtake the answer."""
        self._done()
        self._unset_keepalive_if_required()
        self._ended, self._framer = True, RequestFramer()
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.abort)


class _Flow(FlowControl):
    """uvicorn's flow control, except that the connection itself decides how much is read."""

    def __init__(self, transport: asyncio.Transport, on_wanted: Callable[[], None]) -> None:
        super().__init__(transport)
        self._on_wanted = on_wanted

    def pause_reading(self) -> None:
        """Do nothing: the parser never has more than was asked for."""

    def resume_reading(self) -> None:
        """Report that the application waits for the body, or has answered."""
        self._on_wanted()
