"""The answers to the messages of one turn of a connection, in the order of the messages (interfaces.md 4). No I/O.

Rule: an answer waits for those before it that are deferred.
"""

from __future__ import annotations

from collections.abc import Mapping

from identengine.wire.deferred import DeferredCount, postpone
from identengine.wire.desk import Item, Later
from identengine.wire.resp.writers import JsonWriter
from identengine.wire.responder import LateAnswer


class Answers:
    """The answers of a turn. ``late`` gets those that leave after the batch, and ``writer`` writes them."""

    __slots__ = ("_at", "_is_open", "_items", "_late", "_writer", "leaving")

    def __init__(self, items: list[Item], late: LateAnswer, writer: JsonWriter) -> None:
        self._items, self._late, self._writer = items, late, writer
        self.leaving: list[bytes] = items  # type: ignore[assignment]  # as long as all are bytes
        """The answers that leave with the batch. They are final when it is closed."""
        self._at = 0
        """Number of answers that have left or leave with the batch, if any is deferred."""
        self._is_open = True
        """True until the batch is closed."""

    def postpone(self, owed: DeferredCount) -> None:
        """Keep back the first deferred answer and all after it. Each deferred answer counts in ``owed``."""
        self.leaving = []
        for item in self._items:
            if type(item) is Later:
                postpone([item.deferred], owed, self._continue)

    def complete(self, rejects: Mapping[int, Item]) -> None:
        """Replace answers at the end of the batch, by the identity of the earlier answers."""
        if rejects:
            self._items[:] = [rejects.get(id(item), item) for item in self._items]
        if self.leaving is not self._items:
            self.leaving += self._ready()
        self._is_open = False

    def _continue(self) -> None:
        ready = [] if self._is_open else self._ready()
        if ready:
            self._late(b"".join(ready))

    def _ready(self) -> list[bytes]:
        """Return the next answers that do not wait, and count them as sent."""
        ready: list[bytes] = []
        for item in self._items[self._at :]:
            if type(item) is not Later:
                ready.append(item or b"")  # type: ignore[arg-type]  # it is not deferred
            elif item.deferred.result is not None:
                ready.append(self._writer.done(True, item.deferred.result))
            else:
                break
        self._at += len(ready)
        return ready
