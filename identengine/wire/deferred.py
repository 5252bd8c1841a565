"""Deferred answers, which take several steps of the event loop (engine.md 5.8), in any protocol. No I/O.

Rule: a message waits for its own deferred answers. Other messages of the same read do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from identengine.calls.backend import Deferred, LegResult
from identengine.engine.core import EngineAnswer


class DeferredCount:
    """The number of messages of a connection or socket whose answers are deferred. A drain waits for them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


def postpone(
    places: Iterable[int],
    answers: Sequence[EngineAnswer],
    owed: DeferredCount,
    give: Callable[[list[EngineAnswer]], None],
) -> bool:
    """Return True if a message has a deferred answer. The ``places`` of its requests are indexes of ``answers``.

    In that case ``give`` is called once, with all ``answers``, when the last deferred answer of the message is
    complete. The message counts in ``owed`` until then.
    """
    deferred = [answer for place in places if isinstance(answer := answers[place], Deferred)]
    left = len(deferred)

    def one_less(_: LegResult) -> None:
        nonlocal left
        left -= 1
        if not left:
            owed.count -= 1
            give([answer.result or answer if isinstance(answer, Deferred) else answer for answer in answers])

    owed.count += bool(deferred)
    for each in deferred:
        each.then(one_less)
    return bool(deferred)
