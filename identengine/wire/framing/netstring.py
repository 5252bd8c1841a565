"""Netstrings that hold JSON: the length in digits, a colon, the message, a comma. No I/O.

So speak Kamailio's janssonrpcc and jsonrpcc (interfaces.md 3; D. J. Bernstein, "Netstrings", 1997).
"""

from __future__ import annotations

from identengine.wire.codec import JSON

_ZERO, _COMMA = ord("0"), ord(",")


class Netstrings:
    """The framer of one connection: bytes in, whole messages out."""

    codec = JSON

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self._max_bytes = max_bytes
        self._most_digits = len(str(max_bytes))
        self._begun = bytearray()
        """The netstring that began and did not end yet."""

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
        while at < len(held):
            body = self._body(held, at)
            if body is None:
                break
            start, end = body
            if end >= len(held):
                break
            if held[end] != _COMMA:
                self.error = "a netstring ends with a comma"
                break
            messages.append(bytes(memoryview(held)[start:end]))
            at = end + 1
        del held[:at]
        return messages

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out."""
        return b"%d:%b," % (len(answer), answer)

    def _body(self, held: bytearray, at: int) -> tuple[int, int] | None:
        """Return where the message of the netstring at ``at`` begins and ends; None where that is not known."""
        colon = held.find(b":", at, at + self._most_digits + 1)
        digits = bytes(held[at : colon if colon >= 0 else at + self._most_digits + 1])
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            self.error = "a netstring begins with a length in digits and a colon"
        elif len(digits) > self._most_digits or int(digits) > self._max_bytes:
            self.error = f"a message of more than {self._max_bytes} bytes"
        elif colon >= 0:
            return colon + 1, colon + 1 + int(digits)
        return None
