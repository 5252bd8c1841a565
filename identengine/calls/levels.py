"""Where a leg of a call counts, and the limits that hold there (engine.md 5.2)."""

from __future__ import annotations

import msgspec

from identengine.model import Client, Direction
from identengine.reasons import Reason

_TOTAL = 2
_PLACE = {Direction.ORIGINATION: 0, Direction.TERMINATION: 1}


def client_counters(client_id: int, direction: Direction) -> tuple[int, int]:
    """Return the numbers of a client's counters that such a leg is in: of the direction, and of both."""
    return client_id << 2 | _PLACE[direction], client_id << 2 | _TOTAL


def clients_of(counters: tuple[int, ...]) -> list[int]:
    """Return the clients whose counters these are, the account's own first."""
    return [counter >> 2 for counter in counters[::2]]


class Limit(msgspec.Struct, frozen=True, gc=False):
    """What one counter of a client may reach, and the reason of the reject when it has."""

    counter: int
    most: int
    reason: Reason


def limits_of(client: Client, direction: Direction, reason: Reason) -> tuple[Limit, ...]:
    """Return the limits of one client for legs of a direction: of the direction, and of both together."""
    own, total = client_counters(client.id, direction)
    capacity = client.orig_capacity if direction is Direction.ORIGINATION else client.term_capacity
    return tuple(
        Limit(counter, most, reason)
        for counter, most in ((own, capacity), (total, client.capacity))
        if most is not None
    )


class ClientLevels(msgspec.Struct, frozen=True, gc=False):
    """A client and the resellers above it, as an account's legs in one direction count on them."""

    counters: tuple[int, ...]
    """Of the account's own client, then of those above: of the direction, and of both together, each."""
    limits: tuple[Limit, ...] = ()
    """Of those that have any: nearest the account first, the direction before the total."""
    cps: float | None = None
    """Calls a second of the account's own client; origination only (engine.md 5.9)."""


class Levels(msgspec.Struct, frozen=True, gc=False):
    """All levels of one leg."""

    account_id: int
    capacity: int | None
    cps: float | None
    """Calls a second of the account; origination only."""
    client: ClientLevels
