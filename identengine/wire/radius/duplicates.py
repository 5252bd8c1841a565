"""Replies to recent requests, for switches that repeat a request whose reply was lost (RFC 5080, section 2.2.2).

Rule: no flood exceeds the memory of :data:`MOST_BYTES`. Replies expire by generations, as in
:mod:`identengine.calls.tombstones`. One dict holds all replies: nearly every request is new, and a miss costs one
lookup.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

KEPT_SECONDS: Final = 30.0
"""Time for which a reply is kept, in seconds (interfaces.md 5)."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Memory of all kept replies, in bytes. Above it, the oldest ones are forgotten early.

A reply to an authorization takes about 600 bytes with its key: 100,000 replies, or 3,500 a second for 30 seconds.
"""
GENERATION: Final = 1024
"""Replies after which a generation is complete. It expires at once, in less than a millisecond."""
GENERATION_SECONDS: Final = 1.0
"""Longest time for which a reply is kept after it expired, in seconds."""
OVERHEAD: Final = 320
"""Memory of a reply in addition to its bytes: its key, and its places in a dict and a generation."""


Pending = TypeVar("Pending")
"""The type of the objects that stand for requests which are being answered."""


class _Generation:
    """Replies of about a second, which expire together."""

    __slots__ = ("began", "ended", "keys", "size")

    def __init__(self, now: float) -> None:
        self.keys: list[Hashable] = []
        self.size = 0
        """Memory of the replies, in bytes."""
        self.began = self.ended = now
        """Times of the first and the last reply."""


class Duplicates(Generic[Pending]):
    """The replies to recent requests, by a key of the request."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._known: dict[Hashable, bytes | Pending] = {}
        self._generations: deque[_Generation] = deque()
        self._now = 0.0
        """The time of the current batch."""
        self.size = 0
        """Memory of all replies, in bytes."""

    def __len__(self) -> int:
        return len(self._known)

    def claim(self, key: Hashable, pending: Pending) -> bytes | Pending:
        """Return the reply to a request, or the object that claimed the request earlier and answers it now.

        Return ``pending`` itself if the request is new. :meth:`keep` or :meth:`forget` must follow then.
        """
        known = self._known.setdefault(key, pending)
        if known is not pending and self._has_expired():  # after a pause, that of the key may be one of them
            while self._has_expired():
                self._drop()
            known = self._known.setdefault(key, pending)
        return known

    def forget(self, key: Hashable) -> None:
        """Forget a request that gets no reply, so that a repeat of it is decided again."""
        if not isinstance(self._known.get(key), bytes):
            self._known.pop(key, None)

    def keep(self, replies: Mapping[Hashable, bytes], now: float) -> None:
        """Keep the replies to requests that were claimed."""
        if not replies:
            return
        self._known.update(replies)
        last = self._generations[-1] if self._generations else None
        if last is None or len(last.keys) >= GENERATION or now - last.began >= GENERATION_SECONDS:
            last = _Generation(now)
            self._generations.append(last)
        size = sum(map(len, replies.values())) + OVERHEAD * len(replies)
        last.keys += replies
        last.size += size
        last.ended = now
        self.size += size
        while self.size > self._most_bytes and len(self._generations) > 1:
            self._drop()

    def expire(self, now: float) -> None:
        """Forget the oldest generation if it has expired. Call it before each batch.

        Only one: after a pause, the first request need not wait until all of them are forgotten.
        """
        self._now = now
        if self._has_expired():
            self._drop()

    def _has_expired(self) -> bool:
        """Return True if the oldest generation has expired."""
        return bool(self._generations) and self._now - self._generations[0].ended > KEPT_SECONDS

    def _drop(self) -> None:
        oldest = self._generations.popleft()
        self.size -= oldest.size
        for key in oldest.keys:
            self._known.pop(key, None)
