"""The blocking form's connection: a socket, one request at a time, no event loop and no thread.

Its coroutines block instead of suspending, so :class:`identengine.client.BlockingClient` runs each in one step.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time

from identengine.client.connection import Connection
from identengine.client.errors import AskError
from identengine.client.exchange import Answer, Encoding, Exchange
from identengine.client.stream import Stream
from identengine.errors import WireError
from identengine.wire.jsonrpc.methods import Result

_READ = 65536
_UNBOUNDED: contextlib.nullcontext[None] = contextlib.nullcontext()
"""A block that bounds nothing: the deadline bounds each call of the socket instead."""


class Deadline:
    """When the request under way is late, by the monotonic clock in seconds."""

    def __init__(self) -> None:
        self.at = 0.0

    def left(self) -> float:
        """Return the seconds that are left. Raise TimeoutError if there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class SocketStream(Stream):
    """A stream over a blocking socket. A request that gets no answer ends it, since its answer may still come."""

    def __init__(self, exchange: Exchange, where: str, opened: socket.socket, deadline: Deadline) -> None:
        """Send and receive on ``opened`` until ``deadline``; the stream closes it."""
        super().__init__(exchange, where)
        self._socket = opened
        self._deadline = deadline
        self._answered: Answer | None = None

    def abort(self, why: str) -> None:
        """Close the socket (Stream)."""
        self._mark_ended(why)
        self._socket.close()

    def is_readable(self) -> bool:
        """Return True if bytes, or the end, have arrived. select() takes no file numbers from 1,024 on."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    async def _resumed(self) -> None:
        """Return at once: this stream is never paused, its socket blocks."""

    async def _answer(self, message_id: int, data: bytes) -> Result:
        self._answered = answer = None
        try:
            self._socket.settimeout(self._deadline.left())
            self._socket.sendall(data)
            while answer is None and not self.ended:
                answer = self._read()
        except TimeoutError:
            self.abort("a request was late")
            raise
        except OSError as error:
            self.abort(str(error))
            raise self._lost(sent=True) from error
        except BaseException:  # such as KeyboardInterrupt
            self.abort("a request was interrupted")
            raise
        if answer is None:
            raise self._lost(sent=True)
        if isinstance(answer.result, AskError | WireError):
            raise answer.result
        return answer.result

    def _deliver(self, answer: Answer) -> None:
        self._answered = answer

    def _read(self) -> Answer | None:
        """Receive bytes, or the end; return the answer if they complete it."""
        self._socket.settimeout(self._deadline.left())
        data = self._socket.recv(_READ)
        self.heard = time.monotonic()
        if data:
            self._received(data)
        else:
            self.abort("")
        return self._answered


class SocketConnection(Connection[SocketStream]):
    """A connection that is made when it is asked, and anew if it was lost. A failure to connect is an error."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        token: str | None,
        encoding: Encoding,
        patience: float,
    ) -> None:
        """As :class:`Connection`, with one request in flight."""
        super().__init__(host, port, tls=tls, token=token, encoding=encoding, in_flight=1, patience=patience)
        self._slots = _UNBOUNDED
        self._deadline = Deadline()
        self._stream: SocketStream | None = None

    async def close(self) -> None:
        """Close the socket; the next request opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort("closed")

    def _time(self) -> float:
        return time.monotonic()

    def _timeout(self, seconds: float) -> contextlib.nullcontext[None]:
        self._deadline.at = self._time() + seconds
        return _UNBOUNDED

    async def _connected(self) -> SocketStream:
        stream = self._stream
        if stream is not None and not stream.ended and stream.is_readable():
            stream.abort("")  # no request waits, so nothing but the end is there to be read
        if stream is None or stream.ended:
            self._stream = None
            self._stream = stream = await self._connect()
        return stream

    async def _dial(self) -> SocketStream:
        opened = socket.create_connection(self._address, timeout=self._deadline.left())
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                opened = self._tls.wrap_socket(opened, server_hostname=self._address[0])
        except BaseException:
            opened.close()
            raise
        return SocketStream(Exchange(self._encoding), self.where, opened, self._deadline)
