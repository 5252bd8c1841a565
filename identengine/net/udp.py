"""JSON-RPC over UDP: the socket is drained in batches of up to 64 datagrams, each decided together.

What waited in the socket for longer than ``datagram_age_ms``, by the kernel's time stamp, is too old: the switch
has asked again or given up, and of such datagrams only stops are served (interfaces.md 3, "Overload"). As they
stand in a queue, the stamp of a batch's first tells whether those of the others need be read, which has its cost.

The loop calls when datagrams wait; what is still there after a batch makes it call again, after it has looked at
everything else. Nothing that a peer or the network does ends the listener: what cannot be sent is counted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

from identengine.config import Limits
from identengine.configvalues import Endpoint
from identengine.net.peers import Peers
from identengine.net.sockets import endpoint_of
from identengine.wire.jsonrpc import Owed, Responder
from identengine.wire.peer import Visitor

BATCH = 64
BATCH_BYTES = 16384
"""No more datagrams are taken into a batch that holds so much: what is in them keeps others waiting."""
_SO_TIMESTAMPNS = 35  # Linux, with the time as it was before the year 2038 mattered: that of 64-bit machines
_STAMP = struct.Struct("@qq")
"""Seconds and nanoseconds of the wall clock."""
_ANCILLARY = socket.CMSG_SPACE(_STAMP.size)


class UdpListener:
    """One bound socket. ``peers`` may be replaced at any time."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: Responder,
        limits: Limits,
        on_refused: Callable[[str, str], None],
    ) -> None:
        """Read ``bound``, a socket that does not block. ``on_refused`` is told of strangers: address and why."""
        self.peers = peers
        self.unsent = 0
        """Answers that the system did not take."""
        self._owed = Owed()
        self._responder = responder
        self._on_refused = on_refused
        self.limit(limits)
        self._socket = bound
        bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def limit(self, limits: Limits) -> None:
        """Go by these from now on. A datagram that is too long is cut off here, and what is left not parsable."""
        self._message_bytes = min(limits.message_bytes, 65535)
        self._oldest = limits.datagram_age_ms / 1000

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the real port."""
        return endpoint_of(self._socket)

    def start(self) -> None:
        """Serve from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._drain_batch)

    async def drain(self, deadline: float) -> None:
        """Answer what the socket holds, until ``deadline`` (the loop's time) at most, and close it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        while loop.time() < deadline:
            if not self._drain_batch() and not self._owed.count:
                break
            await asyncio.sleep(0)
        self._socket.close()

    async def leave(self, deadline: float) -> None:
        """Read no more, give the answers that are owed, until ``deadline`` at most, and close the socket.

        What waits there is left to another process that has the same socket.
        """
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        while loop.time() < deadline:
            if not self._owed.count:
                break
            await asyncio.sleep(0.001)
        self._socket.close()

    def _drain_batch(self) -> int:
        """Take, decide and answer one batch; return how many datagrams there were."""
        receive, find, size = self._socket.recvfrom, self.peers.find, self._message_bytes
        asked: list[bytes] = []
        visitors: list[Visitor] = []
        old: list[bool] = []
        sources: list[tuple[str, int]] = []
        taken = held = 0
        too_old = True
        while taken < BATCH and held < BATCH_BYTES:
            try:
                if too_old:  # and those behind it may be
                    raw, stamps, _, source = self._socket.recvmsg(size, _ANCILLARY)
                    too_old = _age(stamps) > self._oldest
                else:
                    raw, source = receive(size)
            except OSError:  # empty, as a rule; what else it may be is over with the next call
                break
            taken += 1
            visitor = find(source[0])
            if visitor is None:
                self._on_refused(source[0], "unknown peer")
            else:
                held += len(raw)
                asked.append(raw)
                visitors.append(visitor)
                old.append(too_old)
                sources.append(source)
        if asked:

            def late(place: int, datagrams: list[bytes]) -> None:
                self._send(datagrams, [sources[place]] * len(datagrams))

            answers, places = self._responder.datagrams(asked, visitors, late, self._owed, old)
            self._send(answers, sources if places is None else [sources[place] for place in places])
        return taken

    def _send(self, answers: list[bytes], sources: list[tuple[str, int]]) -> None:
        send = self._socket.sendto
        for datagram, source in zip(answers, sources, strict=True):
            try:
                send(datagram, source)
            except OSError:  # the way back is closed or full; the switch asks again
                self.unsent += 1


def _age(stamps: list[tuple[int, int, bytes]]) -> float:
    """Return for how many seconds a datagram waited; 0 where the kernel did not say."""
    for level, kind, value in stamps:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack_from(value)
            return float(time.time() - seconds - nanoseconds / 1e9)
    return 0.0
