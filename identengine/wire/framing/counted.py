"""The base of framings that announce the length of each message. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from identengine.errors import expected, quoted


class Body(NamedTuple):
    """The offsets of a message in the buffer: its start, its end, and the start of the next message."""

    start: int
    end: int
    next: int


def too_large(max_bytes: int, size: int | None = None) -> str:
    """Return the error of a message of ``size`` bytes; None if its size is not known yet."""
    return f"{expected(f'a message of at most {max_bytes} bytes')}, got {size or 'a larger one'}"


def byte_shown(byte: int) -> str:
    """Return a byte as an error shows it: as a character if it is printable ASCII, otherwise in hexadecimal."""
    return quoted(chr(byte)) if 0x20 <= byte < 0x7F else f"byte 0x{byte:02x}"


class Counted:
    """The framer of one connection. A subclass finds each message in the buffer."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self.cautious = False
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The buffer: the incomplete message, with its length in front."""

    @property
    def pending(self) -> bool:
        """See :class:`identengine.wire.framing.Framer`."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """See :class:`identengine.wire.framing.Framer`."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        held = self._begun
        held += data
        at = 0
        while (body := self._body(held, at)) is not None:
            messages.append(bytes(memoryview(held)[body.start : body.end]))
            at = body.next
        del held[:at]
        return messages

    def _body(self, held: bytearray, at: int) -> Body | None:
        """Return the message that begins at ``at``, or None if it is incomplete or sets ``error``."""
        raise NotImplementedError
