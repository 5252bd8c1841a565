"""MessagePack with its length before it: four bytes, the most significant first (interfaces.md 3). No I/O.

The first byte tells this framing from the others, so it is 0: a message has less than 16 MiB.
"""

from __future__ import annotations

from identengine.wire.codec import MESSAGEPACK

_PREFIX = 4


class Prefixed:
    """The framer of one connection: bytes in, whole messages out."""

    codec = MESSAGEPACK

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The message that began and did not end yet, with its length."""

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
        at, size = 0, len(held)
        while size - at >= _PREFIX:
            start = at + _PREFIX
            length = int.from_bytes(held[at:start], "big")
            if length > self._max_bytes:
                self.error = f"a message of more than {self._max_bytes} bytes"
                break
            if start + length > size:
                break
            messages.append(bytes(memoryview(held)[start : start + length]))
            at = start + length
        del held[:at]
        return messages

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out."""
        return len(answer).to_bytes(_PREFIX, "big") + answer
