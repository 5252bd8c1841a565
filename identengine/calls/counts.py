"""How many legs are held on each level (engine.md 5.2): counted leg by leg, so that it is the set in numbers.

A leg has its counters, and so have the levels of the book, once a leg was counted there: to count costs an
addition a level, and no look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from identengine.calls.legs import Leg
from identengine.calls.levels import Cells, Counter, Levels
from identengine.model.reasons import Reason

IDLE_ACCOUNTS = 100_000
"""Accounts whose counters stay although no leg is held: most will have one again soon."""
_GONE = -1
"""What a counter holds that was given up."""


class Counts:
    """All counters."""

    def __init__(self, most: int | None, room: int) -> None:
        """``most``: the limit on all legs together; None where there is none. ``room``: legs that fit the set."""
        self.held = 0
        """All legs that are held."""
        self.room = room
        self.accounts: dict[int, Cells] = {}
        """By the account's counter: where its legs count, those that came last."""
        self.clients: dict[int, Counter] = {}
        self._most = inf if most is None else most

    def take(self, levels: Levels) -> Cells | Reason:
        """Count one more leg, on all its levels or on none; returns the reason if there is no room for it.

        This is :meth:`full` and :meth:`add` in one, since every call pays for it.
        """
        cells, capacity, held = levels.cells, levels.capacity, self.held
        if levels.counts is not self or cells[0].held < 0:
            cells = self.cells(levels)
        if capacity is not None and cells[0].held >= capacity:
            return Reason.ACCOUNT_CAPACITY
        for place, most, reason in levels.client.limits:
            if cells[place].held >= most:
                return reason
        if held >= self._most:
            return Reason.GLOBAL_CAPACITY
        if held >= self.room:
            return Reason.OVERLOAD
        self.held = held + 1
        for cell in cells:
            cell.held += 1
        return cells

    def add(self, leg: Leg) -> None:
        """Count a leg that is there, over a limit too."""
        if leg.cells[0].held < 0:
            leg.cells = self.restore(leg.cells)  # they went while none of the account's legs was held
        self.held += 1
        for cell in leg.cells:
            cell.held += 1

    def remove(self, leg: Leg) -> None:
        """Count a leg no more where it was counted."""
        self.held -= 1
        cells = leg.cells
        for cell in cells:
            cell.held -= 1
        if len(self.accounts) > IDLE_ACCOUNTS and not cells[0].held:
            self.accounts.pop(cells[0].number, None)
            cells[0].held = _GONE

    def full(self, levels: Levels) -> Reason | None:
        """Return the full level nearest the account, if there is one: then there is no room for one leg more."""
        cells = self.cells(levels)
        if levels.capacity is not None and cells[0].held >= levels.capacity:
            return Reason.ACCOUNT_CAPACITY
        for place, most, reason in levels.client.limits:
            if cells[place].held >= most:
                return reason
        return Reason.GLOBAL_CAPACITY if self.held >= self._most else None

    def over(self, cells: Cells, levels: Levels) -> bool:
        """Whether a level of a leg that counts there holds more than its limit."""
        if levels.capacity is not None and cells[0].held > levels.capacity:
            return True
        if any(cells[place].held > most for place, most, _ in levels.client.limits):
            return True
        return self.held > self._most

    def cells(self, levels: Levels) -> Cells:
        """Return where legs of an account count from now on; those that are there count where they did."""
        if levels.counts is not self or levels.cells[0].held < 0:
            levels.cells = self._cells(levels.account, levels.client.counters)
            levels.counts = self
        return levels.cells

    def restore(self, cells: Cells) -> Cells:
        """Return counters that were kept, as they are now."""
        return self._cells(cells[0].number, tuple(cell.number for cell in cells[1:]))

    def use(self, *, of_accounts: bool) -> Iterator[tuple[int, int]]:
        """Yield how many legs each counter holds, of accounts or of clients."""
        if of_accounts:
            return ((account, cells[0].held) for account, cells in self.accounts.items())
        return ((counter, cell.held) for counter, cell in self.clients.items())

    def _cells(self, account: int, counters: tuple[int, ...]) -> Cells:
        there = self.accounts.get(account)
        if there is not None and tuple(cell.number for cell in there[1:]) == counters:
            return there
        own = Counter(account) if there is None else there[0]
        clients = self.clients
        cells = (own, *[clients.get(each) or clients.setdefault(each, Counter(each)) for each in counters])
        self.accounts[account] = cells
        return cells
