"""The timer wheel of rows (engine.md 5.5)."""

from __future__ import annotations

from identengine.calls.leg import Row
from identengine.calls.wheel import TICKS, Wheel


def taken(wheel: Wheel, now: float) -> list[int]:
    found = []
    while (serial := wheel.take(now)) is not None:
        found.append(serial)
    return found


def entered(wheel: Wheel, serial: int, due: float) -> Row:
    row = Row(serial, 1, [], due=due)
    wheel.add(row)
    return row


def test_rows_are_taken_after_their_time_and_once() -> None:
    wheel = Wheel()
    for serial, due in ((7, 1.0), (3, 2.0), (5, 1.1)):
        entered(wheel, serial, due)
    assert taken(wheel, 1.0) == []
    assert sorted(taken(wheel, 1.0 + 1 / TICKS)) == [5, 7]
    assert taken(wheel, 2.0 + 1 / TICKS) == [3]
    assert taken(wheel, 100.0) == []


def test_a_row_that_is_gone_is_not_taken() -> None:
    wheel = Wheel()
    row, other = entered(wheel, 1, 1.0), entered(wheel, 2, 1.0)
    wheel.remove(row)
    wheel.remove(row)
    assert len(wheel) == 1
    assert taken(wheel, 2.0) == [other.serial]
    wheel.remove(other)
    assert len(wheel) == 0


def test_a_row_can_be_entered_again() -> None:
    wheel = Wheel()
    row = entered(wheel, 1, 1.0)
    assert taken(wheel, 2.0) == [1]
    row.due = 5.0
    wheel.add(row)
    assert taken(wheel, 5.0) == []
    assert taken(wheel, 6.0) == [1]


def test_the_earliest_row_can_be_taken_before_its_time() -> None:
    wheel = Wheel()
    assert wheel.take_earliest() is None
    entered(wheel, 1, 3600.0)
    entered(wheel, 2, 60.0)
    assert wheel.take_earliest() == 2
    assert wheel.take_earliest() == 1
    assert wheel.take_earliest() is None


def test_times_before_the_boot_of_the_machine() -> None:
    wheel = Wheel()
    entered(wheel, 1, -5000.0)
    entered(wheel, 2, 5000.0)
    assert taken(wheel, 0.0) == [1]
