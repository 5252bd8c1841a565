"""Messages over connections: what one read completes is one batch, one decision of the engine and one write.

Flow control is the kernel's: a peer that does not read its answers is not read from, so what it makes us hold is
bounded (``unread_bytes`` and the answers to one turn). A peer that sends much at once takes turns with the others:
what one turn does not answer waits, and nothing more is read from it meanwhile. A connection that completes no
message for ``idle_seconds`` is closed, whether it is silent or sends half a message for ever. What waited for
longer than ``datagram_age_ms``, here or in the kernel, is shed: answered, but not decided (interfaces.md 3).
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
from collections.abc import Callable
from typing import Protocol, cast

from identengine.net.tcp.admission import ConnectionQuota
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framer, Framings
from identengine.wire.responder import MessageResponder
from identengine.wire.session import Session

READ = 65536
"""Most bytes taken in one read."""
TURN = 64
TURN_BYTES = 16384
"""Messages of one connection that are answered in one turn of the loop, and their bytes (one message at least).

What a switch has under way is one batch, as a rule; who sends more takes turns with the others.
"""
_LINGER = 5.0
"""Seconds that a closed connection's peer has for reading the last answers."""
_TCP_INFO_SIZE = 56
_LAST_DATA = slice(52, 56)
"""Of ``struct tcp_info``: milliseconds since the newest data came."""
_INTRODUCTION = 10.0
"""Seconds in which a connection has to show which switch it is of, where addresses alone do not tell."""
PARTING = 0.5
"""Seconds that a draining connection waits for its peer to close once all answers are with the kernel, which
delivers them after our end too; and for a moment in which nothing more has come."""

_buffer = bytearray(READ)
_view = memoryview(_buffer)


class ConnectionHost(Protocol):
    """The holder of a connection, usually a listener: who is admitted, and what all its connections share."""

    quota: ConnectionQuota
    """The limits, and how many connections of each switch there are."""
    framings: Framings
    """The framings that a connection may begin with, each with its responder."""
    connections: set[Connection]
    """Admitted connections; each adds and removes itself."""
    on_refused: Callable[[str, str], None]
    """Called for each connection that is rejected: the peer's address, and why."""

    def meet(self, transport: asyncio.Transport) -> Session | None:
        """Return who is at the other end of a connection, or None for an unknown peer."""

    def make_room(self) -> bool:
        """Close a connection whose peer is not authenticated in favour of a new one; True if there was one."""

    def looked(self) -> float:
        """Return when the loop last polled its sockets, in the loop's time; data read now arrived by then."""

    @property
    def late(self) -> bool:
        """True if data read now may have waited in the kernel because the process was busy."""


class Connection(asyncio.BufferedProtocol):
    """One peer's connection."""

    _transport: asyncio.Transport
    _session: Session
    _respond: MessageResponder
    _framer: Framer | None = None
    """None: its first byte, which decides, did not come yet."""

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._counted: str | None = None
        """The switch as whose connection this counts; None where it was not let in, or is no more."""
        self._queue: deque[bytes] = deque()
        """Messages that wait for their turn."""
        self._arrived = 0.0
        """When what waits was read; in the loop's time."""
        self._scheduled = False
        """Whether a turn is to come; meanwhile nothing is read."""
        self._left: int | None = None
        """How many bytes are read still, where a drain has set a mark."""
        self._at_eof = False
        self._unread = False
        """Whether the peer leaves so many answers unread that it is not read from."""
        self._ending = False
        """Whether the last answer was given: what still comes is thrown away."""
        self._since = 0.0
        """When the last message was complete, or the ending began; in the loop's time."""
        self._owed = DeferredCount()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a peer of the config in, as long as there is room."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        host = self._host
        session = host.meet(self._transport)
        refusal = "unknown peer" if session is None else host.quota.refusal(_counted_as(session))
        if session is not None and refusal is not None and host.make_room():
            refusal = host.quota.refusal(_counted_as(session))
        if session is None or refusal is not None:
            address = host_of(self._transport)
            if address:  # else the peer is gone already
                host.on_refused(address, refusal or "")
            self._transport.abort()
            return
        self._session = session
        self._since = asyncio.get_running_loop().time()
        self._transport.set_write_buffer_limits(high=host.quota.limits.unread_bytes)
        host.connections.add(self)
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._counted is not None:
            self._host.connections.discard(self)
            self._host.quota.leave(self._counted)
            self._counted = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to: all connections share it, since it is emptied before the next read."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read and answer it, as much as one turn allows."""
        if self._ending or self._counted is None:
            return
        if self._framer is None:
            framing = self._host.framings.chosen_by(_view[0])
            self._framer = framing.framer(self._host.quota.limits.message_bytes)
            self._respond = framing.responder()
        if not self._queue:
            self._arrived = self._host.looked()
            if self._host.late:  # asking costs as much as a decision
                self._arrived = min(self._arrived, time.monotonic() - _age_of_newest(self._transport))
        self._queue.extend(self._framer.feed(bytes(_view[:nbytes])))
        if self._left is not None:
            self._left -= nbytes
        if not self._scheduled:
            self._turn()

    def eof_received(self) -> bool:
        """Answer half a message with an error, after all that is before it."""
        self._at_eof = True
        if not self._scheduled and not self._ending and self._counted is not None:
            self._turn()
        # What was written goes out, then the connection is closed; unless there is more to answer first.
        return self._scheduled or self._unread or self._owed.count > 0

    def pause_writing(self) -> None:
        """Stop answering and reading a peer that does not read."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._unread = False
        if not self._scheduled:
            self._turn()

    def _turn(self) -> None:
        """Answer what waits: so much of it that others are not kept waiting; the rest next time."""
        self._scheduled = False
        framer = self._framer
        if self._ending or self._unread or self._counted is None or self._transport.is_closing():
            return
        if framer is None:  # nothing came but the end
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
        elif not self._unread:  # the answers may have been too many just now
            self._transport.resume_reading()

    def _answer(self, messages: list[bytes], framer: Framer, error: str | None) -> bool:
        """Answer messages, and what is wrong after them; returns whether the connection goes on."""
        host, session = self._host, self._session
        if session.authenticated:  # who has not shown himself is not here for long, whatever he says
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
        """Write an answer that took its time, if there is anybody to read it still."""
        if self._transport.is_closing() or self._ending or self._framer is None:
            return
        self._since = asyncio.get_running_loop().time()
        self._transport.write(self._framer.frame(answer))
        if not self._scheduled:
            self._turn()  # it may have been the last

    def reauthenticate(self) -> None:
        """Find out anew who this is, since the switches have changed; what it has shown counts still."""
        if self._counted is None:
            return
        session = self._host.meet(self._transport)
        if session is None:
            self._transport.abort()
            return
        known = self._session.peer is not None
        self._session = self._session.reauthenticate(session)
        if known and self._session.peer is None:  # its token is none any more
            self._transport.abort()
            return
        self._count(always=True)

    def _count(self, *, always: bool = False) -> bool:
        """Count the connection as that of who it is by now; returns whether it may stay, as it may ``always``."""
        quota = self._host.quota
        switch = _counted_as(self._session)
        if self._counted is not None:
            quota.leave(self._counted)
        refusal = None if always else quota.refusal(switch)
        quota.enter(switch)
        self._counted = switch
        if refusal is not None:
            self._host.on_refused(self._session.host, refusal)
            self._end()
        return refusal is None

    def close_if_idle(self, now: float) -> None:
        """Close what completed no message for too long; give up on a peer that does not take the end."""
        if self._ending:
            if now - self._since > _LINGER:
                self.abort()
        elif now - self._since > self._patience():
            if self._unread or self._transport.is_closing():  # the close of the last time got nowhere
                self.abort()
            else:
                self._transport.close()

    def _patience(self) -> float:
        """Return how many seconds may pass without a message; it is short for who has not shown himself."""
        idle = self._host.quota.limits.idle_seconds
        return idle if self._session.authenticated else min(idle, _INTRODUCTION)

    @property
    def unknown(self) -> bool:
        """Whether nobody has shown himself on it."""
        return self._counted is not None and not self._session.authenticated

    @property
    def since(self) -> float:
        """When the last message of somebody known was complete, or it was made; in the loop's time."""
        return self._since

    def give_way(self) -> bool:
        """End if nobody has shown himself on this connection; returns whether there is room for another now."""
        if self._counted is None or not self.unknown:
            return False
        self._host.quota.leave(self._counted)
        self._host.connections.discard(self)
        self._counted = None
        self._transport.abort()
        return True

    def drain(self, now: float, *, patient: bool) -> None:
        """End if all that came is answered; where that is never so, set a mark up to which it is read.

        Close once the last answers are with the kernel and the peer had its moment to close first.
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
            elif not patient:  # else the other half of a message may be under way
                self._answer([], framer, "the server ended within a message")
        elif not patient and self._left is None and not self._unread:
            self._left = waiting

    @property
    def settled(self) -> bool:
        """Whether nothing is decided for it any more."""
        return self._ending or self._counted is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once, whatever was not sent yet."""
        self._transport.abort()

    def _end(self) -> None:
        """Say that no more answers come, and throw away what still arrives until the peer closes.

        To close with unread bytes in the kernel would reset the connection and lose the last answers.
        """
        self._queue.clear()
        self._since = asyncio.get_running_loop().time()
        if self._at_eof:
            self._transport.close()  # once the peer has taken what was written, in its own time
            return
        self._ending = True
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._transport.resume_reading()


def host_of(transport: asyncio.Transport) -> str:
    """Return the address of the other end; empty where it is gone already."""
    name = transport.get_extra_info("peername")
    return name[0] if name else ""


def _counted_as(session: Session) -> str:
    return session.peer.name if session.peer is not None else session.host


def _waiting(transport: asyncio.Transport) -> int:
    """Return how many bytes wait to be read: in the kernel, or where TLS deciphers them."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is gone
        return 0
    undelivered: int = transport.get_extra_info("undelivered", 0)
    return count[0] + undelivered


def _age_of_newest(transport: asyncio.Transport) -> float:
    """Return for how many seconds the newest bytes of a connection have been here; 0 where nobody knows."""
    try:
        told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:  # no TCP, or gone
        return 0.0
    return int.from_bytes(told[_LAST_DATA], sys.byteorder) / 1000
