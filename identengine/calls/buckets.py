"""Calls a second, as token buckets (engine.md 5.9)."""

from __future__ import annotations

from identengine.calls.levels import Levels

_ONE = 1 - 1e-9
"""A token, less what adding fractions of seconds may lose."""


class Buckets:
    """Token buckets by key: filled at a rate up to ``max(1, rate)`` tokens, full at first."""

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[float, float]] = {}
        """Tokens, and when there were so many."""

    def empty(self, key: int, rate: float, now: float) -> bool:
        """Whether there is no token; a rate of 0 lets nothing pass, ever (engine.md 1.6)."""
        return rate <= 0 or self._level(key, rate, now) < _ONE

    def take(self, key: int, rate: float, now: float) -> None:
        """Take a token."""
        self._tokens[key] = (self._level(key, rate, now) - 1.0, now)

    def _level(self, key: int, rate: float, now: float) -> float:
        most = max(1.0, rate)
        there = self._tokens.get(key)
        if there is None:
            return most
        tokens, at = there
        return min(most, tokens + (now - at) * rate)


class LevelBuckets:
    """The buckets of the levels that have a rate: the account, and its own client."""

    def __init__(self) -> None:
        self._accounts = Buckets()
        self._clients = Buckets()

    def empty(self, levels: Levels, now: float) -> bool:
        """Whether one of them has no token."""
        client = levels.client
        return (levels.cps is not None and self._accounts.empty(levels.account, levels.cps, now)) or (
            client.cps is not None and self._clients.empty(client.counters[0], client.cps, now)
        )

    def take(self, levels: Levels, now: float) -> None:
        """Take a token from each."""
        client = levels.client
        if levels.cps is not None:
            self._accounts.take(levels.account, levels.cps, now)
        if client.cps is not None:
            self._clients.take(client.counters[0], client.cps, now)
