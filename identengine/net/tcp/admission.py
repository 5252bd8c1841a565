"""Admission of connections: how many there may be, in all and of each switch (interfaces.md 7, ``[limits]``)."""

from __future__ import annotations

from collections import Counter

from identengine.config.schema import Limits


class ConnectionQuota:
    """How many connections there are, of all listeners together, and how many there may be."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._per_switch: Counter[str] = Counter()

    def full(self, besides: int) -> str | None:
        """Return why no connection at all is let in where ``besides`` others are about to come; None if one is."""
        if self._per_switch.total() + besides >= self.limits.connections:
            return "too many connections"
        return None

    def refusal(self, switch: str) -> str | None:
        """Return why one more connection of this switch is not let in; None where it may come."""
        if self._per_switch.total() >= self.limits.connections:
            return "too many connections"
        if self._per_switch[switch] >= self.limits.connections_per_switch:
            return f"too many connections of {switch}"
        return None

    def enter(self, switch: str) -> None:
        """Count a connection."""
        self._per_switch[switch] += 1

    def leave(self, switch: str) -> None:
        """Count it no more."""
        self._per_switch[switch] -= 1
        if not self._per_switch[switch]:
            del self._per_switch[switch]
