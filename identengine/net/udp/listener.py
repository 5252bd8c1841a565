"""The UDP listener: it reads batches of up to 64 datagrams, and decides each batch in one step.

A datagram that waited in the socket for longer than ``datagram_age_ms``, by the kernel's time stamp, is too old.
Its switch has asked again or given up, so only a stop in it is served (interfaces.md 3, "Overload").

The loop calls the listener when datagrams wait. If more remain after a batch, it calls again after all other work.
One system call reads a batch of datagrams of any size. A large batch is decided in parts, one in each
turn of the loop, and no datagram is received until all parts are decided. If a batch is full or has several
parts, others wait. The sources then have shares of the time (:mod:`identengine.net.udp.shares`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence

from identengine.config.readers import Endpoint
from identengine.config.schema import Limits
from identengine.net.access import Peers
from identengine.net.sockets import endpoint_of
from identengine.net.udp.mmsg import batched
from identengine.net.udp.shares import Shares
from identengine.net.udp.socket import BATCH, ReplyRoute
from identengine.wire.deferred import DeferredCount
from identengine.wire.responder import UNBATCHED, Batches, DatagramResponder
from identengine.wire.session import Session

TURN_BYTES = 16384
"""Size at which a part of a batch is complete, in bytes. It bounds the time for which other work waits."""
_REMEMBERED = 65536
"""Size of the cache of sessions by the kernel's form of an address, in senders."""


def _ignore(*_: object) -> None:
    """Do nothing: the default of a callback."""


class UdpListener:
    """A listener on one bound socket."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: DatagramResponder,
        limits: Limits,
        on_refused: Callable[[str, str], None],
        on_flood: Callable[[str, int], None] = _ignore,
        batches: Batches = UNBATCHED,
    ) -> None:
        """Read ``bound``, a non-blocking socket. ``on_refused`` gets the address of each stranger and a reason.

        ``on_flood`` gets the address of a source that has used its share of the time, and the number of its
        datagrams that were dropped. ``batches`` are those of ``responder``.
        """
        self.unsent = 0
        """Number of answers that the system did not accept for sending."""
        self._owed = DeferredCount()
        self._respond = responder
        self._batches = batches
        self._on_refused = on_refused
        self._on_flood = on_flood
        self._shares = Shares()
        self._socket = bound
        self._batched = batched(bound, limits.message_bytes)
        self._parts: deque[_Part] = deque()
        """The undecided parts of the last batch."""
        self._is_long = False
        """True if the last batch has several parts, or as many datagrams as a batch can have: so others wait."""
        self._message_bytes = limits.message_bytes
        self.reconfigure(peers, limits)

    def reconfigure(self, peers: Peers, limits: Limits) -> None:
        """Use other peers and limits. A datagram that is longer than the limit is cut, and then not parsable."""
        self._peers = peers
        self._known: dict[Hashable, Session] = {}
        self._oldest = limits.datagram_age_ms / 1000
        if limits.message_bytes != self._message_bytes:
            self._message_bytes = limits.message_bytes
            self._batched.limit(limits.message_bytes)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the socket, with the actual port."""
        return endpoint_of(self._socket)

    def start(self) -> None:
        """Start serving."""
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    async def drain(self, deadline: float) -> None:
        """Answer all datagrams in the socket, until ``deadline`` (the loop's time) at most. Then close it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        while loop.time() < deadline:
            if not self._turn() and not self._owed.count:
                break
            await asyncio.sleep(0)
        self._parts.clear()
        self._socket.close()

    async def leave(self, deadline: float) -> None:
        """Stop reading, send the deferred answers, until ``deadline`` at most. Then close the socket.

        Datagrams that wait in it are left to another process that has the same socket.
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
        if not self._parts:  # otherwise the parts still need the buffers
            self._turn()

    def _on_parts(self) -> None:
        if self._parts:  # otherwise a drain has decided or dropped them
            self._turn()

    def _turn(self) -> bool:
        """Decide and answer a batch, or a part of one. Return False if there was none."""
        if self._parts:
            part = self._parts.popleft()
        else:
            batch = self._receive()
            if batch is None:
                return False
            part = batch
            if sum(map(len, part.received)) > TURN_BYTES:
                self._parts.extend(part.in_turns())
                part = self._parts.popleft()
                self._is_long |= bool(self._parts)
        if self._parts:  # scheduled first, so that an exception below does not strand them
            asyncio.get_running_loop().call_soon(self._on_parts)
        if part.received:
            if self._is_long:
                self._answer_shared(part)
            else:
                self._answer(part)
        return True

    def _receive(self) -> _Part | None:
        """Receive a batch. Return its datagrams that known peers sent, or None if no datagram waits."""
        received = self._batched.receive()
        self._is_long = len(received) == BATCH
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
        """Return the part of a batch if some senders are not cached or are strangers."""
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

    def _answer_shared(self, part: _Part) -> None:
        """Answer a long batch, or a part of it. Drop datagrams of sources that have used their share of time."""
        began = time.monotonic()
        if exhausted := self._shares.exhausted(part.sessions, began):
            for session in exhausted:
                self._on_flood(session.host, part.sessions.count(session))
            part = part.only([place for place, one in enumerate(part.sessions) if one not in exhausted])
        if part.received:
            self._answer(part)
            self._shares.charge(part.sessions, began, time.monotonic())

    def _meet(self, key: Hashable, host: str) -> Session | None:
        session = self._peers.find(host)
        if session is None:
            self._on_refused(host, "unknown peer")
        elif len(self._known) < _REMEMBERED:  # strangers are not cached, so they cannot fill the cache
            self._known[key] = session
        return session

    def ports(self) -> list[int]:
        """Return the source ports of the datagrams of the last batch."""
        return self._batched.ports()

    def _answer(self, part: _Part) -> None:
        self._batches.begin()
        try:
            answers, answered = self._respond(part.received, part.sessions, part, self._owed, part.too_old)
        finally:
            self._batches.end()
        if not answers:
            return
        places = part.places
        if places is not None and answered is not None:
            answered = [places[place] for place in answered]
        self.unsent += self._batched.send(answers, places if answered is None else answered)


class _Part:
    """Datagrams of a batch that are decided in one step, and their senders (:class:`Senders`)."""

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
        """``places`` are indices into the batch, or None for all of it. ``back`` leads to the senders."""
        self._listener = listener
        self.received = received
        self.sessions = sessions
        self.too_old = too_old
        self.places = places
        self._back = back

    def ports(self) -> list[int]:
        """Return the source ports of the datagrams, until the next batch is received."""
        ports = self._listener.ports()
        return ports if self.places is None else [ports[place] for place in self.places]

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        """Send deferred answers."""
        self._listener.unsent += self._back(self._in_batch(place), answers)

    def only(self, places: Sequence[int]) -> _Part:
        """Return the part with these of its datagrams."""
        old = self.too_old and [self.too_old[place] for place in places]
        received = [self.received[place] for place in places]
        sessions = [self.sessions[place] for place in places]
        in_batch = [self._in_batch(place) for place in places]
        return _Part(self._listener, received, sessions, old, in_batch, self._back)

    def in_turns(self) -> Iterator[_Part]:
        """Cut a large part into parts of one turn each, at least one."""
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
