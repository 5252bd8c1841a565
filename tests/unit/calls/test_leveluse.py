"""The use of levels, as the record of decisions has it."""

from __future__ import annotations

import pytest

from identengine.calls.buckets import LevelBuckets
from identengine.calls.counts import Counts
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters, limits_of
from identengine.calls.leveluse import level_uses
from identengine.model.records import Client, Direction

CLIENT = Client(id=3, name="c", capacity=4, orig_capacity=2, orig_cps=10)
RESELLER = Client(id=4, name="r", term_capacity=1)


def levels(direction: Direction, capacity: int | None = None, cps: float | None = None) -> Levels:
    counters = (*client_counters(3, direction), *client_counters(4, direction))
    limits = (*limits_of(CLIENT, direction, 0), *limits_of(RESELLER, direction, 1))
    paced = CLIENT.orig_cps if direction is Direction.ORIGINATION else None
    return Levels(account_counter(17, direction), capacity, cps, ClientLevels(counters, limits, paced))


def test_each_level_has_its_use_in_both_directions() -> None:
    counts, buckets = Counts(None, 1000), LevelBuckets(1.0)
    inward, outward = levels(Direction.ORIGINATION, 1, 2.0), levels(Direction.TERMINATION)
    counts.add(counts.cells(inward))
    counts.add(counts.cells(outward))
    for _ in range(2):
        buckets.take(inward, 0.0)
    assert level_uses(inward, counts, buckets, 0.0) == [
        ("account", 17, "orig_cps", 2.0, 2.0, True),
        ("client", 3, "orig_cps", 2.0, 10, False),
        ("account", 17, "orig_capacity", 1, 1, True),
        ("client", 3, "orig_capacity", 1, 2, False),
        ("client", 3, "capacity", 2, 4, False),
        ("reseller", 4, "capacity", 2, None, False),
        ("global", None, "global_capacity", 2, None, False),
    ]
    assert level_uses(outward, counts, buckets, 0.0) == [
        ("account", 17, "term_capacity", 1, None, False),
        ("client", 3, "capacity", 2, 4, False),
        ("reseller", 4, "term_capacity", 1, 1, True),
        ("global", None, "global_capacity", 2, None, False),
    ]


@pytest.mark.parametrize("burst", [0.0, 1.0, 3.0])
def test_an_empty_bucket_is_used_up_to_its_rate(burst: float) -> None:
    buckets, counts, paced = LevelBuckets(burst), Counts(None, 10), levels(Direction.ORIGINATION, cps=4.0)
    while not buckets.empty(paced, 0.0):
        buckets.take(paced, 0.0)
    uses = level_uses(paced, counts, buckets, 0.0)
    assert [use for use in uses[:2] if use[5]] == [use for use in uses[:2] if use[3] == use[4]]
    assert any(use[5] for use in uses[:2])


def test_full_totals() -> None:
    counts, one = Counts(1, 1), levels(Direction.ORIGINATION)
    counts.add(counts.cells(one))
    assert level_uses(one, counts, LevelBuckets(1.0), 0.0)[-2:] == [
        ("global", None, "global_capacity", 1, 1, True),
        ("server", None, "max_legs", 1, 1, True),
    ]
