"""The levels on which a leg counts, and their limits (engine.md 5.2).

Each level has a number. An account has one level per direction. A client has one per direction, and one for both
directions, whose count is the sum of the two (:mod:`identengine.calls.counts`). The mirror stores numbers of 64
bits only, and every id up to 2**63 - 1 needs distinct numbers.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec.structs import force_setattr

from identengine.model.reasons import Reason
from identengine.model.records import Client, Direction

_DIRECTION_BIT = {Direction.ORIGINATION: 0, Direction.TERMINATION: 1}


def account_counter(account_id: int, direction: Direction) -> int:
    """Return the number of an account's counter for a direction. Half of the number is the account's id."""
    return account_id << 1 | _DIRECTION_BIT[direction]


def account_of(counter: int) -> tuple[int, Direction]:
    """Return the account and the direction of a counter."""
    return counter >> 1, Direction.TERMINATION if counter & 1 else Direction.ORIGINATION


def client_counters(client_id: int, direction: Direction) -> tuple[int, int]:
    """Return the numbers of a client's counters for a leg: one for the direction and one for both directions."""
    return client_id << 1 | _DIRECTION_BIT[direction], -client_id


def client_of(counter: int) -> tuple[int, Direction | None]:
    """Return the client of a counter and its direction, or None if it counts both directions."""
    if counter < 0:
        return -counter, None
    return counter >> 1, Direction.TERMINATION if counter & 1 else Direction.ORIGINATION


def counters_of(cells: Cells) -> tuple[int, ...]:
    """Return the numbers of the clients' counters on which a leg with these cells counts, as in the book."""
    return tuple(number for cell in cells[1:] for number in (cell.number, -(cell.number >> 1)))


def clients_of(counters: tuple[int, ...]) -> list[int]:
    """Return the clients of these counters, the account's own client first."""
    return [-counter for counter in counters[1::2]]


Limit: TypeAlias = tuple[int, int, Reason]
"""Index of one of a leg's counters, its maximum, and the reason of the reject when the maximum is reached.

Index 0 is the account's own counter, and the clients' counters follow.
"""


def limits_of(client: Client, direction: Direction, above: int) -> tuple[Limit, ...]:
    """Return a client's limits for legs of a direction: first for the direction, then for both directions.

    ``above`` is the number of resellers from the account's own client up to this client, 0 for that client itself.
    """
    reason = Reason.RESELLER_CAPACITY if above else Reason.CLIENT_CAPACITY
    capacity = client.orig_capacity if direction is Direction.ORIGINATION else client.term_capacity
    limits = ((1 + 2 * above, capacity, reason), (2 + 2 * above, client.capacity, reason))
    return tuple((index, most, reason) for index, most, reason in limits if most is not None)


class Counter(msgspec.Struct, array_like=True, gc=False, eq=False):
    """A counter of held legs. The mirror stores it with its legs, but uses only its number."""

    number: int
    held: int = 0


Cells: TypeAlias = tuple[Counter, ...]
"""The counters of a leg: that of the account, then that of each client for the direction, the own client first."""


class BoundLimit(msgspec.Struct, gc=False, eq=False):
    """A limit together with the counters that it compares.

    It is no tuple, since the collector would traverse all tuples that hold a :class:`Reason`.
    """

    counter: Counter
    other: Counter | None
    """The counter of the other direction, if the limit is one on both directions together."""
    most: int
    reason: Reason


class ClientLevels(msgspec.Struct, frozen=True, gc=False):
    """A client and the resellers above it, as counted for an account's legs in one direction."""

    counters: tuple[int, ...]
    """Numbers of the counters, the account's own client first.

    Each client has two: one for the direction, and one for both directions.
    """
    limits: tuple[Limit, ...] = ()
    """The limits that are set, nearest the account first. A limit of the direction precedes the total."""
    cps: float | None = None
    """Limit of the account's own client in calls per second, for origination only (engine.md 5.9)."""


class Levels(msgspec.Struct, frozen=True, gc=False):
    """All levels of one leg, with the keys and limits of the book.

    The counts themselves belong to the backend. Only it sets the last three fields: they refer to the latest set
    that counted a leg here, so that a usual call needs no look-up. The other fields never change.
    """

    counter: int
    """Number of the account's counter (:func:`account_counter`)."""
    capacity: int | None
    cps: float | None
    """Limit of the account in calls per second, for origination only."""
    client: ClientLevels
    paced: bool = False
    """True if the account or its own client has a limit in calls per second."""
    owner: object = None
    """The counts that the counters belong to. Sets that share a book share no counters."""
    cells: Cells = ()
    """The counters of a new leg."""
    limits: tuple[BoundLimit, ...] = ()
    """The limits of the clients."""

    def __post_init__(self) -> None:
        force_setattr(self, "paced", self.cps is not None or self.client.cps is not None)

    @property
    def account_id(self) -> int:
        """Id of the account that the leg belongs to."""
        return account_of(self.counter)[0]

    @property
    def direction(self) -> Direction:
        """Direction of the leg."""
        return account_of(self.counter)[1]
