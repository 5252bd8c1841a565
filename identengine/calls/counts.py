"""The number of held legs on each level (engine.md 5.2).

A counter exists for each account and direction, and for each client and direction. The total of a client is the
sum of its two directions. Each leg is counted when it takes and frees its slot, so that the counters always match
the set. A leg refers to its counters, and the levels of the book refer to those of their next leg.

Rule: a number has one counter at a time, so that two versions of the book count on the same one. A dropped counter
is marked first. A level that still refers to it looks its counters up again.
"""

from __future__ import annotations

from math import inf

from msgspec.structs import force_setattr

from identengine.calls.levels import BoundLimit, Cells, Counter, Levels
from identengine.model.reasons import Reason

IDLE_ACCOUNTS = 1_000_000
"""Number of accounts up to which idle counters are kept, since most of them are soon used again.

A dropped counter saves some 60 bytes. It costs a new tuple of counters at the next call of its account, which the
garbage collector then traverses.
"""
_GONE = -1
"""Value of a counter that was dropped."""


class Counts:
    """All counters of a set."""

    def __init__(self, most: int | None, max_held: int) -> None:
        """``most`` limits all legs together. None sets no limit.

        ``max_held`` is the number of legs that the set can hold.
        """
        self.held = 0
        """Number of all held legs."""
        self.idle: list[Counter] = []
        """Counters of accounts that held no leg for a moment since :meth:`drop_idle`."""
        self.global_capacity = most
        """Limit on all legs together, or None."""
        self._most = inf if most is None else most
        self._accounts: dict[int, Counter] = {}
        self._clients: dict[int, tuple[Counter, Counter]] = {}
        """The counters of each client by direction, origination first."""
        self._listed_accounts: list[Counter] = []
        """The counters that the latest listing began with."""
        self._listed_clients: list[tuple[Counter, Counter]] = []
        self.hold(max_held)

    def hold(self, max_held: int) -> None:
        """Set the number of legs that the set can hold."""
        self._max_held = max_held
        self._least = min(self._most, max_held)

    def clear(self) -> None:
        """Set all counters to 0. Legs are then counted again (:meth:`restore`, :meth:`add`)."""
        self.held = 0
        for account in self._accounts.values():
            account.held = 0
        for directions in self._clients.values():
            for client in directions:
                client.held = 0

    def room(self, levels: Levels) -> Cells | Reason:
        """Return the counters of one more leg, or the reason of the full level that is nearest the account."""
        cells = levels.cells
        if levels.owner is not self or cells[0].held < 0:
            cells = self.cells(levels)
        if levels.capacity is not None and cells[0].held >= levels.capacity:
            return Reason.ACCOUNT_CAPACITY
        for limit in levels.limits:
            other = limit.other
            if limit.counter.held + (0 if other is None else other.held) >= limit.most:
                return limit.reason
        if self.held >= self._least:
            return Reason.GLOBAL_CAPACITY if self.held >= self._most else Reason.OVERLOAD
        return cells

    def full(self, levels: Levels) -> Reason | None:
        """Return the reason of the full level that is nearest the account, or None if one more leg fits.

        The room of the set itself does not count, since the leg takes no further slot.
        """
        found = self.room(levels)
        return None if type(found) is tuple or found is Reason.OVERLOAD else found  # type: ignore[return-value]  # it is no tuple

    def add(self, cells: Cells) -> Cells:
        """Count a leg, even above a limit. Return its current counters."""
        if cells[0].held < 0:
            cells = self.restore(cells)  # they were dropped while the account held no leg
        self.held += 1
        for cell in cells:
            cell.held += 1
        return cells

    def remove(self, cells: Cells) -> None:
        """Stop counting a leg on its counters."""
        self.held -= 1
        for cell in cells:
            cell.held -= 1
        if not cells[0].held:
            self.idle.append(cells[0])

    def drop_idle(self) -> None:
        """Drop the counters of accounts that became idle since the last call, if there are too many counters."""
        if len(self._accounts) > IDLE_ACCOUNTS:
            for account in self.idle:
                if not account.held:
                    account.held = _GONE
                    self._accounts.pop(account.number, None)
        self.idle.clear()

    def over(self, cells: Cells, levels: Levels) -> bool:
        """Return True if a level of a leg with these counters holds more legs than its limit."""
        if levels.capacity is not None and cells[0].held > levels.capacity:
            return True
        if any(
            limit.counter.held + (0 if limit.other is None else limit.other.held) > limit.most
            for limit in self._limits(cells, levels)
        ):
            return True
        return self.held > self._most

    @property
    def max_held(self) -> int:
        """Number of legs that the set can hold."""
        return self._max_held

    @property
    def has_room(self) -> bool:
        """True if the set can hold one more leg."""
        return self.held < self._max_held

    def other_way(self, cell: Counter) -> Counter:
        """Return the counter of a client for the other direction."""
        return self._client(cell.number ^ 1)

    def cells(self, levels: Levels) -> Cells:
        """Return the counters for new legs of an account, and let the levels refer to them.

        Existing legs keep their counters.
        """
        cells = (self._account(levels.counter), *map(self._client, levels.client.counters[::2]))
        # The levels are frozen, since the book never changes.
        force_setattr(levels, "cells", cells)
        force_setattr(levels, "limits", self._limits(cells, levels))
        force_setattr(levels, "owner", self)  # last: after a fault, the other two are set again
        return cells

    def restore(self, cells: Cells) -> Cells:
        """Return the current counters for stored ones."""
        return (self._account(cells[0].number), *[self._client(cell.number) for cell in cells[1:]])

    def page(self, first: int, count: int, *, of_accounts: bool) -> list[tuple[int, int]]:
        """Return ``count`` counters of accounts or clients from ``first`` on, with the held legs of each.

        The numbers are those of :mod:`identengine.calls.levels`. A client has a third one for both directions. The
        page at 0 notes the counters that exist. Later pages are of these, so that no page has to skip others.
        """
        if of_accounts:
            if first == 0:
                self._listed_accounts = [*self._accounts.values()]
            return [(counter.number, counter.held) for counter in self._listed_accounts[first : first + count]]
        if first == 0:
            self._listed_clients = [*self._clients.values()]
        begin = first // 3
        counters = [
            counted
            for orig, term in self._listed_clients[begin : (first + count) // 3 + 1]
            for counted in (
                (orig.number, orig.held),
                (term.number, term.held),
                (-(orig.number >> 1), orig.held + term.held),
            )
        ]
        return counters[first - 3 * begin :][:count]

    def _limits(self, cells: Cells, levels: Levels) -> tuple[BoundLimit, ...]:
        """Return the limits of these levels with the counters that they compare."""
        bound = []
        for index, most, reason in levels.client.limits:
            counter = cells[(index + 1) // 2]
            bound.append(
                BoundLimit(counter, None if index % 2 else self._client(counter.number ^ 1), most, reason)
            )
        return tuple(bound)

    def _account(self, number: int) -> Counter:
        there = self._accounts.get(number)
        if there is None or there.held < 0:
            there = self._accounts[number] = Counter(number)
        return there

    def _client(self, number: int) -> Counter:
        client_id = number >> 1
        there = self._clients.get(client_id)
        if there is None:
            there = self._clients[client_id] = Counter(client_id << 1), Counter(client_id << 1 | 1)
        return there[number & 1]
