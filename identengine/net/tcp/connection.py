"""Messages over connections: the messages that one read completes are one batch, one decision and one write.

Flow control is left to the kernel: a peer that does not read its answers is not read from. So its answers need
bounded memory (``unread_bytes`` and the answers of one turn). A peer that sends many messages at once takes turns
with the others. Messages beyond one turn wait, and the peer is not read from meanwhile. A connection that
completes no message for ``idle_seconds`` is closed, even if it keeps sending parts of a message. A message that
waited for longer than ``datagram_age_ms``, here or in the kernel, is shed: answered, but not decided
(interfaces.md 3).
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import sys
import termios
import time
from collections import deque
from typing import Protocol, cast

from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.introduction import Introduction
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framer, Framings
from identengine.wire.responder import MessageResponder
from identengine.wire.session import Session

READ = 65536
"""Maximum size of one read, in bytes."""
TURN = 64
TURN_BYTES = 16384
"""Maximum number of messages of one connection in one turn of the loop, and of bytes after the first message.

The requests that a switch has in flight usually fit into one batch. A connection with more takes turns.
"""
_LINGER = 5.0
"""Time for the peer of a closed connection to read the last answers, in seconds."""
_TCP_INFO_SIZE = 56
"""Size of the part of ``struct tcp_info`` that is read, in bytes."""
_LAST_DATA = slice(52, 56)
"""Place in ``struct tcp_info`` of the time since the newest data arrived, in milliseconds."""
_INTRODUCTION = 10.0
"""Time for a connection to authenticate if its address alone is not enough, in seconds."""
PARTING = 0.5
"""Longest wait of a draining connection for its peer to close, in seconds.

It begins when all answers are with the kernel, which delivers them even after this side closes. A drain waits as
long for a moment without new data.
"""

_buffer = bytearray(READ)
_view = memoryview(_buffer)


class ConnectionHost(Protocol):
    """The holder of connections, usually a listener: it admits peers, and has what all connections share."""

    quota: ConnectionQuota
    """The limits, and the number of connections of each switch."""
    framings: Framings
    """The framings that a connection may begin with, each with its responder."""
    connections: set[Connection]
    """Admitted connections; each adds and removes itself."""
    strangers: dict[Connection, None]
    """Connections that had not authenticated when they were admitted, the oldest first."""

    def meet(self, transport: asyncio.Transport) -> Session | None:
        """Return the session of a connection, or None for an unknown peer."""

    def refuse(self, transport: asyncio.Transport, why: str) -> None:
        """Count and log a connection that is refused."""

    def make_room(self) -> bool:
        """Close an unauthenticated connection in favour of a new one. Return True if one was closed."""

    def looked(self) -> float:
        """Return the time of the loop's last poll, in the loop's time. Data that is read now had arrived then."""

    @property
    def late(self) -> bool:
        """True if data read now may have waited in the kernel because the process was busy."""


class Connection(asyncio.BufferedProtocol):
    """The connection of one peer."""

    _transport: asyncio.Transport
    _session: Session
    _respond: MessageResponder
    _introduction: Introduction
    _framer: Framer | None = None
    """The framing of the connection; None until the first byte, which determines it, arrives."""

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._counted: str | None = None
        """The switch for which the connection counts; None if it was refused or has ended."""
        self._queue: deque[bytes] = deque()
        """Messages that wait for a turn."""
        self._arrived = 0.0
        """Time at which the waiting messages were read, in the loop's time."""
        self._scheduled = False
        """True if a turn is scheduled. The connection is not read meanwhile."""
        self._left: int | None = None
        """Number of bytes still to read before the end, if a drain has set one."""
        self._at_eof = False
        self._unread = False
        """True while the peer leaves too many answers unread and is not read from."""
        self._ending = False
        """True after the last answer. Further data is discarded."""
        self._since = 0.0
        """Time of the last complete message, or of the start of the close, in the loop's time."""
        self._owed = DeferredCount()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit a known peer if there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        host = self._host
        session = host.meet(self._transport)
        refusal = "unknown peer" if session is None else host.quota.refusal(_counted_as(session))
        if session is not None and refusal is not None and host.make_room():
            refusal = host.quota.refusal(_counted_as(session))
        if session is None or refusal is not None:
            host.refuse(self._transport, refusal or "")
            self._transport.abort()
            return
        self._session = session
        self._since = asyncio.get_running_loop().time()
        self._transport.set_write_buffer_limits(high=host.quota.limits.unread_bytes)
        host.connections.add(self)
        if not session.authenticated:
            host.strangers[self] = None
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        if self._counted is not None:
            self._leave(self._counted)

    def _leave(self, counted: str) -> None:
        self._host.connections.discard(self)
        self._host.strangers.pop(self, None)
        self._host.quota.leave(counted)
        self._counted = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for a read. All connections share it, since each read is copied before the next."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Answer the messages that a read completed, as many as one turn allows."""
        if self._ending or self._counted is None:
            return
        if self._framer is None:
            framing = self._host.framings.chosen_by(_view[0])
            self._framer = framing.framer(self._host.quota.limits.message_bytes)
            self._respond = framing.responder()
            self._introduction = Introduction(framing, self._framer, self._session)
        if not self._queue:
            self._arrived = self._host.looked()
            if self._host.late:  # not always called, since the system call costs as much as a decision
                self._arrived = min(self._arrived, time.monotonic() - _age_of_newest(self._transport))
        data = bytes(_view[:nbytes])
        if self._framer.cautious:
            self._queue.extend(self._introduction.feed(data, self._framer, self._session))
        else:
            self._queue.extend(self._framer.feed(data))
        if self._left is not None:
            self._left -= nbytes
        if not self._scheduled:
            self._turn()

    def eof_received(self) -> bool:
        """Answer all complete messages, and half a message with an error."""
        self._at_eof = True
        if not self._scheduled and not self._ending and self._counted is not None:
            self._turn()
        # False closes the connection after a flush. True keeps it open, since more answers are due.
        return self._scheduled or self._unread or self._owed.count > 0

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read its answers, and stop answering it."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Continue to answer and to read."""
        self._unread = False
        if not self._scheduled:
            self._turn()

    def _turn(self) -> None:
        """Answer as many waiting messages as one turn allows, and schedule a turn for the rest."""
        self._scheduled = False
        framer = self._framer
        if self._ending or self._unread or self._counted is None or self._transport.is_closing():
            return
        if framer is None:  # the stream ended before its first byte
            self._end()
            return
        messages: list[bytes] = []
        size = 0
        while self._queue and len(messages) < TURN and size < TURN_BYTES:
            messages.append(self._queue.popleft())
            size += len(messages[-1])
        more = bool(self._queue)
        error = None if more else framer.error
        if not more and self._at_eof and framer.pending and error is None:
            error = "the stream ended within a message"
        if (messages or error is not None) and not self._answer(messages, framer, error):
            return
        if more:
            self._transport.pause_reading()
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._at_eof or (self._left is not None and self._left <= 0):
            if not self._owed.count:
                self._end()
        elif not self._unread:  # the answers of this turn may have set it
            self._transport.resume_reading()

    def _answer(self, messages: list[bytes], framer: Framer, error: str | None) -> bool:
        """Answer messages, and the error after them if there is one. Return True if the connection stays open."""
        host, session = self._host, self._session
        if session.authenticated:  # a message without authentication does not extend the time for it
            self._since = asyncio.get_running_loop().time()
        too_old = (time.monotonic() - self._arrived) * 1000 > host.quota.limits.datagram_age_ms
        before = session.peer
        answers, broken = self._respond(messages, session, error, self._answer_late, self._owed, too_old)
        if answers:
            self._transport.write(b"".join(map(framer.frame, answers)))
        if session.peer is not before and not self._count():
            return False
        if broken:
            self._end()
        return not broken

    def _answer_late(self, answer: bytes) -> None:
        """Write a deferred answer if the connection is still open."""
        if self._transport.is_closing() or self._ending or self._framer is None:
            return
        self._since = asyncio.get_running_loop().time()
        self._transport.write(self._framer.frame(answer))
        if not self._scheduled:
            self._turn()  # a close may have waited for this answer

    def reauthenticate(self) -> None:
        """Resolve the session again after a change of the switches. Credentials already shown stay valid."""
        if self._counted is None:
            return
        session = self._host.meet(self._transport)
        if session is None:
            self._transport.abort()
            return
        known = self._session.peer is not None
        self._session = self._session.reauthenticate(session)
        if known and self._session.peer is None:  # its token is no longer in the config
            self._transport.abort()
            return
        self._count(always=True)

    def _count(self, *, always: bool = False) -> bool:
        """Count the connection for its current switch. Return False, and close it, if that switch has too many.

        With ``always`` the connection may exceed the limit.
        """
        quota = self._host.quota
        switch = _counted_as(self._session)
        if self._counted is not None:
            quota.leave(self._counted)
        refusal = None if always else quota.refusal(switch)
        quota.enter(switch)
        self._counted = switch
        if refusal is not None:
            self._host.refuse(self._transport, refusal)
            self._end()
        return refusal is None

    def close_if_idle(self, now: float) -> None:
        """Close the connection if it was idle for too long. Abort it if its peer does not close either."""
        if self._ending:
            if now - self._since > _LINGER:
                self.abort()
        elif now - self._since > self._patience():
            if self._unread or self._transport.is_closing():  # the last close had no effect
                self.abort()
            else:
                self._transport.close()

    def _patience(self) -> float:
        """Return the longest time without a message, in seconds. It is shorter before authentication."""
        idle = self._host.quota.limits.idle_seconds
        return idle if self._session.authenticated else min(idle, _INTRODUCTION)

    def give_way(self) -> bool:
        """Abort the connection unless a peer has authenticated on it. Return True if it was aborted."""
        if self._counted is None or self._session.authenticated:
            return False
        self._leave(self._counted)
        self._transport.abort()
        return True

    def drain(self, now: float, *, patient: bool) -> None:
        """End the connection if all received data is answered. If its peer never stops sending, set an end.

        Close it after the kernel has the last answers and the peer has had time to close first.
        """
        if self._ending:
            if not self._transport.get_write_buffer_size() and now - self._since > PARTING:
                self._transport.close()
            return
        waiting = _waiting(self._transport)
        if not waiting and not self._scheduled and not self._unread and not self._owed.count:
            framer = self._framer
            if framer is None or not framer.pending or self._at_eof or self._counted is None:
                self._end()
            elif not patient:  # otherwise the other half of a message may still arrive
                self._answer([], framer, "the server ended within a message")
        elif not patient and self._left is None and not self._unread:
            self._left = waiting

    @property
    def settled(self) -> bool:
        """True if no further message of the connection will be decided."""
        return self._ending or self._counted is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once and drop unsent answers."""
        self._transport.abort()

    def _end(self) -> None:
        """End this side of the stream, and discard further data until the peer closes.

        A close with unread bytes in the kernel would reset the connection and lose the last answers.
        """
        self._queue.clear()
        self._since = asyncio.get_running_loop().time()
        if self._at_eof:
            self._transport.close()  # after the peer has read the answers
            return
        self._ending = True
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._transport.resume_reading()


def host_of(transport: asyncio.Transport) -> str:
    """Return the address of the peer, or ``""`` if it has left already."""
    name = transport.get_extra_info("peername")
    return name[0] if name else ""


def _counted_as(session: Session) -> str:
    return session.peer.name if session.peer is not None else session.host


def _waiting(transport: asyncio.Transport) -> int:
    """Return the number of bytes that wait to be read, in the kernel or in the TLS transport."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is closed
        return 0
    undelivered: int = transport.get_extra_info("undelivered", 0)
    return count[0] + undelivered


def _age_of_newest(transport: asyncio.Transport) -> float:
    """Return the time since the newest bytes of a connection arrived, in seconds, or 0 if it is unknown."""
    try:
        told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:  # not TCP, or closed
        return 0.0
    return int.from_bytes(told[_LAST_DATA], sys.byteorder) / 1000
