"""A connection with TLS: encrypted bytes of the network on one side, a transport like that of TCP on the other.

A step of a handshake costs 1 to 2 ms, for our signature and the check of the peer's certificate. The loop's own
TLS does each step as soon as its bytes arrive. So a thousand switches that reconnect at once would delay every
decision. Here the steps wait, and a :class:`HandshakePacer` does one at a time, in turns of the sources. A second
difference from the loop's own TLS: a peer can end its side of the stream and still get its answers, as over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

HANDSHAKE_SECONDS = 5.0
"""Longest time that a handshake waits for its peer, in all its steps together."""
READ = 65536
"""Maximum size of one read, in bytes."""
_LEAST_REST = 0.001
"""Minimum time between two steps of handshakes, in seconds."""

_raw = bytearray(READ)
_raw_view = memoryview(_raw)


class DisplacedError(Exception):
    """An unfinished handshake was abandoned, because a source with fewer connections needed the room."""


class HandshakePacer:
    """Makes handshake steps: one at a time, and after each as much time for other work as it took.

    The sources of the connections take turns, so a source with many steps delays only itself. A step costs 0.5 to
    2 ms and delays a decision by as much. A separate thread for the steps delayed some decisions by far more. A
    thread that waits for a processor may still hold the GIL.
    """

    def __init__(self) -> None:
        self._sources: OrderedDict[bytes, OrderedDict[object, Callable[[], None]]] = OrderedDict()
        """The next step of each waiting connection, by its source. The source with the next turn is the first."""
        self._timer: asyncio.TimerHandle | None = None
        self._rested = 0.0
        """Earliest time of the next step, in the loop's time."""

    def queue(self, source: bytes, connection: object, step: Callable[[], None]) -> None:
        """Queue the next step of a connection."""
        self._sources.setdefault(source, OrderedDict())[connection] = step
        self._go_on()

    def drop(self, source: bytes, connection: object) -> None:
        """Drop the step of a connection that has ended."""
        steps = self._sources.get(source)
        if steps is not None and steps.pop(connection, None) is not None and not steps:
            del self._sources[source]

    def close(self) -> None:
        """Drop all queued steps."""
        self._sources.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        if self._timer is None and self._sources:
            self._timer = asyncio.get_running_loop().call_at(self._rested, self._make)

    def _make(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if not self._sources:  # the connections have ended
            return
        source, steps = self._sources.popitem(last=False)
        _, step = steps.popitem(last=False)
        if steps:
            self._sources[source] = steps
        began = time.perf_counter()  # the loop's time does not advance while a callback runs
        try:
            step()
        finally:
            self._rested = loop.time() + max(time.perf_counter() - began, _LEAST_REST)
            self._go_on()


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """One connection. ``application`` gets its transport after the handshake, and then the decrypted bytes."""

    _below: asyncio.Transport

    def __init__(
        self,
        context: ssl.SSLContext,
        application: asyncio.BufferedProtocol,
        pace: HandshakePacer,
        source: bytes,
        on_shaken: Callable[[TlsTransport, Exception | None], None],
    ) -> None:
        """``pace`` schedules the steps of the handshake, in turns of all ``source``.

        ``on_shaken`` gets the error of the handshake, or None, at the end.
        """
        super().__init__()
        self._application = application
        self._pace = pace
        self._source = source
        self._on_shaken = on_shaken
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaking = True
        self._patience = HANDSHAKE_SECONDS
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = self._paused = self._deliver_soon = False
        self._cut_off = False
        """True after the end of the stream, by the peer or by an error of the network."""
        self._at_eof = False
        """True after the application has been notified of the end."""

    # ---- the network's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes of the peer."""
        self._below = cast("asyncio.Transport", transport)
        self._wait_for_peer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for a read. All connections share it, since each read is copied before the next."""
        return _raw_view

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the bytes of a read to the handshake or to the application."""
        self._incoming.write(_raw_view[:nbytes])
        if self._shaking:
            self._step()
        elif not self._paused:
            self._deliver()

    def eof_received(self) -> bool:
        """Notify the application of the end, even without a close_notify: framings detect a cut message."""
        if self._shaking:
            self._shaken(ConnectionResetError("ended within the handshake"))
            return False
        self._cut_off = True
        if not self._paused:
            self._deliver()
        return True  # this side closes the connection itself

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the application, or end the handshake."""
        if self._shaking:
            self._shaken(exc or ConnectionResetError("ended within the handshake"))
        else:
            self._application.connection_lost(exc)

    def pause_writing(self) -> None:
        """Notify the application that the peer does not read."""
        if not self._shaking:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        """Notify the application that the peer reads again."""
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
        """Queue one step of the handshake, and read nothing until it is done."""
        loop = asyncio.get_running_loop()
        self._below.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._patience -= loop.time() - self._waiting_since
        self._pace.queue(self._source, self, self._make_step)

    def _make_step(self) -> None:
        if not self._shaking:  # the connection has ended
            return
        error: Exception | None = None
        try:
            self._tls.do_handshake()
        except Exception as failure:  # an error of a peer must end its own connection only
            error = failure
        self._flush()  # including an alert with the reason of a failure
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
        """Abandon the handshake."""
        if not self._shaking:
            return
        self._shaking = False
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._pace.drop(self._source, self)
        self._application = asyncio.BufferedProtocol()  # the real one never learns of this connection
        self._on_shaken(self, error)
        self._below.close()

    def give_way(self) -> None:
        """Abandon the handshake in favour of a new connection."""
        self._shaken(DisplacedError())
        self._below.abort()

    # ---- the application's side

    def _deliver(self) -> None:
        """Pass all readable bytes to the application."""
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
        """Fill the buffer from as many records as fit. Return the number of bytes."""
        size = 0
        try:
            while size < len(buffer):
                more = cast("int", self._tls.read(len(buffer) - size, buffer[size:]))
                if not more:
                    self._cut_off = True
                    break
                size += more
                if not (self._incoming.pending or self._tls.pending()):
                    break  # another read would raise SSLWantReadError, which costs more than this check
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError):  # a corrupt record: the rest of the stream is invalid, too
            self._cut_off = True
        return size

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, in the order of the calls."""
        if self.is_closing():
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except (ssl.SSLError, OSError):  # this side has ended its stream, or the connection is broken
            self.abort()
            return
        self._flush()

    def pause_reading(self) -> None:
        """Stop passing bytes to the application."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Continue to pass bytes to the application, soon also those that wait here."""
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
        """Return True: this side can end its stream before the peer does."""
        return True

    def write_eof(self) -> None:
        """End this side of the stream. Bytes of the peer can still be read."""
        with contextlib.suppress(ssl.SSLError, OSError):  # the close_notify of the peer has not arrived yet
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        """Close after all written bytes are sent."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Return True if no more bytes can be written."""
        return self._closing or self._below.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that wait to be sent."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the number of waiting bytes beyond which ``pause_writing`` is called."""
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``ssl_object``, ``undelivered`` (the bytes that wait here), or the value of the TCP transport."""
        if name == "ssl_object":
            return self._tls
        if name == "undelivered":
            return self._incoming.pending + self._tls.pending() if self._paused or self._deliver_soon else 0
        return self._below.get_extra_info(name, default)
