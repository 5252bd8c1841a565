"""Where a leg of a call counts, and the limits that hold there (engine.md 5.2).

Each level is a counter with a number: an account's per direction, a client's per direction and in total. The
mirror can keep numbers of 64 bits only, and each id up to 2**63 - 1 has to have its own.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from identengine.model.reasons import Reason
from identengine.model.records import Client, Direction

_PLACE = {Direction.ORIGINATION: 0, Direction.TERMINATION: 1}


def account_counter(account_id: int, direction: Direction) -> int:
    """Return the number of an account's counter for a direction; halved it is the account's id."""
    return account_id << 1 | _PLACE[direction]


def account_of(counter: int) -> tuple[int, Direction]:
    """Return the account that a counter is of, and the direction."""
    return counter >> 1, Direction.TERMINATION if counter & 1 else Direction.ORIGINATION


def client_counters(client_id: int, direction: Direction) -> tuple[int, int]:
    """Return the numbers of a client's counters that such a leg is in: of the direction, and of both."""
    return client_id << 1 | _PLACE[direction], -client_id


def client_of(counter: int) -> tuple[int, Direction | None]:
    """Return the client that a counter is of, and the direction; None: it is that of both."""
    if counter < 0:
        return -counter, None
    return counter >> 1, Direction.TERMINATION if counter & 1 else Direction.ORIGINATION


def clients_of(counters: tuple[int, ...]) -> list[int]:
    """Return the clients whose counters these are, the account's own first."""
    return [-counter for counter in counters[1::2]]


Limit: TypeAlias = tuple[int, int, Reason]
"""Which of a leg's counters (0 is the account's own, the clients' follow), what it may reach, and the reason of
the reject when it has."""


def limits_of(client: Client, direction: Direction, above: int) -> tuple[Limit, ...]:
    """Return the limits of one client for legs of a direction: of the direction, and of both together.

    ``above``: how far above the account's own client it stands; 0 is that client itself.
    """
    reason = Reason.RESELLER_CAPACITY if above else Reason.CLIENT_CAPACITY
    capacity = client.orig_capacity if direction is Direction.ORIGINATION else client.term_capacity
    limits = ((1 + 2 * above, capacity, reason), (2 + 2 * above, client.capacity, reason))
    return tuple((place, most, reason) for place, most, reason in limits if most is not None)


class ClientLevels(msgspec.Struct, frozen=True, gc=False):
    """A client and the resellers above it, as an account's legs in one direction count on them."""

    counters: tuple[int, ...]
    """Of the account's own client, then of those above: of the direction, and of both together, each."""
    limits: tuple[Limit, ...] = ()
    """Of those that have any: nearest the account first, the direction before the total."""
    cps: float | None = None
    """Calls a second of the account's own client; origination only (engine.md 5.9)."""


class Levels(msgspec.Struct, frozen=True, gc=False):
    """All levels of one leg: keys and limits, as the book has them.

    What a backend counts there is its own: nothing of it is kept here.
    """

    account: int
    """The account's counter (:func:`account_counter`)."""
    capacity: int | None
    cps: float | None
    """Calls a second of the account; origination only."""
    client: ClientLevels

    @property
    def account_id(self) -> int:
        """Whose leg it is."""
        return account_of(self.account)[0]

    @property
    def direction(self) -> Direction:
        """Which way its call goes."""
        return account_of(self.account)[1]
