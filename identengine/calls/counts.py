"""How many legs are held on each level (engine.md 5.2): counted leg by leg, so that it is the set in numbers.

A leg holds its counters, so that counting it again costs an addition a level and no look-up. The levels of the
book hold plain keys: their counters are looked up here, by the account.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TypeAlias

import msgspec

from identengine.calls.levels import Levels
from identengine.model.reasons import Reason

IDLE_ACCOUNTS = 100_000
"""Accounts whose counters stay although no leg is held: most will have one again soon."""
_GONE = -1
"""What a counter holds that was given up."""


class Counter(msgspec.Struct, array_like=True, gc=False):
    """One counter of legs that are held. It goes with them to the mirror, where only its number matters."""

    number: int
    held: int = 0


Cells: TypeAlias = tuple[Counter, ...]
"""Where a leg counts: the account's counter, then those of the clients."""


class _Account(msgspec.Struct, frozen=True, gc=False):
    """Where the legs of an account count in one direction: those that came last."""

    counters: tuple[int, ...]
    """The numbers of the clients' counters. They are one object for each client of a book, so that comparing them
    by identity is enough as a rule."""
    cells: Cells


class Counts:
    """All counters."""

    def __init__(self, most: int | None, room: int) -> None:
        """``most``: the limit on all legs together; None where there is none. ``room``: legs that fit the set."""
        self.held = 0
        """All legs that are held."""
        self.room = room
        self._accounts: dict[int, _Account] = {}
        """By the account's counter."""
        self._clients: dict[int, Counter] = {}
        self._most = inf if most is None else most

    def take(self, levels: Levels) -> Cells | Reason:
        """Count one more leg, on all its levels or on none; returns the reason if there is no room for it.

        This is :meth:`full` and :meth:`add` in one, since every call pays for it.
        """
        client, capacity, held = levels.client, levels.capacity, self.held
        there = self._accounts.get(levels.account)
        cells = there.cells if there is not None and there.counters is client.counters else self.cells(levels)
        if capacity is not None and cells[0].held >= capacity:
            return Reason.ACCOUNT_CAPACITY
        for place, most, reason in client.limits:
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

    def add(self, cells: Cells) -> Cells:
        """Count a leg that is there, over a limit too; returns its counters, as they are now."""
        if cells[0].held < 0:
            cells = self.restore(cells)  # they went while none of the account's legs was held
        self.held += 1
        for cell in cells:
            cell.held += 1
        return cells

    def remove(self, cells: Cells) -> None:
        """Count a leg no more where it was counted."""
        self.held -= 1
        for cell in cells:
            cell.held -= 1
        if len(self._accounts) > IDLE_ACCOUNTS and not cells[0].held:
            self._accounts.pop(cells[0].number, None)
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
        return self._cells(levels.account, levels.client.counters)

    def restore(self, cells: Cells) -> Cells:
        """Return counters that were kept, as they are now."""
        return self._cells(cells[0].number, tuple(cell.number for cell in cells[1:]))

    def use(self, *, of_accounts: bool) -> Iterator[tuple[int, int]]:
        """Yield how many legs each counter holds, of accounts or of clients."""
        if of_accounts:
            return ((counter, account.cells[0].held) for counter, account in self._accounts.items())
        return ((counter, cell.held) for counter, cell in self._clients.items())

    def _cells(self, account: int, counters: tuple[int, ...]) -> Cells:
        there = self._accounts.get(account)
        if there is not None and there.counters == counters:
            cells = there.cells
        else:
            own = Counter(account) if there is None else there.cells[0]
            clients = self._clients
            cells = (own, *[clients.get(each) or clients.setdefault(each, Counter(each)) for each in counters])
        self._accounts[account] = _Account(counters, cells)
        return cells
