"""A UDP socket that is read and answered by the batch: what its two implementations share.

:mod:`identengine.net.udp.mmsg` makes one system call a batch, :mod:`identengine.net.udp.recvmsg` one a datagram.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeAlias

BATCH = 64
"""Most datagrams of one batch."""
LARGEST = 65535
"""No datagram has more bytes."""

ReplyRoute: TypeAlias = Callable[[int, Sequence[bytes]], int]
"""Sends answers to who sent the datagram at a place of its batch; returns how many could not be sent."""
TRIES = 8
"""How often in a batch a call is made again that failed for what may be over with that."""
PASSING = frozenset({errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED})
"""A full buffer, a signal, or the fate of what was sent earlier, which the kernel tells with what comes next."""


class Batched(Protocol):
    """A socket that is read and answered by the batch. Places are those in the batch that was received last.

    What fails raises nothing: what cannot be read is not there, and what cannot be sent is counted.
    """

    def limit(self, size: int) -> None:
        """Cut datagrams off after ``size`` bytes from now on."""

    def receive(self) -> list[bytes]:
        """Take what waits, up to 64 datagrams, without waiting for any; an empty list where there are none."""

    def keys(self) -> Sequence[Hashable]:
        """Return for each datagram of the batch by what its sender's address, without port, may be looked up."""

    def host(self, place: int) -> str:
        """Return the address of the sender at a place as text, without a scope, as Python's sockets give it."""

    def port(self, place: int) -> int:
        """Return the source port of the datagram at a place."""

    def too_old(self, oldest: float) -> list[bool] | None:
        """Return of each datagram whether it waited for more than ``oldest`` seconds; None where none did.

        By the kernel's time stamps. As datagrams stand in a queue, that of the first tells whether the others'
        need be looked at.
        """

    def send(self, answers: Sequence[bytes], places: Sequence[int] | None = None) -> int:
        """Send each answer to the sender at its place, without ``places`` to the first ones in their order.

        Returns how many could not be sent.
        """

    def reply_route(self) -> ReplyRoute:
        """Return the way to the senders of this batch, for answers that are sent after the next was received."""
