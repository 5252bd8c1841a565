"""The timer wheel returns slots in order, and holds at most one entry per slot (engine.md 5.5)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from identengine.calls.wheel import TICKS, Wheel, tick_after

WEEKS = 3 * 7 * 24 * 3600
DUE = st.one_of(st.integers(0, 5), st.integers(-(10**9), 10**9))
SLOT = st.integers(-4, 3)


STEP = st.tuples(st.sampled_from(["add", "take"]), SLOT, DUE)


@given(st.lists(STEP, max_size=30))
def test_due_slots_come_out_once_and_the_earliest_first(steps: list[tuple[str, int, int]]) -> None:
    wheel, noted = Wheel(), dict[int, int]()
    for step, slot, second in steps:
        if step == "add":
            wheel.add(slot, second)
            noted[slot] = min(noted.get(slot, tick_after(second)), tick_after(second))
            continue
        due = sorted(at for at in noted.values() if at <= second * TICKS)
        taken = wheel.take(second, 3)
        assert [noted.pop(one) for one in taken] == due[:3]
    for _ in range(100):
        at, taken = wheel.take_earliest(2)
        for one in taken:
            tick = noted.pop(one)
            assert tick == at * TICKS
            assert all(tick <= other for other in noted.values())
    assert not noted


def test_there_are_no_more_entries_than_slots() -> None:
    wheel = Wheel()
    for second in range(10_000):
        wheel.add(second % 10, second + 100)  # short calls, one after another
        wheel.add(~(second % 10), second + 200)
    assert sum(map(len, wheel._ticks.values())) == 20


def test_a_distant_tick_is_found_at_once() -> None:
    # A wheel that counts up to a far tick would exceed the time limit of the tests.
    wheel = Wheel()
    wheel.add(1, -(10**10))  # from another boot, with a wrong wall clock
    wheel.add(2, 10**10)
    assert wheel.take(0, 1) == [1]
    assert wheel.take(WEEKS, 1) == []
    assert wheel.take_earliest(1) == (10**10 + 1 / TICKS, [2])
