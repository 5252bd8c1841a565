"""JSON-RPC over UDP: the socket is drained in batches of up to 64 datagrams, each decided together.

The loop calls when datagrams wait; what is still there after a batch makes it call again, after it has looked at
everything else. Nothing that a peer or the network does ends the listener: what cannot be sent is counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from identengine.configvalues import Endpoint
from identengine.net.peers import Peers
from identengine.net.sockets import endpoint_of
from identengine.wire.jsonrpc import Owed, Peer, Responder

BATCH = 64
BATCH_BYTES = 16384
"""No more datagrams are taken into a batch that holds so much: what is in them keeps others waiting."""


class UdpListener:
    """One bound socket. ``peers`` may be replaced at any time."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: Responder,
        message_bytes: int,
        on_refused: Callable[[str, str], None],
    ) -> None:
        """Read ``bound``, a socket that does not block. ``on_refused`` is told of strangers: address and why."""
        self.peers = peers
        self.unsent = 0
        """Answers that the system did not take."""
        self._owed = Owed()
        self._responder = responder
        self._on_refused = on_refused
        self.limit(message_bytes)
        self._socket = bound

    def limit(self, message_bytes: int) -> None:
        """Take datagrams of at most so many bytes; a longer one is cut off here, and what is left not parsable."""
        self._message_bytes = min(message_bytes, 65535)

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
        while self._owed.count and loop.time() < deadline:  # noqa: ASYNC110 - an event for this alone is more
            await asyncio.sleep(0)
        self._socket.close()

    def _drain_batch(self) -> int:
        """Take, decide and answer one batch; return how many datagrams there were."""
        receive, find, size = self._socket.recvfrom, self.peers.find, self._message_bytes
        asked: list[tuple[bytes, Peer]] = []
        sources: list[tuple[str, int]] = []
        taken = held = 0
        while taken < BATCH and held < BATCH_BYTES:
            try:
                raw, source = receive(size)
            except OSError:  # empty, as a rule; what else it may be is over with the next call
                break
            taken += 1
            peer = find(source[0])
            if peer is None:
                self._on_refused(source[0], "unknown peer")
            else:
                held += len(raw)
                asked.append((raw, peer))
                sources.append(source)
        if asked:

            def late(place: int, datagrams: list[bytes]) -> None:
                self._send([datagrams], [sources[place]])

            self._send(self._responder.datagrams(asked, late, self._owed), sources)
        return taken

    def _send(self, answers: list[list[bytes]], sources: list[tuple[str, int]]) -> None:
        send = self._socket.sendto
        for datagrams, source in zip(answers, sources, strict=True):
            for datagram in datagrams:
                try:
                    send(datagram, source)
                except OSError:  # the way back is closed or full; the switch asks again
                    self.unsent += 1
