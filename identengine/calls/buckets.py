"""Token buckets that limit calls per second (engine.md 5.9)."""

from __future__ import annotations

from collections.abc import Iterator

from identengine.calls.levels import Levels

_ONE = 1 - 1e-9
"""One token, less the possible rounding loss of adding fractions."""


class Buckets:
    """Token buckets by key. A bucket starts full and refills at its rate.

    It holds ``max(1, rate * burst)`` tokens, where ``burst`` is in seconds.
    """

    def __init__(self, burst: float) -> None:
        self._burst = burst
        self._tokens: dict[int, tuple[float, float]] = {}
        """By key: the number of tokens, and the time at which the bucket held that number."""

    def empty(self, key: int, rate: float, now: float) -> bool:
        """Return True if the bucket has no token. A rate of 0 rejects every call (engine.md 1.6)."""
        return rate <= 0 or self._level(key, rate, now) < _ONE

    def take(self, key: int, rate: float, now: float) -> None:
        """Remove one token from the bucket."""
        self._tokens[key] = (self._level(key, rate, now) - 1.0, now)

    def use(self, key: int, rate: float, now: float) -> float:
        """Return the used part of the bucket, as a part of the rate: the rate itself for an empty bucket."""
        return rate * (1 - max(0.0, self._level(key, rate, now)) / max(1.0, rate * self._burst))

    def _level(self, key: int, rate: float, now: float) -> float:
        most = max(1.0, rate * self._burst)
        there = self._tokens.get(key)
        if there is None:
            return most
        tokens, at = there
        return min(most, tokens + (now - at) * rate)


class LevelBuckets:
    """The buckets of the levels that have a rate: the account and its own client."""

    def __init__(self, burst: float) -> None:
        """``burst`` is the time after which a bucket is full, in seconds."""
        self._accounts = Buckets(burst)
        self._clients = Buckets(burst)

    def empty(self, levels: Levels, now: float) -> bool:
        """Return True if a bucket of these levels has no token."""
        client = levels.client
        return (levels.cps is not None and self._accounts.empty(levels.counter, levels.cps, now)) or (
            client.cps is not None and self._clients.empty(client.counters[0], client.cps, now)
        )

    def take(self, levels: Levels, now: float) -> None:
        """Remove one token from each bucket of these levels."""
        client = levels.client
        if levels.cps is not None:
            self._accounts.take(levels.counter, levels.cps, now)
        if client.cps is not None:
            self._clients.take(client.counters[0], client.cps, now)

    def uses(self, levels: Levels, now: float) -> Iterator[tuple[str, int, float, float, bool]]:
        """Return an iterator over the buckets: the level, its id, its rate, the use, and True if it is empty."""
        client, account_id = levels.client, levels.account_id
        if levels.cps is not None:
            accounts, key, rate = self._accounts, levels.counter, levels.cps
            yield "account", account_id, rate, accounts.use(key, rate, now), accounts.empty(key, rate, now)
        if client.cps is not None:
            clients, key, rate = self._clients, client.counters[0], client.cps
            yield "client", key >> 1, rate, clients.use(key, rate, now), clients.empty(key, rate, now)
