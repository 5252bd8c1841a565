"""The connection of the blocking client: a socket, one request at a time, no event loop and no thread.

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
"""A context without a time-out. The deadline bounds each call of the socket instead."""


class Deadline:
    """The time at which the current request times out, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.at = 0.0

    def left(self) -> float:
        """Return the time that is left, in seconds. Raise TimeoutError if the deadline has passed."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class SocketStream(Stream):
    """A stream over a blocking socket.

    A request without an answer ends the stream. Otherwise its late answer could be taken for the next one.
    """

    def __init__(self, exchange: Exchange, where: str, opened: socket.socket, deadline: Deadline) -> None:
        """Send and receive on ``opened`` until ``deadline``. The stream closes the socket."""
        super().__init__(exchange, where)
        self._socket = opened
        self._deadline = deadline
        self._answered: Answer | None = None

    def abort(self, why: str) -> None:
        """Close the socket (Stream)."""
        self._mark_ended(why)
        self._socket.close()

    def is_readable(self) -> bool:
        """Return True if bytes, or the end of the stream, have arrived."""
        poll = select.poll()  # select() accepts no file descriptor above 1,023
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    async def _resumed(self) -> None:
        """Return at once. This stream is never paused, since its socket blocks."""

    async def _answer(self, message_id: int, data: bytes) -> Result:
        self._answered = answer = None
        try:
            self._socket.settimeout(self._deadline.left())
            self._socket.sendall(data)
            while answer is None and not self.ended:
                answer = self._read()
        except TimeoutError:
            self.abort("a request timed out")
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
        """Receive bytes. Return the answer if they complete it."""
        self._socket.settimeout(self._deadline.left())
        data = self._socket.recv(_READ)
        self.heard = time.monotonic()
        if data:
            self._received(data)
        else:
            self.abort("")
        return self._answered


class SocketConnection(Connection[SocketStream]):
    """A connection that is opened by a request, and reopened if it was lost. A failure to connect is an error."""

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
        """Take the arguments of :class:`Connection`. One request is in flight at a time."""
        super().__init__(host, port, tls=tls, token=token, encoding=encoding, in_flight=1, patience=patience)
        self._slots = _UNBOUNDED
        self._deadline = Deadline()
        self._stream: SocketStream | None = None

    async def close(self) -> None:
        """Close the socket. The next request opens a new one."""
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
            stream.abort("")  # no request waits, so only the end of the stream can be readable
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
