"""Deferred answers, which take several steps of the event loop (engine.md 5.8), in any protocol. No I/O.

Rule: a message waits for its own deferred answers. Other messages of the same read do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from identengine.calls.backend import Deferred, LegResult


class DeferredCount:
    """The number of messages of a connection or socket whose answers are deferred. A drain waits for them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


def postpone(deferred: Sequence[Deferred], owed: DeferredCount, give: Callable[[], None]) -> None:
    """Call ``give`` once, when all deferred answers of a message are complete. It counts in ``owed``."""
    left = len(deferred)

    def one_less(_: LegResult) -> None:
        nonlocal left
        left -= 1
        if not left:
            owed.count -= 1
            give()

    owed.count += 1
    for each in deferred:
        each.then(one_less)
