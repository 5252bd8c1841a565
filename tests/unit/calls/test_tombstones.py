"""Recent stops block exactly the stopped legs, and take bounded space (engine.md 5.4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from identengine.calls.backend import LegSelector
from identengine.calls.tombstones import (
    GENERATION,
    GENERATION_SECONDS,
    PARTS,
    STOPPED_SECONDS,
    Tombstones,
    unpacked,
)
from identengine.model.records import Direction

CALLS = st.sampled_from(["a", "b"])
WAYS = st.sampled_from([None, *Direction])
LEGS = st.sampled_from([None, "1", "2"])
NAMED = st.builds(LegSelector, CALLS, WAYS, LEGS)


def meet(one: LegSelector, other: LegSelector) -> bool:
    """Return True if a leg can match both selectors."""
    return (
        one.call == other.call
        and (one.direction is None or other.direction is None or one.direction is other.direction)
        and (one.leg_id is None or other.leg_id is None or one.leg_id == other.leg_id)
    )


@given(st.lists(st.tuples(NAMED, st.integers(0, 40)), max_size=12), NAMED, st.booleans())
def test_exactly_the_stops_of_the_last_minute_block(
    stopped: list[tuple[LegSelector, int]], asked: LegSelector, again: bool
) -> None:
    stops, now = Tombstones(1 << 20), 0
    rows: dict[int, bytes] = {}
    for named, later in stopped:
        now += later
        stops.add(named, now)
        rows |= stops.row()
        for serial in stops.forget(now, 100):
            del rows[serial]
    if again:  # after a restart
        stops = Tombstones(1 << 20)
        for serial, row in rows.items():
            stops.restore(serial, unpacked(row))
    since, late = now, False
    for named, later in reversed(stopped):
        late |= now - since < STOPPED_SECONDS and meet(named, asked)
        since -= later
    assert stops.forbid(asked, now) is late
    while stops.due(now + STOPPED_SECONDS):
        stops.forget(now + STOPPED_SECONDS, 100)
    assert not len(stops)


def test_space_is_bounded_and_the_oldest_are_forgotten_first() -> None:
    stops = Tombstones(10_000)
    for number in range(1000):
        stops.add(LegSelector(f"call {number}", None, None), 1.0)
        stops.row()
        stops.forget(1.0, 10)
    assert 50 < len(stops) < 200
    assert stops.forbid(LegSelector("call 999", None, None), 1.0)
    assert not stops.forbid(LegSelector("call 0", None, None), 1.0)


def test_with_too_many_parts_the_whole_call_is_stopped() -> None:
    stops = Tombstones(1 << 30)
    for number in range(100_000):  # takes minutes if each part is dropped by a search through all of them
        stops.add(LegSelector("a", None, str(number)), 1.0)
        if number == PARTS - 1:
            assert not stops.forbid(LegSelector("a", None, "other"), 2.0)
    stops.row()
    assert stops.forbid(LegSelector("a", None, "other"), 2.0)
    stops.forget(1.0 + STOPPED_SECONDS, 100)
    assert not stops.forbid(LegSelector("a", None, "other"), 2.0)


def test_the_stops_forgotten_at_once_are_bounded() -> None:
    stops = Tombstones(1 << 30)
    for row in range(1000):
        for number in range(10):
            stops.add(LegSelector(f"call {row} {number}", None, None), 1.0)
        stops.row()
    left, gone = len(stops), []
    assert left == 10_000
    while stops.due(1.0 + STOPPED_SECONDS):
        serials = stops.forget(1.0 + STOPPED_SECONDS, 100)
        assert 0 < len(serials) <= 100
        gone += serials
        assert left - len(stops) <= GENERATION + 10
        left = len(stops)
    assert left == 0
    assert gone == [*range(1, 1001)]


def test_slow_stops_are_forgotten_soon_after_they_expire() -> None:
    stops = Tombstones(1 << 30)
    for second in range(1000):
        stops.add(LegSelector(f"call {second}", None, None), float(second))
        stops.row()
        assert len(stops.forget(float(second), 100)) <= GENERATION_SECONDS + 1
        assert len(stops) <= STOPPED_SECONDS + GENERATION_SECONDS + 1
        assert stops.forbid(LegSelector(f"call {second - 59}", None, None), float(second)) is (second >= 59)
        assert not stops.forbid(LegSelector(f"call {second - 60}", None, None), float(second))
