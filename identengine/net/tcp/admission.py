"""Admission of connections: the limits in total and for each switch (interfaces.md 7, ``[limits]``)."""

from __future__ import annotations

from collections import Counter

from identengine.config.schema import Limits


class ConnectionQuota:
    """The number of connections of all listeners together, and its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._per_switch: Counter[str] = Counter()

    def full(self, expected: int) -> str | None:
        """Return the reason to refuse all connections, or None. ``expected`` more are about to be admitted."""
        if self._per_switch.total() + expected >= self.limits.connections:
            return "too many connections"
        return None

    def refusal(self, switch: str) -> str | None:
        """Return the reason to refuse one more connection of a switch, or None if it is admitted."""
        if self._per_switch.total() >= self.limits.connections:
            return "too many connections"
        if self._per_switch[switch] >= self.limits.connections_per_switch:
            return f"too many connections of {switch}"
        return None

    def enter(self, switch: str) -> None:
        """Count a connection."""
        self._per_switch[switch] += 1

    def leave(self, switch: str) -> None:
        """Stop counting a connection."""
        self._per_switch[switch] -= 1
        if not self._per_switch[switch]:
            del self._per_switch[switch]
