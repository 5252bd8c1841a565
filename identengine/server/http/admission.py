"""Admission of connections: a limit for each client, and room that unproven connections leave to others. No I/O.

A connection is proven when its client has shown a right token. Proven connections are never closed for others.
Unproven ones may hold only a share of all connections. If a further client connects, the client with the most
unproven connections loses the connection that has been idle for longest. So a client with many connections cannot
shut out a client with few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from identengine.config.schema import Limits
from identengine.model.addresses import parse_address

UNPROVEN_SHARE = 0.5
"""The share of ``[limits] connections`` that unproven connections may hold."""
_SITE = 8
"""Length of the network that counts as one client over IPv6, in bytes: a client usually has a whole /64."""


class Refusal(NamedTuple):
    """The reason why a connection is refused, or closed to make room."""

    counted: Literal["unknown_peer", "too_many", "too_many_of_switch"]
    """Counter of the refusal: one of :data:`identengine.stats.registry.REFUSED`."""
    said: str
    """Reason, as the log has it."""


TOO_MANY = Refusal("too_many", "too many connections")
TOO_MANY_OF_ADDRESS = Refusal("too_many_of_switch", "too many connections from one address")
ROOM = Refusal("too_many", "too many connections without a right token, the oldest was closed")
ROOM_OF_ADDRESS = Refusal(
    "too_many_of_switch", "too many connections without a right token from one address, the oldest was closed"
)


class Slot:
    """The place of one connection. ``close`` closes the connection when another one needs the place."""

    __slots__ = ("close", "crowd", "host", "is_open", "proven")

    def __init__(self, host: str, crowd: _Crowd, close: Callable[[], None]) -> None:
        self.host = host
        """Address of the client: the peer, or the client that a trusted proxy names."""
        self.crowd = crowd
        self.close = close
        self.proven = False
        """True if the client has shown a right token on this connection."""
        self.is_open = True
        """True until the connection is closed."""


class _Crowd:
    """The unproven connections of one client, the oldest first."""

    __slots__ = ("busy", "idle", "key")

    def __init__(self, key: bytes | str) -> None:
        self.key = key
        self.idle: dict[Slot, None] = {}
        """Connections without a whole request, in the order in which they became idle."""
        self.busy: dict[Slot, None] = {}
        """Connections whose request is being answered."""

    def __len__(self) -> int:
        return len(self.idle) + len(self.busy)

    def discard(self, slot: Slot) -> None:
        self.idle.pop(slot, None)
        self.busy.pop(slot, None)

    def oldest(self) -> Slot:
        return next(iter(self.idle or self.busy))


class Admission:
    """The connections of the HTTP process, and their limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.shares: Callable[[str], bool] = lambda _: False
        """Function that returns True for an address without a limit of its own, such as a proxy's."""
        self.on_refused: Callable[[str, Refusal], None] = lambda *_: None
        """Function that is called with each client that is refused or loses a connection, and the reason."""
        self._crowds: dict[bytes | str, _Crowd] = {}
        self._unproven = 0
        self._proven: Counter[str] = Counter()
        """Number of proven connections of each client."""
        self._all_proven = 0

    def __len__(self) -> int:
        return self._unproven + self._all_proven

    def admit(self, host: str, close: Callable[[], None]) -> Slot | Refusal:
        """Return the place of a new connection, or the reason to refuse it."""
        crowd = self._crowd(host)
        refusal = self._make_room(host, crowd)
        if refusal is not None:
            self._forget(crowd)
            self.on_refused(host, refusal)
            return refusal
        slot = Slot(host, crowd, close)
        self._enter(slot, crowd)
        return slot

    def _make_room(self, host: str, crowd: _Crowd) -> Refusal | None:
        """Make room for one more connection of a client. Return the reason if there is none."""
        limits = self.limits
        if self._proven[host] + len(crowd) >= limits.connections_per_switch and not self.shares(host):
            if not crowd:
                return TOO_MANY_OF_ADDRESS
            self._evict(crowd, ROOM_OF_ADDRESS)
        elif len(self) >= limits.connections or self._unproven >= self._most_unproven:
            if not self._unproven:
                return TOO_MANY
            self._evict(self._largest(), ROOM)
        return None

    @property
    def _most_unproven(self) -> int:
        return max(1, int(self.limits.connections * UNPROVEN_SHARE))

    def _largest(self) -> _Crowd:
        return max(self._crowds.values(), key=len)

    def begin(self, slot: Slot, host: str) -> None:
        """Note that a request of a client has arrived. Behind a proxy each request may be another client's."""
        if not slot.is_open:
            return
        if slot.host != host:
            self._exit(slot)
            slot.host, slot.proven = host, False
            self._enter(slot, self._crowd(host))
        if not slot.proven:
            crowd = slot.crowd
            crowd.discard(slot)
            crowd.busy[slot] = None
            if len(crowd) > self.limits.connections_per_switch and not self.shares(host):
                self._evict(crowd, ROOM_OF_ADDRESS)
            elif self._unproven > self._most_unproven:
                self._evict(self._largest(), ROOM)

    def prove(self, slot: Slot) -> None:
        """Note that the client has shown a right token."""
        if slot.is_open and not slot.proven:
            self._exit(slot)
            slot.proven = True
            self._proven[slot.host] += 1
            self._all_proven += 1

    def rest(self, slot: Slot) -> None:
        """Note that the request was answered."""
        if slot.is_open and not slot.proven:
            slot.crowd.discard(slot)
            slot.crowd.idle[slot] = None

    def leave(self, slot: Slot) -> None:
        """Stop counting a connection."""
        if slot.is_open:
            slot.is_open = False
            self._exit(slot)

    def _evict(self, crowd: _Crowd, refusal: Refusal) -> None:
        slot = crowd.oldest()
        self.leave(slot)
        self.on_refused(slot.host, refusal)
        slot.close()

    def _crowd(self, host: str) -> _Crowd:
        key = _client_of(host)
        crowd = self._crowds.get(key)
        if crowd is None:
            crowd = self._crowds[key] = _Crowd(key)
        return crowd

    def _enter(self, slot: Slot, crowd: _Crowd) -> None:
        # An eviction may have removed the crowd while it was empty.
        slot.crowd = self._crowds.setdefault(crowd.key, crowd)
        slot.crowd.idle[slot] = None
        self._unproven += 1

    def _exit(self, slot: Slot) -> None:
        """Remove a connection from the counts."""
        if slot.proven:
            self._all_proven -= 1
            self._proven[slot.host] -= 1
            if not self._proven[slot.host]:
                del self._proven[slot.host]
        else:
            self._unproven -= 1
            slot.crowd.discard(slot)
            self._forget(slot.crowd)

    def _forget(self, crowd: _Crowd) -> None:
        if not crowd:
            self._crowds.pop(crowd.key, None)


def _client_of(host: str) -> bytes | str:
    """Return the key of the client at an address: over IPv6 that of its /64."""
    try:
        packed = parse_address(host.partition("%")[0])
    except ValueError:  # a trusted proxy may name its client by any text
        return host
    return packed[:_SITE] if len(packed) > _SITE else packed
