"""How many legs are held on each level (engine.md 5.2): counted leg by leg, so that it is the set in numbers.

A leg knows its standing, and that its counters: to count costs an addition a level, and no look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from identengine.calls.legs import Counter, Leg, Standing
from identengine.calls.levels import Levels
from identengine.reasons import Reason

IDLE_STANDINGS = 100_000
"""Standings that stay although no leg has them: most will have one again soon."""


class Counts:
    """All counters."""

    def __init__(self, most: int | None, room: int) -> None:
        """``most``: the limit on all legs together; None where there is none. ``room``: legs that fit the set."""
        self.held = 0
        """All legs that are held."""
        self.room = room
        self.standings: dict[int, Standing] = {}
        """By the account's counter."""
        self.clients: dict[int, Counter] = {}
        self._most = inf if most is None else most

    def take(self, levels: Levels) -> Standing | Reason:
        """Count one more leg, on all its levels or on none; returns the reason if there is no room for it.

        This is :meth:`full` and :meth:`add` in one, since every call pays for it.
        """
        client, capacity, held = levels.client, levels.capacity, self.held
        standing = self.standings.get(levels.account)
        if standing is None or standing.counters is not client.counters:
            standing = self.standing(levels)
        cells = standing.cells
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
        return standing

    def add(self, leg: Leg) -> None:
        """Count a leg that is there, over a limit too."""
        there = self.standings.get(leg.standing.account)
        if there is None or there.cells[0] is not leg.standing.cells[0]:
            leg.standing = self.restore(leg.standing)  # it went while none of the account's legs was held
        self.held += 1
        for cell in leg.standing.cells:
            cell.held += 1

    def remove(self, leg: Leg) -> None:
        """Count a leg no more where it was counted."""
        self.held -= 1
        standing = leg.standing
        for cell in standing.cells:
            cell.held -= 1
        if len(self.standings) > IDLE_STANDINGS and not standing.cells[0].held:
            self.standings.pop(standing.account, None)

    def full(self, levels: Levels) -> Reason | None:
        """Return the full level nearest the account, if there is one: then there is no room for one leg more."""
        cells = self.standing(levels).cells
        if levels.capacity is not None and cells[0].held >= levels.capacity:
            return Reason.ACCOUNT_CAPACITY
        for place, most, reason in levels.client.limits:
            if cells[place].held >= most:
                return reason
        return Reason.GLOBAL_CAPACITY if self.held >= self._most else None

    def over(self, standing: Standing, levels: Levels) -> bool:
        """Whether a level of a leg that stands there holds more than its limit."""
        cells = standing.cells
        if levels.capacity is not None and cells[0].held > levels.capacity:
            return True
        if any(cells[place].held > most for place, most, _ in levels.client.limits):
            return True
        return self.held > self._most

    def standing(self, levels: Levels) -> Standing:
        """Return where legs of an account count from now on; those that are there count where they did."""
        there = self.standings.get(levels.account)
        if there is not None and there.counters == levels.client.counters:
            there.counters = levels.client.counters  # of a new version of the book; then they are the same object
            return there
        return self._stand(Standing(levels.account, levels.client.counters))

    def restore(self, standing: Standing) -> Standing:
        """Return a standing that was kept, with its counters."""
        there = self.standings.get(standing.account)
        if there is not None and there.counters == standing.counters:
            return there
        return self._stand(standing)

    def use(self, *, of_accounts: bool) -> Iterator[tuple[int, int]]:
        """Yield how many legs each counter holds, of accounts or of clients."""
        if of_accounts:
            return ((account, standing.cells[0].held) for account, standing in self.standings.items())
        return ((counter, cell.held) for counter, cell in self.clients.items())

    def _stand(self, standing: Standing) -> Standing:
        there = self.standings.get(standing.account)
        own = Counter() if there is None else there.cells[0]
        clients = self.clients
        standing.count_in(
            (own, *[clients.get(each) or clients.setdefault(each, Counter()) for each in standing.counters])
        )
        self.standings[standing.account] = standing
        return standing
