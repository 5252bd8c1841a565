"""Rows of legs: when the mirror writes them, and how they are merged, walked and restored (engine.md 5.8)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from identengine.calls import journal as journals
from identengine.calls.backend import (
    Admit,
    CallsMessage,
    EncodedDecision,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
)
from identengine.calls.journal import Journal
from identengine.calls.leg import Leg
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.calls.order import CHUNK, Order
from identengine.calls.overview import (
    LegFilter,
)
from identengine.calls.rows import ROW_LEGS, SMALL, SMALL_ROWS
from identengine.model.records import Direction

ORIG = Direction.ORIGINATION
LEVELS = Levels(account_counter(1, ORIG), None, None, ClientLevels(client_counters(1, ORIG)))
ANSWER, CONTENT = EncodedDecision(b"a" * 400), b"c" * 90
"""An answer and a fingerprint of usual length."""


class Watched:
    """A mirror that records the serial numbers of the rows that it writes whole, marks or deletes."""

    room_left = RoomLeft.AMPLE
    generation = 0

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.marked: list[int] = []
        self.deleted: list[int] = []

    def write(self, changes: Changes) -> None:
        for serial, row in changes.rows.items():
            if not row.left:
                self.deleted.append(serial)
            else:
                (self.marked if row.stored == self.generation else self.whole).append(serial)

    def complete(self) -> None:
        pass


def key(number: int) -> str:
    return call_key("switch", f"{number:010}-8ec2f@198.51.100.7;as7d6f3c1b")


def admit(number: int, content: bytes = CONTENT) -> Admit:
    return Admit(key(number), "o", "switch", content, ANSWER, LEVELS)


def stop(number: int) -> Stop:
    return Stop(LegSelector(key(number), None, None))


def start(number: int) -> Refresh:
    return Refresh("start", LegSelector(key(number), None, None), "switch", None, None, lambda *_: LEVELS)


def walked(calls: Calls, count: int, between: Callable[[], object] = lambda: None) -> list[str]:
    """Return the calls of all pages of about ``count`` legs. Call ``between`` after each page."""
    found: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = calls.page(cursor, count, LegFilter())
        found += [leg.call for leg in page]
        between()
    return found


def settle(calls: Calls, now: float) -> None:
    while calls.work(now):
        pass


def test_a_call_that_stops_in_its_batch_never_reaches_the_mirror() -> None:
    mirror = Watched()
    calls = Calls(Settings(), mirror)
    for _ in range(3):
        calls.apply([admit(1), admit(2), stop(1), stop(2)], 1.0)
    assert (mirror.whole, mirror.marked, mirror.deleted) == ([], [], [])
    assert len(calls._rows.all) <= 1


def test_a_batch_is_one_value_which_goes_with_its_last_leg() -> None:
    mirror = Watched()
    calls = Calls(Settings(), mirror)
    calls.apply([admit(number) for number in range(10)], 1.0)
    (serial,) = mirror.whole
    calls.apply([stop(number) for number in range(4)], 2.0)
    assert mirror.marked == [serial]
    calls.apply([stop(number) for number in range(4, 10)], 3.0)
    assert (mirror.whole, mirror.deleted) == ([serial], [serial])
    assert not calls._rows.all


def test_a_large_batch_fills_several_rows() -> None:
    mirror = Watched()
    calls = Calls(Settings(), mirror)
    calls.apply([admit(number) for number in range(2 * ROW_LEGS + 1)], 1.0)
    assert len(mirror.whole) == 3
    assert calls.gauges().reserved == calls.gauges().held == 2 * ROW_LEGS + 1


def test_a_row_of_which_more_than_half_is_dead_is_emptied() -> None:
    mirror = Watched()
    calls = Calls(Settings(), mirror)
    for first in (0, 10):
        calls.apply([admit(number) for number in range(first, first + 10)], 1.0)
    calls.apply([stop(number) for number in range(5)], 2.0)
    settle(calls, 2.0)
    assert mirror.deleted == []
    calls.apply([stop(5), *(stop(number) for number in range(10, 17))], 3.0)
    settle(calls, 3.0)
    assert len(mirror.deleted) == 2
    assert [len(row.legs) for row in calls._rows.all.values() if row.left] == [7]
    assert sorted(walked(calls, 1)) == [key(number) for number in (*range(6, 10), *range(17, 20))]


def test_rows_are_emptied_in_steps() -> None:
    calls = Calls(Settings(), Watched())
    for first in range(0, 4000, ROW_LEGS):
        calls.apply([admit(number) for number in range(first, first + ROW_LEGS)], 1.0)
    for first in range(0, 4000, ROW_LEGS):
        calls.apply([stop(number) for number in range(first, first + ROW_LEGS * 5 // 8)], 2.0)
    before = len(calls._rows.all)
    assert calls.work(3.0)
    assert before - len(calls._rows.all) < 20
    settle(calls, 3.0)
    assert not calls._rows.sparse


def test_many_small_rows_are_merged() -> None:
    calls = Calls(Settings(), Watched())
    for number in range(3 * SMALL_ROWS):
        calls.apply([admit(number)], 1.0)
        if number % 7:
            calls.apply([start(number)], 1.0)
    for _ in range(100):
        settle(calls, 2.0)
    held = calls.gauges().held
    assert held == 3 * SMALL_ROWS
    assert len(calls._rows.all) <= SMALL_ROWS + held // SMALL
    assert sorted(walked(calls, 100)) == [key(number) for number in range(held)]


def test_a_walk_misses_no_leg_that_changes_meanwhile() -> None:
    calls = Calls(Settings(), Watched())
    random_ = random.Random(3)
    for first in range(0, 2000, 20):
        calls.apply([admit(number) for number in range(first, first + 20)], 1.0)

    def change() -> None:
        some = random_.sample(range(2000), 30)
        calls.apply([start(number) for number in some], 2.0)
        calls.work(2.0)

    found = walked(calls, 50, change)
    assert set(found) == {key(number) for number in range(2000)}


def test_pages_are_bounded() -> None:
    calls = Calls(Settings(), Watched())
    for number in range(1000):
        calls.apply([admit(number)], 1.0)
    page, cursor = calls.page(0, 100, LegFilter())
    assert len(page) == 100
    assert cursor is not None
    assert calls.page(cursor + 10_000, 100, LegFilter()) == ([], None)


def test_an_order_finds_any_number_and_forgets_those_that_are_gone() -> None:
    existing: dict[int, None] = {}
    order = Order(existing)
    random_ = random.Random(1)
    for serial in range(1, 100 * CHUNK):
        existing[serial] = None
        order.add(serial)
        if serial > 700:  # some stay
            gone = random_.randrange(serial - 700, serial) if serial % 100 else None
            existing.pop(gone or 0, None)
    for cursor in (0, 1, 600, 20_000, 100 * CHUNK - 1, 100 * CHUNK):
        found = [serial for serial in order.since(cursor) if serial in existing]
        assert found == [serial for serial in existing if serial >= cursor]
    for serial in [*existing][:-100]:
        del existing[serial]
    for serial in range(100 * CHUNK, 200 * CHUNK):
        existing[serial] = None
        order.add(serial)
        del existing[serial]
    assert len(order) < 10 * CHUNK


def content(calls: Calls) -> dict[str, tuple[object, ...]]:
    """Return everything that a set knows of its legs."""
    legs = [leg for row in calls._rows.all.values() for leg in row.living()]
    assert len(legs) == calls.gauges().held + calls.gauges().lapsed
    return {leg.call: (leg.row, leg.place, *known(leg)) for leg in legs}


def known(leg: Leg) -> tuple[object, ...]:
    return leg.state, leg.switch, leg.since, leg.due, leg.lease, leg.missed, leg.content, leg.answer, leg.counters


@pytest.mark.parametrize("seed", range(3))
def test_each_restart_finds_the_set_as_it_was(tmp_path: Path, seed: int) -> None:
    random_, now, number = random.Random(seed), 1000.0, 0
    live: list[int] = []
    with Journal(tmp_path, 5000, 1000, pytest.fail) as journal:
        calls = Calls(settings := Settings(max_legs=5000, reserved=20), journal)
        for step in range(300):
            now += random_.choice([0.01, 0.01, 1.0])
            batch: list[CallsMessage] = []
            for _ in range(random_.choice([1, 5, 64])):
                kind = random_.random()
                if kind < 0.5 or not live:
                    number += 1
                    live.append(number)
                    batch.append(admit(number))
                elif kind < 0.6:
                    batch.append(start(random_.choice(live)))
                else:
                    batch.append(stop(live.pop(random_.randrange(len(live)))))
            calls.apply(batch, now)
            calls.work(now)
            if step % 10 == 0:
                again = Calls(settings, journal)
                again.restore(*journal.read(), now)
                assert content(again) == content(calls)
                assert again.gauges().reserved == calls.gauges().reserved
                assert again.usage("clients", 0, 10) == calls.usage("clients", 0, 10)
                if random_.random() < 0.5:
                    calls = again


@pytest.mark.parametrize("content", [CONTENT, b"c" * 256], ids=["usual", "long"])
@pytest.mark.parametrize("size", [1, 7, ROW_LEGS])
@pytest.mark.parametrize("pattern", ["half", "random"])
def test_max_legs_have_room_however_their_rows_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, pattern: str, content: bytes
) -> None:
    """The worst rows are exactly half dead, so that they are merged only when space is scarce."""
    monkeypatch.setattr(journals, "_BASE_BYTES", 5 * 1024 * 1024)
    most, now = 12_000, 1000.0
    random_ = random.Random(size)
    with Journal(tmp_path, most, 0, pytest.fail) as journal:
        allocated = journal.size
        calls = Calls(Settings(max_legs=most), journal)
        live: list[int] = []
        scarce: list[bool] = []
        number = 0

        def work() -> None:
            nonlocal now
            now += 1.0
            journal._look()
            scarce.append(journal.room_left is RoomLeft.SCARCE)
            settle(calls, now)

        for _ in range(4):
            fresh = len(live)
            while len(live) < most:
                batch = range(number, number + min(size, most - len(live)))
                answers = calls.apply([admit(each, content) for each in batch], now)
                assert not any(isinstance(answer, Refused) for answer in answers), calls.gauges()
                number = batch.stop
                live += batch
                if number % 500 < size:
                    work()
            taken = live[fresh:]
            gone = set(taken[::2] if pattern == "half" else random_.sample(taken, len(taken) // 2))
            for first in range(0, len(taken), 50):
                calls.apply([stop(each) for each in taken[first : first + 50] if each in gone], now)
            live = [each for each in live if each not in gone]
            work()
        assert calls.gauges().held == len(live)
        if pattern == "half" and size == ROW_LEGS:
            assert any(scarce), "the rows were merged because space was scarce"
        assert journal.size == allocated, "the file never grew"
        assert sorted(walked(calls, 256)) == sorted(map(key, live))
