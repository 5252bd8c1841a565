"""Responders: the interface between listeners and protocols. Datagrams or messages in, answers out. No I/O.

Each protocol is a package of its own in :mod:`identengine.wire`, with a responder for datagrams, for messages, or
for both. Rule: adding a protocol changes no listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from identengine.wire.deferred import DeferredCount
from identengine.wire.session import Session


class MalformedMessage(NamedTuple):
    """A message that was answered with an error because of its form or its parameters."""

    switch: str | None
    """The switch that sent the message; None if the message does not show it."""
    host: str | None
    """The address of the peer; None if it is no longer known."""
    code: int
    """The code of the error."""
    problem: str
    """The message of the error, without secrets."""
    field: str | None = None
    """The parameter that is wrong."""
    value: str | None = None
    """The value of the parameter, as JSON; None if it is absent, long or secret."""


class Batches(Protocol):
    """The batches of a protocol: messages between :meth:`begin` and :meth:`end` are one batch of the engine.

    A batch has one reading of the clock and one transaction, however many responders are called within it.
    Batches do not overlap. If :meth:`end` raises an exception, the batch is closed, but none of its answers may
    leave.
    """

    def begin(self) -> None:
        """Open a batch. Responders are called only within a batch."""

    def end(self) -> None:
        """Close the batch: persist what it changed, and complete its answers.

        The lists that responders have returned since :meth:`begin` are final afterwards. This method may add
        answers and places to them, or replace answers that cannot be persisted.
        """


class _Unbatched:
    """The batches of a protocol whose answers are final as soon as its responder returns."""

    def begin(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


UNBATCHED: Batches = _Unbatched()
"""The default of listeners."""


class Senders(Protocol):
    """The senders of datagrams that are answered together. A place is an index of these datagrams."""

    def ports(self) -> Sequence[int]:
        """Return the source port of each datagram. Call it only before the responder returns."""

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        """Send answers to the sender of a datagram, at any time after the responder has returned."""


class DatagramResponder(Protocol):
    """A responder that answers datagrams which were received together, at most 64, within a batch."""

    def __call__(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
        /,
    ) -> tuple[list[bytes], list[int] | None]:
        """Return the answers, and for each answer the place of its datagram.

        The answers are final after :meth:`Batches.end`. None instead of places means that each datagram has
        exactly one answer, in order. ``sessions`` are the senders. ``too_old`` marks the datagrams that waited
        longer than ``datagram_age_ms`` (interfaces.md 3, "Overload"), or is ``None`` if no datagram did. A
        deferred answer counts in ``owed`` until ``senders`` has it.
        """


class LateAnswer(Protocol):
    """A function that sends an answer on a connection after the responder has returned."""

    def __call__(self, answer: bytes, /) -> None:
        """Send the answer if the connection is still open."""


class MessageResponder(Protocol):
    """A responder that answers messages of one connection, which have their turn together, within a batch."""

    def __call__(
        self,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None,
        late: LateAnswer,
        owed: DeferredCount,
        too_old: bool,
        /,
    ) -> tuple[list[bytes], bool]:
        """Return the answers without their framing, and True if the connection must be closed.

        The answers are final after :meth:`Batches.end`. ``session`` is the peer. The responder authenticates it
        if the protocol has a method for that. ``broken`` is the error of the stream after these messages, or
        None. ``too_old`` is True if the messages waited longer than ``datagram_age_ms``. A deferred answer counts
        in ``owed`` until ``late`` has sent it.
        """
