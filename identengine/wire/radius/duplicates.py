"""Replies to recent requests, for switches that repeat a request whose reply was lost (RFC 5080, section 2.2.2).

Rule: no flood exceeds the memory of :data:`MOST_BYTES`. Replies expire by generations, as in
:mod:`identengine.calls.tombstones`. One dict holds all replies: nearly every request is new, and a miss costs one
lookup.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

KEPT_SECONDS: Final = 30.0
"""Time for which a reply is kept, in seconds (interfaces.md 5)."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Memory of all kept replies, in bytes. Above it, the oldest ones are forgotten early.

A reply to an authorization takes about 600 bytes with its key: 100,000 replies, or 3,500 a second for 30 seconds.
"""
GENERATION: Final = 1024
"""Replies of one generation. A generation expires at once, in less than a millisecond."""
GENERATION_SECONDS: Final = 1.0
"""Longest time for which a reply is kept after it expired, in seconds."""
OVERHEAD: Final = 320
"""Memory of a reply in addition to its bytes: its key, and its places in a dict and a generation."""
PENDING: Final = b""
"""The reply to a request that is being answered."""


class _Generation:
    """Replies of about a second, which expire together."""

    __slots__ = ("began", "ended", "keys", "size")

    def __init__(self, now: float) -> None:
        self.keys: list[Hashable] = []
        self.size = 0
        """Memory of the replies, in bytes."""
        self.began = self.ended = now
        """Times of the first and the last reply."""


class Duplicates:
    """The replies to recent requests, by a key of the request."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._replies: dict[Hashable, bytes] = {}
        self._generations: deque[_Generation] = deque()
        self.size = 0
        """Memory of all replies, in bytes."""

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, key: Hashable) -> bytes | None:
        """Return the reply to a request, :data:`PENDING` if it is being answered, or None if it is new."""
        return self._replies.get(key)

    def begin(self, key: Hashable) -> None:
        """Note that a request is being answered. :meth:`finish` or :meth:`forget` must follow."""
        self._replies[key] = PENDING

    def forget(self, key: Hashable) -> None:
        """Forget a request that gets no reply, so that a repeat of it is decided again."""
        if self._replies.get(key) == PENDING:
            del self._replies[key]

    def finish(self, key: Hashable, reply: bytes, now: float) -> None:
        """Keep the reply to a request."""
        if self._replies.get(key):
            return
        self._replies[key] = reply
        last = self._generations[-1] if self._generations else None
        if last is None or len(last.keys) >= GENERATION or now - last.began >= GENERATION_SECONDS:
            last = _Generation(now)
            self._generations.append(last)
        size = len(reply) + OVERHEAD
        last.keys.append(key)
        last.size += size
        last.ended = now
        self.size += size
        while self.size > self._most_bytes and len(self._generations) > 1:
            self._drop()

    def expire(self, now: float) -> None:
        """Forget the oldest generation if it has expired. Call it before each batch."""
        if self._generations and now - self._generations[0].ended > KEPT_SECONDS:
            self._drop()

    def _drop(self) -> None:
        oldest = self._generations.popleft()
        self.size -= oldest.size
        for key in oldest.keys:
            self._replies.pop(key, None)
