"""A UDP socket with one system call for each datagram, for systems without ``recvmmsg`` or that forbid it."""

from __future__ import annotations

import socket
import time
from collections.abc import Hashable, Sequence
from typing import Any

from identengine.net.udp.cmsg import STAMP_SPACE, Control, arrival, enable_control, reply_control
from identengine.net.udp.socket import BATCH, LARGEST, PASSING, TRIES, ReplyRoute


class RecvmsgSocket:
    """A batched socket that makes one call for each datagram and each answer."""

    def __init__(self, bound: socket.socket, size: int) -> None:
        self._socket = bound
        self._came = came = enable_control(bound)
        self._space = STAMP_SPACE + (socket.CMSG_SPACE(came.size) if came else 0)
        self._control: list[Control] = []
        self._sources: list[tuple[Any, ...]] = []
        self.limit(size)

    def limit(self, size: int) -> None:
        """Cut each further datagram after ``size`` bytes."""
        self._size = min(size, LARGEST)

    def receive(self) -> list[bytes]:
        """Return up to 64 waiting datagrams."""
        self._control, self._sources = [], []
        received: list[bytes] = []
        tries = TRIES
        while tries and len(received) < BATCH:
            try:
                raw, control, _, source = self._socket.recvmsg(self._size, self._space)
            except BlockingIOError:
                break
            except OSError:  # usually about a datagram sent earlier
                tries -= 1
            else:
                received.append(raw)
                self._control.append(control)
                self._sources.append(source)
        return received

    def keys(self) -> Sequence[Hashable]:
        """Return a key for the sender of each datagram."""
        return [(source[0], *source[3:]) for source in self._sources]  # with the scope of a link-local address

    def host(self, place: int) -> str:
        """Return the address of a sender as text."""
        host: str = self._sources[place][0]
        return host

    def ports(self) -> list[int]:
        """Return the source port of each datagram."""
        return [source[1] for source in self._sources]

    def too_old(self, oldest: float) -> list[bool] | None:
        """Return True for each datagram that waited for more than ``oldest`` seconds, or None if none did."""
        since = time.time() - oldest
        if arrival(self._control[0], since) >= since:
            return None
        return [arrival(control, since) < since for control in self._control]

    def send(self, answers: Sequence[bytes], places: Sequence[int] | None = None) -> int:
        """Send each answer to the sender at its place. Return the number of unsent answers."""
        return self._send(self._sources, self._control, range(len(answers)) if places is None else places, answers)

    def reply_route(self) -> ReplyRoute:
        """Return a route to the senders of this batch for later answers."""
        sources, control = self._sources, self._control
        return lambda place, answers: self._send(sources, control, [place] * len(answers), answers)

    def _send(
        self,
        sources: list[tuple[Any, ...]],
        control: list[Control],
        places: Sequence[int],
        answers: Sequence[bytes],
    ) -> int:
        unsent, tries = 0, TRIES
        for answer, place in zip(answers, places, strict=True):
            came = reply_control(self._came, control[place]) if self._came else []
            while True:
                try:
                    self._socket.sendmsg([answer], came, 0, sources[place])
                except OSError as fault:
                    if tries and fault.errno in PASSING:
                        tries -= 1
                        continue
                    unsent += 1
                break
        return unsent
