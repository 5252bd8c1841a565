"""The interface of a UDP socket that is read and answered in batches.

:mod:`identengine.net.udp.mmsg` makes one system call for each batch, :mod:`identengine.net.udp.recvmsg` one for
each datagram.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeAlias

BATCH = 64
"""Maximum size of a batch, in datagrams."""
LARGEST = 65535
"""Largest possible datagram, in bytes."""

ReplyRoute: TypeAlias = Callable[[int, Sequence[bytes]], int]
"""Sends answers to the sender of the datagram at an index of its batch. Returns the number of unsent answers."""
TRIES = 8
"""Maximum number of repeated calls in one batch, after errors that may pass."""
PASSING = frozenset({errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED})
"""Errors that may pass: a full buffer, a signal, or the failure of an earlier datagram, reported late."""


class Batched(Protocol):
    """A socket that is read and answered in batches. A place is an index into the batch that was received last.

    Errors of the network raise nothing. A datagram that cannot be read is skipped, and unsent answers are counted.
    """

    def limit(self, size: int) -> None:
        """Cut each further datagram after ``size`` bytes."""

    def receive(self) -> list[bytes]:
        """Return up to 64 waiting datagrams, or an empty list. Never wait."""

    def keys(self) -> Sequence[Hashable]:
        """Return a key for the sender of each datagram of the batch, made of its address without the port."""

    def host(self, place: int) -> str:
        """Return the address of the sender at a place as text, without a scope."""

    def ports(self) -> list[int]:
        """Return the source port of each datagram of the batch."""

    def too_old(self, oldest: float) -> list[bool] | None:
        """Return True for each datagram that waited for more than ``oldest`` seconds, or None if no datagram did.

        The kernel's time stamps decide. The first datagram is the oldest. If it is not too old, no other is.
        """

    def send(self, answers: Sequence[bytes], places: Sequence[int] | None = None) -> int:
        """Send each answer to the sender at its place. Return the number of answers that could not be sent.

        Without ``places`` the answers belong to the first datagrams, in order.
        """

    def reply_route(self) -> ReplyRoute:
        """Return a route to the senders of this batch that stays usable after the next batch is received."""
