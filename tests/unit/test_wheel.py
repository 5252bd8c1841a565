"""Slots by the second in which they are due (engine.md 5.5): in order, whatever lies between the seconds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from identengine.calls.wheel import Wheel

WEEKS = 3 * 7 * 24 * 3600
DUE = st.one_of(st.integers(0, 5), st.integers(-(10**10), 10**10))


@given(st.lists(st.one_of(st.tuples(st.just("add"), DUE), st.tuples(st.just("take"), DUE)), max_size=30))
def test_what_is_due_comes_out_once_and_the_earliest_first(steps: list[tuple[str, int]]) -> None:
    wheel, noted = Wheel(), dict[int, int]()
    for slot, (step, second) in enumerate(steps):
        if step == "add":
            wheel.add(slot, second)
            noted[slot] = second + 1
            continue
        due = sorted(at for at in noted.values() if at <= second)
        taken = wheel.take(second, 3)
        assert [noted[one] for one in taken] == due[:3]
        for one in taken:
            del noted[one]
    rest: Counter[int] = Counter()
    while (found := wheel.take_earliest(2))[1]:
        second, taken = found
        assert second == min(noted.values())
        assert {noted.pop(one) for one in taken} == {second}
        rest.update(taken)
    assert not noted
    assert set(rest.values()) <= {1}


def test_a_far_second_is_not_searched_for() -> None:
    # It hangs for minutes otherwise, which the time limit of tests tells.
    wheel = Wheel()
    wheel.add(1, -(10**10))  # of another boot, by a wall clock that was wrong then
    wheel.add(2, 10**10)
    assert wheel.take(0, 1) == [1]
    assert wheel.take(WEEKS, 1) == []
    assert wheel.take_earliest(1) == (10**10 + 1, [2])
