"""How many legs are held on each level (engine.md 5.2): counted leg by leg, so that it is the set in numbers."""

from __future__ import annotations

from math import inf

from identengine.calls.legs import Leg
from identengine.calls.levels import Levels
from identengine.reasons import Reason

ZEROS = 100_000
"""Counters that stay when they are zero: to take one out and put it in again is dear."""


class Counts:
    """Counters by number (:mod:`identengine.calls.levels`); one that is not there is zero."""

    def __init__(self, most: int | None, room: int) -> None:
        """``most``: the limit on all legs together; None where there is none. ``room``: legs that fit the set."""
        self.held = 0
        """All legs that are held."""
        self.room = room
        self.accounts: dict[int, int] = {}
        self.clients: dict[int, int] = {}
        self._most = inf if most is None else most

    def take(self, levels: Levels) -> Reason | None:
        """Count one more leg, on all its levels or on none; returns the reason if there is no room for it.

        This is :meth:`full` and :meth:`add` in one, since every call pays for it.
        """
        accounts, clients, held = self.accounts, self.clients, self.held
        account, capacity, client = levels.account, levels.capacity, levels.client
        own = accounts.get(account, 0)
        if capacity is not None and own >= capacity:
            return Reason.ACCOUNT_CAPACITY
        for counter, most, reason in client.limits:
            if clients.get(counter, 0) >= most:
                return reason
        if held >= self._most:
            return Reason.GLOBAL_CAPACITY
        if held >= self.room:
            return Reason.OVERLOAD
        self.held = held + 1
        accounts[account] = own + 1
        for counter in client.counters:
            clients[counter] = clients.get(counter, 0) + 1
        return None

    def add(self, leg: Leg) -> None:
        """Count a leg that is there, over a limit too."""
        self.held += 1
        counts = self.accounts
        counts[leg.account] = counts.get(leg.account, 0) + 1
        counts = self.clients
        for counter in leg.counters:
            counts[counter] = counts.get(counter, 0) + 1

    def remove(self, leg: Leg) -> None:
        """Count a leg no more where it was counted."""
        self.held -= 1
        counts = self.accounts
        left = counts[leg.account] - 1
        if left or len(counts) < ZEROS:
            counts[leg.account] = left
        else:
            del counts[leg.account]
        counts = self.clients
        for counter in leg.counters:
            left = counts[counter] - 1
            if left or len(counts) < ZEROS:
                counts[counter] = left
            else:
                del counts[counter]

    def full(self, levels: Levels) -> Reason | None:
        """Return the full level nearest the account, if there is one: then there is no room for one leg more."""
        if levels.capacity is not None and self.accounts.get(levels.account, 0) >= levels.capacity:
            return Reason.ACCOUNT_CAPACITY
        for counter, most, reason in levels.client.limits:
            if self.clients.get(counter, 0) >= most:
                return reason
        return Reason.GLOBAL_CAPACITY if self.held >= self._most else None

    def over(self, levels: Levels) -> bool:
        """Whether a level holds more than its limit."""
        if levels.capacity is not None and self.accounts.get(levels.account, 0) > levels.capacity:
            return True
        if any(self.clients.get(counter, 0) > most for counter, most, _ in levels.client.limits):
            return True
        return self.held > self._most
