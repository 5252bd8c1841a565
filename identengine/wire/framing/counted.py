"""The base of framings that announce the length of each message. No I/O."""

from __future__ import annotations

from identengine.errors import expected, quoted


def too_large(max_bytes: int, size: int | None = None) -> str:
    """Return the error of a message of ``size`` bytes; None if its size is not known yet."""
    return f"{expected(f'a message of at most {max_bytes} bytes')}, got {size or 'a larger one'}"


def byte_shown(byte: int) -> str:
    """Return a byte as an error shows it: as a character if it is printable ASCII, otherwise in hexadecimal."""
    return quoted(chr(byte)) if 0x20 <= byte < 0x7F else f"byte 0x{byte:02x}"


class Counted:
    """The framer of one connection. A subclass cuts the messages.

    The cost is linear in the number of bytes: a message that arrives in parts is looked at only twice, when its
    length is complete and when the message is.
    """

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self.cautious = False
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The incomplete message, with its length in front."""
        self._least = 0
        """Smallest size of the incomplete message, with its length, at which it is looked at again."""

    @property
    def pending(self) -> bool:
        """See :class:`identengine.wire.framing.Framer`."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """See :class:`identengine.wire.framing.Framer`."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        if self._begun:
            self._begun += data
            if len(self._begun) < self._least:
                return messages
            data = bytes(self._begun)
            self._begun.clear()
        end = self._cut(data, messages)
        if end < len(data):
            self._begun += memoryview(data)[end:]
        return messages

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        """Append the whole messages of ``data`` to ``messages``. Return the offset behind them.

        Set ``_least`` if an incomplete message follows, and ``error`` if the next length is wrong.
        """
        raise NotImplementedError
