"""What is logged of rejected calls and refused peers: once a second for each source and reason, with a count.

Bounded under forged sources (engine.md 7): beyond :data:`SOURCES` sources in a second the others are one line a
reason.
"""

from __future__ import annotations

from collections.abc import Callable

from identengine.log.events import REFUSED, REJECTED, REJECTED_OTHERS

SOURCES = 100
"""Most lines in a second that name a source: they are written at once, and requests wait meanwhile."""
_LONGEST = 64


class RejectLog:
    """Collects for a second, then writes. ``in_a_second`` calls what it is given after a second."""

    def __init__(self, in_a_second: Callable[[Callable[[], None]], object]) -> None:
        self._in_a_second = in_a_second
        self._counts: dict[tuple[str, str, str | None], int] = {}
        self._others: dict[str, int] = {}

    def note(self, source: str, reason: str, switch: str | None = None) -> None:
        """Count one reject; ``switch`` is who asked, None where no switch did."""
        if not self._counts:
            self._in_a_second(self.write)
        key = source[:_LONGEST], reason, switch
        count = self._counts.get(key)
        if count is not None:
            self._counts[key] = count + 1
        elif len(self._counts) < SOURCES:
            self._counts[key] = 1
        else:
            self._others[reason] = self._others.get(reason, 0) + 1

    def write(self) -> None:
        """Write what was collected."""
        for (source, reason, switch), count in self._counts.items():
            # What a source calls itself may hold anything: the words show its repr, which stays on its line.
            if switch is None:
                REFUSED.tell(reason=reason, source=source, count=count)
            else:
                REJECTED.tell(reason=reason, source=source, switch=switch, count=count)
        for reason, count in self._others.items():
            REJECTED_OTHERS.tell(reason=reason, count=count)
        self._counts.clear()
        self._others.clear()
