"""Messages behind their length: four bytes, the most significant first (interfaces.md 3). No I/O.

The first byte selects this framing. It is always 0, since a message has less than 16 MiB.
"""

from __future__ import annotations

import struct

from identengine.wire.framing.counted import Counted, too_large

_PREFIX = 4
_length = struct.Struct(">I").unpack_from


class Prefixed(Counted):
    """The framer of messages behind their length."""

    def frame(self, answer: bytes) -> bytes:
        """See :class:`identengine.wire.framing.Framer`."""
        return len(answer).to_bytes(_PREFIX, "big") + answer

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        at, size, max_bytes = 0, len(data), self._max_bytes
        while (start := at + _PREFIX) <= size:
            end = start + _length(data, at)[0]
            if end - start > max_bytes:
                self.error = too_large(max_bytes, end - start)
                return at
            if end > size:
                self._least = end - at
                return at
            messages.append(data[start:end])
            at = end
        self._least = _PREFIX
        return at
