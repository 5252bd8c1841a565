"""Admission of connections: the limits in total and for each switch (interfaces.md 7, ``[limits]``)."""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from identengine.config.schema import Limits
from identengine.model.addresses import parse_address

T = TypeVar("T")


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


class Arrivals(Generic[T]):
    """Connections that nothing is known of but their source, such as those with an unfinished handshake."""

    def __init__(self) -> None:
        self._of_source: dict[bytes, dict[T, None]] = {}
        """The connections of each source, the oldest first."""
        self._sources: dict[T, bytes] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, connection: T) -> bool:
        return connection in self._sources

    def all(self) -> list[T]:
        """Return all connections."""
        return [*self._sources]

    def add(self, connection: T, source: bytes) -> None:
        """Add a connection from a source (:func:`source_of`)."""
        self._sources[connection] = source
        self._of_source.setdefault(source, {})[connection] = None

    def remove(self, connection: T) -> None:
        """Remove a connection."""
        source = self._sources.pop(connection)
        connections = self._of_source[source]
        del connections[connection]
        if not connections:
            del self._of_source[source]

    def to_displace(self, source: bytes) -> T | None:
        """Return the connection to close in favour of a new one from ``source``, or None if the new one must wait.

        It is the oldest of the source with the most connections. So no source can shut out one that has fewer.
        """
        most = max(self._of_source.values(), key=len, default={})
        return next(iter(most)) if len(most) > len(self._of_source.get(source, ())) else None


def source_of(host: str) -> bytes:
    """Return the source of a connection, for fair shares: an IPv4 address, or a network /64 of IPv6.

    Anyone with one IPv6 address usually has the whole /64.
    """
    address = parse_address(host.partition("%")[0])
    return address if len(address) == 4 else address[:8]
