"""The number of held legs on each level (engine.md 5.2).

Each leg is counted when it takes and frees its slot, so that the counters always match the set. A leg refers to
its counters, so that counting it again costs one addition per level and no lookup. The levels of the book hold
plain keys. Their counters are looked up here by account.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TypeAlias

import msgspec

from identengine.calls.levels import Levels
from identengine.model.reasons import Reason

IDLE_ACCOUNTS = 100_000
"""Number of accounts up to which idle counters are kept, since most of them are soon used again."""
_GONE = -1
"""Value of a counter that was dropped."""


class Counter(msgspec.Struct, array_like=True, gc=False):
    """A counter of held legs. The mirror stores it with its legs, but uses only its number."""

    number: int
    held: int = 0


Cells: TypeAlias = tuple[Counter, ...]
"""The counters of a leg: first that of the account, then those of the clients."""


class _Account(msgspec.Struct, frozen=True, gc=False):
    """The counters on which the latest leg of an account counts, for one direction."""

    counters: tuple[int, ...]
    """The numbers of the clients' counters.

    All accounts of a client share this tuple in a book, so that a comparison by identity usually suffices.
    """
    cells: Cells


class Counts:
    """All counters of a set."""

    def __init__(self, most: int | None, max_held: int) -> None:
        """``most`` limits all legs together. None sets no limit.

        ``max_held`` is the number of legs that the set can hold.
        """
        self.held = 0
        """Number of all held legs."""
        self.max_held = max_held
        self._accounts: dict[int, _Account] = {}
        """The latest counters of each account, by the number of the account's counter."""
        self._clients: dict[int, Counter] = {}
        self._most = inf if most is None else most

    def clear(self) -> None:
        """Forget all counters. Legs then need new ones (:meth:`restore`)."""
        self.held = 0
        self._accounts.clear()
        self._clients.clear()

    def take(self, levels: Levels) -> Cells | Reason:
        """Count one more leg on all its levels and return its counters. Return the reason if a level is full.

        A leg is counted on all levels or on none. This method combines :meth:`full` and :meth:`add`, since every
        call pays for it.
        """
        client, capacity, held = levels.client, levels.capacity, self.held
        there = self._accounts.get(levels.account)
        cells = there.cells if there is not None and there.counters is client.counters else self.cells(levels)
        if capacity is not None and cells[0].held >= capacity:
            return Reason.ACCOUNT_CAPACITY
        for index, most, reason in client.limits:
            if cells[index].held >= most:
                return reason
        if held >= self._most:
            return Reason.GLOBAL_CAPACITY
        if held >= self.max_held:
            return Reason.OVERLOAD
        self.held = held + 1
        for cell in cells:
            cell.held += 1
        return cells

    def add(self, cells: Cells) -> Cells:
        """Count an existing leg, even above a limit. Return its current counters."""
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
        if len(self._accounts) > IDLE_ACCOUNTS and not cells[0].held:
            self._accounts.pop(cells[0].number, None)
            cells[0].held = _GONE

    def full(self, levels: Levels) -> Reason | None:
        """Return the reason of the full level nearest the account, or None if one more leg fits."""
        cells = self.cells(levels)
        if levels.capacity is not None and cells[0].held >= levels.capacity:
            return Reason.ACCOUNT_CAPACITY
        for index, most, reason in levels.client.limits:
            if cells[index].held >= most:
                return reason
        return Reason.GLOBAL_CAPACITY if self.held >= self._most else None

    def over(self, cells: Cells, levels: Levels) -> bool:
        """Return True if a level of a leg with these counters holds more legs than its limit."""
        if levels.capacity is not None and cells[0].held > levels.capacity:
            return True
        if any(cells[index].held > most for index, most, _ in levels.client.limits):
            return True
        return self.held > self._most

    def cells(self, levels: Levels) -> Cells:
        """Return the counters for new legs of an account. Existing legs keep their counters."""
        return self._cells(levels.account, levels.client.counters)

    def restore(self, cells: Cells) -> Cells:
        """Return the current counters for stored ones."""
        return self._cells(cells[0].number, tuple(cell.number for cell in cells[1:]))

    def use(self, *, of_accounts: bool) -> Iterator[tuple[int, int]]:
        """Return an iterator over the counters of accounts or clients, with the number of held legs of each."""
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
