"""Token buckets (engine.md 5.9)."""

from __future__ import annotations

import pytest

from identengine.calls.buckets import Buckets


def passed(buckets: Buckets, rate: float, now: float, most: int = 100) -> int:
    """Return the number of calls that pass at a time."""
    count = 0
    while count < most and not buckets.empty(1, rate, now):
        buckets.take(1, rate, now)
        count += 1
    return count


@pytest.mark.parametrize(
    ("burst", "rate", "at_once"),
    [(1.0, 10, 10), (0.2, 10, 2), (0.05, 10, 1), (0.0, 10, 1), (3.0, 10, 30), (1.0, 0.5, 1), (4.0, 0.5, 2)],
)
def test_a_burst_is_the_calls_of_so_many_seconds_and_at_least_one(burst: float, rate: float, at_once: int) -> None:
    buckets = Buckets(burst)
    assert passed(buckets, rate, 0.0) == at_once
    assert passed(buckets, rate, 1e6) == at_once
    assert passed(buckets, rate, 1e6 + 1 / rate) == 1


@pytest.mark.parametrize("burst", [0.0, 1.0, 5.0])
def test_a_rate_of_zero_lets_no_call_pass(burst: float) -> None:
    assert passed(Buckets(burst), 0.0, 1e6) == 0


@pytest.mark.parametrize(("burst", "most"), [(1.0, 20), (0.1, 11), (0.0, 11)])
def test_calls_in_the_first_second_after_a_pause(burst: float, most: int) -> None:
    buckets = Buckets(burst)
    assert sum(passed(buckets, 10, 500 + step / 1000) for step in range(1001)) == most
