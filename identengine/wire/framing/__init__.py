"""How messages follow each other on a connection; its first byte decides (interfaces.md 3). No I/O.

A framer is fed what was read and gives whole messages out; whatever the cuts, the same bytes give the same ones.
One framing is one file here. A protocol names its framings, each with the responder that answers in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from identengine.wire.responder import MessageResponder


class Framer(Protocol):
    """The framing of one connection."""

    error: str | None
    """What is wrong with the stream; then nothing more is given out: where a next message begins is not known."""

    @property
    def pending(self) -> bool:
        """Whether a message began and did not end yet."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the messages that it completed."""

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out."""


class Framing(NamedTuple):
    """A framing and the protocol that is spoken in it."""

    framer: Callable[[int], Framer]
    """Makes the framer of a connection from the maximum size of a message, in bytes."""
    responder: Callable[[], MessageResponder]
    """Returns the responder of a connection, which may keep what one connection has said."""


class Framings(NamedTuple):
    """The framings that a listener accepts."""

    default: Framing
    """For a first byte that no framing begins with; its responder reports the error."""
    by_first_byte: Mapping[int, Framing]

    def chosen_by(self, first: int) -> Framing:
        """Return the framing of a connection whose first byte is ``first``."""
        return self.by_first_byte.get(first, self.default)
