"""Messages over connections: the messages of a turn are decided together and answered in one write.

A connection that has received bytes waits for its turn (:mod:`identengine.net.tcp.turns`). Messages are cut off
the stream in the turn, since that takes time too. A peer that sends much at once has several turns, as others
wait. It is not read from while it waits for a further turn.

Flow control is left to the kernel: a peer that does not read its answers is not read from. So its answers need
bounded memory (``unread_bytes`` and the answers of one turn). A connection that completes no message for
``idle_seconds`` is closed, even if it keeps sending parts of a message. A message that waited for longer than
``datagram_age_ms``, here or in the kernel, is shed: answered, but not decided (interfaces.md 3).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol, cast

from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.introduction import Introduction
from identengine.net.tcp.peeks import age_of_newest, waiting_bytes
from identengine.net.tcp.segments import write_undivided
from identengine.net.tcp.turns import Turns
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framer, Framing, Framings
from identengine.wire.responder import MessageResponder
from identengine.wire.session import Peer, Session

READ = 65536
"""Maximum size of one read, in bytes."""
TURN = 64
TURN_BYTES = 16384
"""Maximum number of messages of one connection in one turn, and of bytes after the first message.

The requests that a switch has in flight usually fit into one turn. A connection with more waits for further ones.
"""
_LINGER = 5.0
"""Time for the peer of a closed connection to read the last answers, in seconds."""
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

    turns: Turns
    """The turns of all connections."""
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
    _framing: Framing
    _framer: Framer | None = None
    """The framing of the connection; None until the first byte, which determines it, arrives."""

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._counted: str | None = None
        """The switch for which the connection counts; None if it was refused or has ended."""
        self._received = b""
        """Bytes that wait for a turn."""
        self._queue: deque[bytes] = deque()
        """Messages that wait for a turn."""
        self._arrived = 0.0
        """Time at which the waiting messages were read, in the loop's time."""
        self._scheduled = False
        """True if the connection waits for a turn, or has it."""
        self._has_turn = False
        """True between the two parts of a turn."""
        self._answers: list[bytes] = []
        """The answers of this turn. They are final when its batch is closed."""
        self._broken = False
        """True if no further message is decided, and the last answer closes the connection."""
        self._before: Peer | None = None
        """The switch of the connection before this turn."""
        self._cut_off: str | None = None
        """The error of a message that stays incomplete, since no further bytes are read."""
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
        """Wait for a turn with the bytes of a read."""
        if self._ending or self._broken or self._counted is None:
            return
        if self._framer is None:
            framing = self._host.framings.chosen_by(_view[0])
            self._framer = framing.framer(self._host.quota.limits.message_bytes)
            self._framing, self._respond = framing, framing.responder()
            self._introduction = Introduction(framing, self._framer, self._session)
        if not self._received and not self._queue:
            self._arrived = self._host.looked()
            if self._host.late:  # not always called, since the system call costs as much as a decision
                self._arrived = min(self._arrived, time.monotonic() - age_of_newest(self._transport))
        self._received += _view[:nbytes]
        if self._left is not None:
            self._left -= nbytes
        if self._scheduled:  # a second read before the turn: the messages that wait must not add up
            self._transport.pause_reading()
        else:
            self._wait()

    def eof_received(self) -> bool:
        """Answer all complete messages, and half a message with an error."""
        self._at_eof, self._cut_off = True, "the stream ended within a message"
        if self._ending or self._counted is None:
            return False  # this closes the connection after a flush
        self._wait()
        return True

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read its answers, and stop answering it."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Continue to answer and to read."""
        self._unread = False
        self._wait()

    def _wait(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._host.turns.wait(self)

    def decide(self, now: float) -> int:
        """Decide as many messages as one turn allows. Return their number.

        A message counts even if its peer has broken the connection meanwhile, since it may be a stop.
        """
        framer, session = self._framer, self._session
        self._has_turn = not (self._ending or self._unread or self._counted is None)
        self._before = session.peer
        if framer is None or not self._has_turn or self._broken:
            return 0
        if self._framing.in_order and self._owed.count:
            self._has_turn = False
            self._transport.pause_reading()  # until the deferred answer has left
            return 0
        messages, error = self._next(framer)
        if not messages and error is None:
            return 0
        if session.authenticated:  # a message without authentication does not extend the time for it
            self._since = now
        too_old = (now - self._arrived) * 1000 > self._host.quota.limits.datagram_age_ms
        self._answers, self._broken = self._respond(
            messages, session, error, self._answer_late, self._owed, too_old
        )
        return len(messages)

    def _next(self, framer: Framer) -> tuple[list[bytes], str | None]:
        """Return the messages of this turn, and the error after them or None."""
        if self._received and not self._queue:
            data, self._received = self._received[:TURN_BYTES], self._received[TURN_BYTES:]
            source = self._introduction if framer.cautious else None
            self._queue.extend(source.feed(data, framer, self._session) if source else framer.feed(data))
            if framer.error is not None:
                self._received = b""
        messages = _next_turn(self._queue)
        if self._queue or self._received:
            return messages, None
        return messages, framer.error or (self._cut_off if self._cut_off and framer.pending else None)

    def answer(self) -> None:
        """Write the answers of this turn. Then wait for the next turn, read further messages, or close."""
        self._scheduled = False
        if not self._has_turn or self.settled:
            return
        if self._answers and self._framer is not None:
            self._write([*map(self._framer.frame, self._answers)])
            self._answers = []
        if self._session.peer is not self._before and not self._count():
            return
        if (self._queue or self._received) and not self._broken:
            self._transport.pause_reading()
            self._wait()
        elif self._broken or self._at_eof or (self._left is not None and self._left <= 0):
            if not self._owed.count:
                self._end()
        elif not self._unread:  # the answers of this turn may have set it
            self._transport.resume_reading()

    def _answer_late(self, answer: bytes) -> None:
        """Write a deferred answer if the connection is still open."""
        if self._transport.is_closing() or self._ending or self._framer is None:
            return
        self._since = asyncio.get_running_loop().time()
        self._write([self._framer.frame(answer)])
        self._wait()  # a close may have waited for this answer

    def _write(self, framed: list[bytes]) -> None:
        if self._framing.undivided:
            write_undivided(self._transport, framed)
        else:
            self._transport.write(b"".join(framed))

    def reauthenticate(self) -> None:
        """Resolve the session again after a change of the switches. Credentials already shown stay valid."""
        if self._counted is None:
            return
        session = self._host.meet(self._transport)
        if session is None:
            self.abort()
            return
        known = self._session.peer is not None
        self._session = self._session.reauthenticate(session)
        if known and self._session.peer is None:  # its token is no longer in the config
            self.abort()
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
        elif self._scheduled:
            return  # a message waits for its turn
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
        waiting = waiting_bytes(self._transport)
        if not waiting and not self._scheduled and not self._unread and not self._owed.count:
            framer = self._framer
            if framer is None or not framer.pending or self._at_eof or self._counted is None:
                self._end()
            elif not patient:  # otherwise the other half of a message may still arrive
                self._cut_off = "the server ended within a message"
                self._wait()
        elif not patient and self._left is None and not self._unread:
            self._left = waiting

    @property
    def settled(self) -> bool:
        """True if no further message of the connection will be decided."""
        return self._ending or self._counted is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once. Drop undecided messages and unsent answers."""
        self._ending = True
        self._transport.abort()

    def _end(self) -> None:
        """End this side of the stream, and discard further data until the peer closes.

        A close with unread bytes in the kernel would reset the connection and lose the last answers.
        """
        self._queue.clear()
        self._received = b""
        self._since = asyncio.get_running_loop().time()
        if self._at_eof:
            self._transport.close()  # after the peer has read the answers
            return
        self._ending = True
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._transport.resume_reading()


def _next_turn(queue: deque[bytes]) -> list[bytes]:
    """Remove the messages of one turn from a queue, and return them."""
    if len(queue) <= TURN and sum(map(len, queue)) <= TURN_BYTES:
        messages = [*queue]
        queue.clear()
        return messages
    messages, size = [], 0
    while queue and len(messages) < TURN and size < TURN_BYTES:
        messages.append(queue.popleft())
        size += len(messages[-1])
    return messages


def _counted_as(session: Session) -> str:
    return session.peer.name if session.peer is not None else session.host
