"""Messages behind their length: four bytes, the most significant first (interfaces.md 3). No I/O.

The first byte selects this framing. It is always 0, since a message has less than 16 MiB.
"""

from __future__ import annotations

from identengine.wire.framing.counted import Body, Counted, too_large

_PREFIX = 4


class Prefixed(Counted):
    """The framer of messages behind their length."""

    def frame(self, answer: bytes) -> bytes:
        """See :class:`identengine.wire.framing.Framer`."""
        return len(answer).to_bytes(_PREFIX, "big") + answer

    def _body(self, held: bytearray, at: int) -> Body | None:
        start = at + _PREFIX
        if start > len(held):
            return None
        end = start + int.from_bytes(held[at:start], "big")
        if end - start > self._max_bytes:
            self.error = too_large(self._max_bytes, end - start)
            return None
        return Body(start, end, end) if end <= len(held) else None
