"""Framings: the ways in which messages follow each other on a connection (interfaces.md 3). No I/O.

The first byte of a connection selects its framing. A framer takes the bytes of a read and returns whole messages.
Rule: the same bytes give the same messages, wherever the reads cut them. Each framing has a module here. A
protocol names its framings, and the responder of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from identengine.wire.responder import MessageResponder
from identengine.wire.session import Session


class Framer(Protocol):
    """The framer of one connection: bytes in, whole messages out."""

    error: str | None
    """The error of the stream, or None. After an error the beginning of the next message is not known."""
    cautious: bool
    """True if the peer may be anyone, so that a framer must not do work in Python for parts of a message."""

    @property
    def pending(self) -> bool:
        """True if a message has begun and is not complete."""

    def feed(self, data: bytes) -> list[bytes]:
        """Add the bytes of a read and return the messages that they complete. After an error return nothing."""

    def frame(self, answer: bytes) -> bytes:
        """Return an answer with its framing."""


def _shows_none(begun: bytes, session: Session) -> None:
    """Return None: the messages of a protocol hold no tokens."""


class Framing(NamedTuple):
    """A framing and the protocol of its messages."""

    framer: Callable[[int], Framer]
    """Factory of the framer of a connection, from the maximum size of a message in bytes."""
    responder: Callable[[], MessageResponder]
    """Factory of the responder of a connection, which may keep state of that connection."""
    shows_token: Callable[[bytes, Session], bool | None] = _shows_none
    """Returns True if the first bytes of a connection hold a right token of the session."""
    undivided: bool = False
    """True if each answer should arrive in one segment of TCP."""
    in_order: bool = False
    """True if answers leave in the order of their messages, so that a deferred one delays the next turn."""


class Framings(NamedTuple):
    """The framings that a listener accepts."""

    default: Framing
    """The framing for any other first byte. Its responder reports a byte that no framing begins with."""
    by_first_byte: Mapping[int, Framing]

    def chosen_by(self, first: int) -> Framing:
        """Return the framing of a connection whose first byte is ``first``."""
        return self.by_first_byte.get(first, self.default)
