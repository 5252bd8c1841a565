"""How messages follow each other on a connection; its first byte decides (interfaces.md 3). No I/O.

A framer is fed what was read and gives whole messages out; whatever the cuts, the same bytes give the same ones.
One framing is one file, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.netstring import Netstrings
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.codec import Codec


class Framer(Protocol):
    """The framing of one connection."""

    codec: Codec
    """What its messages are encoded in."""
    error: str | None
    """What is wrong with the stream; then nothing more is given out: where a next message begins is not known."""

    @property
    def pending(self) -> bool:
        """Whether a message began and did not end yet."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the messages that it completed."""

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out."""


_BY_FIRST_BYTE: dict[int, Callable[[int], Framer]] = {0: Prefixed} | dict.fromkeys(b"0123456789", Netstrings)


def framer_of(first: int, max_bytes: int) -> Framer:
    """Return the framer of a connection whose first byte is ``first``; its messages have ``max_bytes`` at most.

    A first byte that no framing begins with is for the JSON stream to complain of.
    """
    return _BY_FIRST_BYTE.get(first, JsonStream)(max_bytes)
