"""Netstrings that hold JSON: the length in digits, a colon, the message, a comma. No I/O.

So speak Kamailio's janssonrpcc and jsonrpcc (interfaces.md 3; D. J. Bernstein, "Netstrings", 1997).
"""

from __future__ import annotations

from identengine.wire.framing.counted import Body, Counted, too_large

_ZERO, _COMMA = ord("0"), ord(",")


class Netstrings(Counted):
    """The framer of one connection: bytes in, whole messages out."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._most_digits = len(str(max_bytes))

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out."""
        return b"%d:%b," % (len(answer), answer)

    def _body(self, held: bytearray, at: int) -> Body | None:
        if at == len(held):
            return None
        colon = held.find(b":", at, at + self._most_digits + 1)
        digits = bytes(held[at : colon if colon >= 0 else at + self._most_digits + 1])
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            self.error = "a netstring begins with a length in digits and a colon"
        elif len(digits) > self._most_digits or int(digits) > self._max_bytes:
            self.error = too_large(self._max_bytes)
        elif colon >= 0:
            end = colon + 1 + int(digits)
            if end < len(held) and held[end] != _COMMA:
                self.error = "a netstring ends with a comma"
            elif end < len(held):
                return Body(colon + 1, end, end + 1)
        return None
