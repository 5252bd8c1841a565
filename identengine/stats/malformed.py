"""Malformed messages by switch and error code, and rejects by switch, in bounded memory.

Rule: a limited number of switches have a row of their own; all further switches share one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

SWITCHES = 256
"""Maximum number of switches with a row of malformed messages of their own."""
REJECTING = 128
"""Maximum number of switches with a row of rejects of their own."""
UNKNOWN = "unknown"
"""The row of messages without a known switch: their token is absent, wrong or unreadable."""
OTHER = "other"
"""The row of all switches beyond :data:`SWITCHES`, or beyond :data:`REJECTING` for rejects."""

CountsBySwitch: TypeAlias = dict[str, dict[int, int]]
"""Messages by the name of the switch, or :data:`UNKNOWN` or :data:`OTHER`, and by error code."""


RejectsBySwitch: TypeAlias = dict[str, int]
"""Rejected authorizations by the name of the switch, or :data:`OTHER`."""


def count_reject(counts: RejectsBySwitch, switch: str) -> None:
    """Count a rejected authorization of a switch."""
    name = switch if switch in counts or len(counts) < REJECTING else OTHER
    counts[name] = counts.get(name, 0) + 1


class MalformedCounts:
    """A table of messages by switch and error code."""

    def __init__(self, before: Mapping[str, Mapping[int, int]] | None = None) -> None:
        """Continue from ``before``, the counts of an earlier process."""
        self._counts: CountsBySwitch = {switch: dict(by_code) for switch, by_code in (before or {}).items()}

    def add(self, switch: str | None, code: int, more: int = 1) -> None:
        """Count messages of a switch. They count as :data:`UNKNOWN` without a ``switch``."""
        name = UNKNOWN if switch is None else switch
        by_code = self._counts.get(name)
        if by_code is None:
            full = len(self._counts) >= SWITCHES and name != UNKNOWN
            by_code = self._counts.setdefault(OTHER if full else name, {})
        by_code[code] = by_code.get(code, 0) + more

    def counts(self) -> CountsBySwitch:
        """Return a copy of the table."""
        return {switch: dict(by_code) for switch, by_code in self._counts.items()}
