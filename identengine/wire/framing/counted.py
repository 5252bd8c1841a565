"""What framings have in common that say how long a message is before it comes. No I/O."""

from __future__ import annotations

from typing import NamedTuple


class Body(NamedTuple):
    """Where a message begins and ends in what is held, and where the next one begins."""

    start: int
    end: int
    next: int


def too_large(max_bytes: int) -> str:
    """Return what is wrong with a message that is larger."""
    return f"a message of more than {max_bytes} bytes"


class Counted:
    """The framer of one connection: bytes in, whole messages out. Where one stands is its heirs' to say."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        """What is wrong with the stream; then nothing more is given out."""
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The message that began and did not end yet, with what says its length."""

    @property
    def pending(self) -> bool:
        """Whether a message began and did not end yet."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the messages that it completed."""
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
        """Return where the message is that begins at ``at``; None where it is not whole, or wrong (``error``)."""
        raise NotImplementedError
