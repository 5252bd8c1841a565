"""Datagrams over UDP: the socket is drained in batches of up to 64 datagrams, each decided together.

What waited in the socket for longer than ``datagram_age_ms``, by the kernel's time stamp, is too old: the switch
has asked again or given up, and of such datagrams only stops are served (interfaces.md 3, "Overload").

The loop calls when datagrams wait; what is still there after a batch makes it call again, after it has looked at
everything else. A batch is what one system call takes, however large the datagrams are: one that holds much is
decided in parts, a turn of the loop each, and nothing is received meanwhile. Nothing that a peer or the network
does ends the listener: what cannot be sent is counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence

from identengine.config.readers import Endpoint
from identengine.config.schema import Limits
from identengine.net.access import Peers
from identengine.net.sockets import endpoint_of
from identengine.net.udp.mmsg import batched
from identengine.net.udp.socket import ReplyRoute
from identengine.wire.deferred import DeferredCount
from identengine.wire.responder import DatagramResponder
from identengine.wire.session import Session

TURN_BYTES = 16384
"""A part of a batch takes no more datagrams once it holds so much: what is in them keeps others waiting."""
_REMEMBERED = 65536
"""Most senders that are known by the address as the kernel writes it."""


class UdpListener:
    """One bound socket."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: DatagramResponder,
        limits: Limits,
        on_refused: Callable[[str, str], None],
    ) -> None:
        """Read ``bound``, a socket that does not block. ``on_refused`` is told of strangers: address and why."""
        self.unsent = 0
        """Answers that the system did not take."""
        self._owed = DeferredCount()
        self._respond = responder
        self._on_refused = on_refused
        self._socket = bound
        self._batched = batched(bound, limits.message_bytes)
        self._parts: deque[_Part] = deque()
        """Those of the last batch that are not decided yet."""
        self._message_bytes = limits.message_bytes
        self.reconfigure(peers, limits)

    def reconfigure(self, peers: Peers, limits: Limits) -> None:
        """Go by these from now on. A datagram that is too long is cut off here, and what is left not parsable."""
        self._peers = peers
        self._known: dict[Hashable, Session] = {}
        self._oldest = limits.datagram_age_ms / 1000
        if limits.message_bytes != self._message_bytes:
            self._message_bytes = limits.message_bytes
            self._batched.limit(limits.message_bytes)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the real port."""
        return endpoint_of(self._socket)

    def start(self) -> None:
        """Serve from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    async def drain(self, deadline: float) -> None:
        """Answer what the socket holds, until ``deadline`` (the loop's time) at most, and close it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        while loop.time() < deadline:
            if not self._turn() and not self._owed.count:
                break
            await asyncio.sleep(0)
        self._parts.clear()
        self._socket.close()

    async def leave(self, deadline: float) -> None:
        """Read no more, give the answers that are owed, until ``deadline`` at most, and close the socket.

        What waits there is left to another process that has the same socket.
        """
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        while loop.time() < deadline:
            if not self._parts and not self._owed.count:
                break
            await asyncio.sleep(0.001)
        self._parts.clear()
        self._socket.close()

    def _on_readable(self) -> None:
        if not self._parts:  # else their buffers are needed still
            self._turn()

    def _on_parts(self) -> None:
        if self._parts:  # else they were decided, or given up, while draining
            self._turn()

    def _turn(self) -> bool:
        """Decide and answer a batch, or a part of one; returns whether there was anything."""
        if self._parts:
            part = self._parts.popleft()
        else:
            batch = self._receive()
            if batch is None:
                return False
            part = batch
            if sum(map(len, batch.received)) > TURN_BYTES:
                self._parts.extend(batch.in_turns())
                part = self._parts.popleft()
        if self._parts:  # whatever becomes of this one
            asyncio.get_running_loop().call_soon(self._on_parts)
        if part.received:
            self._answer(part)
        return True

    def _receive(self) -> _Part | None:
        """Receive a batch. Return its datagrams that known peers sent, or None if no datagram waits."""
        received = self._batched.receive()
        if not received:
            return None
        too_old = self._batched.too_old(self._oldest)
        keys = self._batched.keys()
        try:
            sessions = list(map(self._known.__getitem__, keys))
        except KeyError:
            return self._received_first(received, keys, too_old)
        return _Part(self, received, sessions, too_old, None, self._batched.reply_route())

    def _received_first(
        self, received: list[bytes], keys: Sequence[Hashable], too_old: list[bool] | None
    ) -> _Part:
        """Return the same if some senders are not known yet, or are strangers."""
        places: list[int] = []
        sessions: list[Session] = []
        for place, key in enumerate(keys):
            session = self._known.get(key) or self._meet(key, self._batched.host(place))
            if session is not None:
                places.append(place)
                sessions.append(session)
        known = [received[place] for place in places]
        old = too_old and [too_old[place] for place in places]
        return _Part(self, known, sessions, old, places, self._batched.reply_route())

    def _meet(self, key: Hashable, host: str) -> Session | None:
        session = self._peers.find(host)
        if session is None:
            self._on_refused(host, "unknown peer")
        elif len(self._known) < _REMEMBERED:  # strangers are not remembered: they cannot fill this
            self._known[key] = session
        return session

    def port(self, place: int) -> int:
        """Return the source port of the datagram at a place of the batch that was received last."""
        return self._batched.port(place)

    def _answer(self, part: _Part) -> None:
        answers, answered = self._respond(part.received, part.sessions, part, self._owed, part.too_old)
        if not answers:
            return
        places = part.places
        if places is not None and answered is not None:
            answered = [places[place] for place in answered]
        self.unsent += self._batched.send(answers, places if answered is None else answered)


class _Part:
    """Datagrams of a batch that are decided together, and their senders (:class:`Senders`)."""

    __slots__ = ("_back", "_listener", "places", "received", "sessions", "too_old")

    def __init__(
        self,
        listener: UdpListener,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        too_old: Sequence[bool] | None,
        places: Sequence[int] | None,
        back: ReplyRoute,
    ) -> None:
        """``places``: those in the batch, None if it is the whole batch; ``back``: the way to its senders."""
        self._listener = listener
        self.received = received
        self.sessions = sessions
        self.too_old = too_old
        self.places = places
        self._back = back

    def port(self, place: int) -> int:
        """Return the source port of a datagram, until the next batch is received."""
        return self._listener.port(self._in_batch(place))

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        """Send answers that were deferred."""
        self._listener.unsent += self._back(self._in_batch(place), answers)

    def in_turns(self) -> Iterator[_Part]:
        """Cut what holds much into what is decided in one turn each; at least one part."""
        too_old = self.too_old
        places = range(len(self.received)) if self.places is None else self.places
        start = held = 0
        for end, datagram in enumerate(self.received, 1):
            held += len(datagram)
            if held >= TURN_BYTES or end == len(self.received):
                cut = slice(start, end)
                old = too_old and too_old[cut]
                yield _Part(self._listener, self.received[cut], self.sessions[cut], old, places[cut], self._back)
                start, held = end, 0

    def _in_batch(self, place: int) -> int:
        return place if self.places is None else self.places[place]
