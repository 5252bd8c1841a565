"""A connection under TLS: bytes of the network on one side, a transport as TCP's is on the other.

The loop's own TLS does a handshake step when its bytes come, and a step costs 1 to 2 ms (a signature of ours, the
check of the peer's certificate): a thousand peers that come back at once would delay every decision meanwhile. So
the steps stand in one queue, and go out of it at a :class:`HandshakePacer`. A peer may also end its side and still
get its answers, as over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

HANDSHAKE_SECONDS = 5.0
"""How long a handshake may wait for its peer, in all its steps."""
READ = 65536
_LEAST_REST = 0.001
"""Seconds between two steps of handshakes, at least."""

_raw = bytearray(READ)
_raw_view = memoryview(_raw)


class HandshakePacer:
    """When the steps of handshakes are made: one at a time, and between two as long for all else as one took.

    A step costs 0.5 to 2 ms, and that is how long it delays a decision. (Beside the decisions, in a thread, they
    delayed some by far more: a thread that is not running, for want of a processor, may still have the GIL.)
    """

    def __init__(self) -> None:
        self._steps: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._rested = 0.0
        """When the next step may be made, by the loop's clock."""

    def queue(self, step: Callable[[], None]) -> None:
        """Have a step made when it is its turn."""
        self._steps.append(step)
        self._go_on()

    def close(self) -> None:
        """Make no more steps."""
        self._steps.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        if self._timer is None and self._steps:
            self._timer = asyncio.get_running_loop().call_at(self._rested, self._make)

    def _make(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        began = loop.time()
        self._steps.popleft()()
        self._rested = loop.time() + max(loop.time() - began, _LEAST_REST)
        self._go_on()


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """One connection; ``application`` gets a transport once the handshake is made, and bytes from then on."""

    _below: asyncio.Transport

    def __init__(
        self,
        context: ssl.SSLContext,
        application: asyncio.BufferedProtocol,
        pace: HandshakePacer,
        on_shaken: Callable[[TlsTransport, Exception | None], None],
    ) -> None:
        """Let ``pace`` say when a step of the handshake is made; tell ``on_shaken`` of its end."""
        super().__init__()
        self._application = application
        self._pace = pace
        self._on_shaken = on_shaken
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaking = True
        self._patience = HANDSHAKE_SECONDS
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = self._paused = self._deliver_soon = False
        self._cut_off = False
        """Whether nothing more comes: the peer said so, or the network."""
        self._at_eof = False
        """Whether the application was told of the end."""

    # ---- the network's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first words of the peer."""
        self._below = cast("asyncio.Transport", transport)
        self._wait_for_peer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to; emptied before the next read of any connection."""
        return _raw_view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came: a part of the handshake, or what the application is to read."""
        self._incoming.write(_raw_view[:nbytes])
        if self._shaking:
            self._step()
        elif not self._paused:
            self._deliver()

    def eof_received(self) -> bool:
        """Tell of the end of the stream, said properly or not: what is cut off no framing takes for whole."""
        if self._shaking:
            self._shaken(ConnectionResetError("ended within the handshake"))
            return False
        self._cut_off = True
        if not self._paused:
            self._deliver()
        return True  # it is closed here

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever has to know."""
        if self._shaking:
            self._shaken(exc or ConnectionResetError("ended within the handshake"))
        else:
            self._application.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell that the peer does not read."""
        if not self._shaking:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        """Tell that it does again."""
        if not self._shaking:
            self._application.resume_writing()

    # ---- the handshake

    def _wait_for_peer(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting_since = loop.time()
        self._timer = loop.call_later(
            self._patience, lambda: self._shaken(TimeoutError("the handshake took too long"))
        )

    def _step(self) -> None:
        """Have one step made, and read nothing meanwhile."""
        loop = asyncio.get_running_loop()
        self._below.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._patience -= loop.time() - self._waiting_since
        self._pace.queue(self._make_step)

    def _make_step(self) -> None:
        if not self._shaking:  # the connection is gone
            return
        error: Exception | None = None
        try:
            self._tls.do_handshake()
        except Exception as failure:  # what a peer does ends its own connection and nothing else
            error = failure
        self._flush()  # an alert too, that says why not
        if isinstance(error, ssl.SSLWantReadError):
            self._wait_for_peer()
            self._below.resume_reading()
        elif error is not None:
            self._shaken(error)
        else:
            self._shaking = False
            self._on_shaken(self, None)
            self._application.connection_made(self)
            self.resume_reading()

    def _shaken(self, error: Exception) -> None:
        """Give the handshake up."""
        if not self._shaking:
            return
        self._shaking = False
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._application = asyncio.BufferedProtocol()  # it never learns of this connection
        self._on_shaken(self, error)
        self._below.close()

    # ---- the application's side

    def _deliver(self) -> None:
        """Give the application what can be read by now."""
        self._deliver_soon = False
        while not (self._paused or self._closing or self._at_eof):
            buffer = cast("memoryview", self._application.get_buffer(-1))
            size = self._read(buffer)
            if size:
                self._application.buffer_updated(size)
            if size == len(buffer):
                continue
            if self._cut_off and not (self._paused or self._closing):
                self._at_eof = True
                if not self._application.eof_received():
                    self.close()
            break
        self._flush()

    def _read(self, buffer: memoryview) -> int:
        """Read as much as there is room for, records put together; returns how much."""
        size = 0
        try:
            while size < len(buffer):
                more = cast("int", self._tls.read(len(buffer) - size, buffer[size:]))
                if not more:
                    self._cut_off = True
                    break
                size += more
                if not (self._incoming.pending or self._tls.pending()):
                    break  # another read would raise SSLWantReadError, which costs more than this one
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError):  # a record that its key does not fit: nothing behind it counts
            self._cut_off = True
        return size

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, in the order of the calls."""
        if self.is_closing():
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except (ssl.SSLError, OSError):  # it was ended, or is broken
            self.abort()
            return
        self._flush()

    def pause_reading(self) -> None:
        """Give the application nothing more for now."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on; what waits here comes soon."""
        self._paused = False
        if self._closing:
            return
        self._below.resume_reading()
        if (self._incoming.pending or self._cut_off or self._tls.pending()) and not self._deliver_soon:
            self._deliver_soon = True
            asyncio.get_running_loop().call_soon(self._resumed)

    def _resumed(self) -> None:
        if self._paused:
            self._deliver_soon = False
        else:
            self._deliver()

    def can_write_eof(self) -> bool:
        """Whether this side may end before the other: it may."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes; what comes still can be read."""
        with contextlib.suppress(ssl.SSLError, OSError):  # the peer's own word for the end did not come yet
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        """Close, once the peer has taken what was written."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._closing or self._below.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say beyond how many bytes ``pause_writing`` is called."""
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peercert``, ``undelivered`` (bytes that wait here to be read), or what is known below."""
        if name == "peercert":
            return self._tls.getpeercert()
        if name == "undelivered":
            return self._incoming.pending + self._tls.pending() if self._paused or self._deliver_soon else 0
        return self._below.get_extra_info(name, default)
