"""Netstrings that hold JSON: the length in digits, a colon, the message, a comma. No I/O.

This is the framing of Kamailio's janssonrpcc and jsonrpcc (interfaces.md 3; D. J. Bernstein, "Netstrings", 1997).
"""

from __future__ import annotations

from identengine.errors import expected
from identengine.wire.framing.counted import Counted, byte_shown, too_large

_ZERO, _COLON, _COMMA = b"0:,"


class Netstrings(Counted):
    """The framer of netstrings."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._most_digits = len(str(max_bytes))

    def frame(self, answer: bytes) -> bytes:
        """See :class:`identengine.wire.framing.Framer`."""
        return b"%d:%b," % (len(answer), answer)

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        at, size, most_digits = 0, len(data), self._most_digits
        while at < size:
            colon = data.find(b":", at, at + most_digits + 1)
            digits = data[at : colon if colon >= 0 else at + most_digits + 1]
            if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
                self.error = self._wrong_length(digits)
                break
            if len(digits) > most_digits or int(digits) > self._max_bytes:
                self.error = too_large(self._max_bytes)
                break
            if colon < 0:
                self._least = len(digits) + 1
                break
            end = colon + 1 + int(digits)
            if end >= size:
                self._least = end + 1 - at
                break
            if data[end] != _COMMA:
                self.error = f"{expected('a comma at the end of a netstring')}, got {byte_shown(data[end])}"
                break
            messages.append(data[colon + 1 : end])
            at = end + 1
        return at

    def _wrong_length(self, length: bytes) -> str:
        """Return the error of a length. A large number counts first, since a read can end behind its digits."""
        digits = length[: len(length) - len(length.lstrip(b"0123456789"))]
        if digits and digits[0] != _ZERO and int(digits) > self._max_bytes:
            return too_large(self._max_bytes)
        got = byte_shown(_first_wrong(length))
        return f"{expected('a length in digits and a colon before a netstring')}, got {got}"


def _first_wrong(length: bytes) -> int:
    """Return the first wrong byte of a length. It is the same wherever a read ended."""
    if length[:1] == b"0":
        return _ZERO
    return next((byte for byte in length if byte not in b"0123456789"), _COLON)
