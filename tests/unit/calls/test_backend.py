"""Operator, reporter and book use only the interface of a set of calls (identengine/calls/backend.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    CallsMessage,
    LegResult,
    LegSelector,
    Settings,
    Stop,
)
from identengine.calls.journal import Journal
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.leveluse import LevelUse
from identengine.calls.memory import Calls
from identengine.calls.overview import (
    Gauges,
    LegFilter,
    LegView,
    Of,
)
from identengine.engine.core import Engine
from identengine.model.records import Decision, Direction
from identengine.server.decider.operator import LEGS, OperatorService
from identengine.server.decider.reporter import Reporter
from identengine.stats.file import CounterFile
from identengine.stats.registry import PLACE
from identengine.wire import operator as wire

ORIG = Direction.ORIGINATION
LEG = LegView(call_key("scope", "c1"), "o1", "sbc1", ACTIVE, 7, (3, 4), 100.0, 160.0)
GAUGES = Gauges(
    held=9,
    reserved=2,
    lapsed=5,
    max_legs=10,
    global_capacity=8,
    overfull=False,
    lapsed_reserved=11,
    lapsed_active=12,
    retransmitted=13,
    turned_away=0,
)


class Elsewhere:
    """A set of calls that keeps nothing in this process."""

    def __init__(self) -> None:
        self.now = GAUGES
        self.asked: list[LegFilter] = []
        self.applied: list[CallsMessage] = []

    def gauges(self) -> Gauges:
        return self.now

    def page(self, cursor: int, count: int, wanted: LegFilter) -> tuple[list[LegView], int | None]:
        self.asked.append(wanted)
        return ([LEG], 5) if cursor == 0 else ([], None)

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        if first:
            return None
        return [(7 << 1, 1)] if of == "accounts" else [(3 << 1, 1), (-3, 1)]

    def matching(self, named: LegSelector, wanted: LegFilter) -> list[LegView]:
        self.asked.append(wanted)
        return [LEG] if named.call == LEG.call else []

    def level_uses(self, levels: Levels) -> list[LevelUse]:
        return []

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        self.applied += batch
        return [LegResult(True, freed=1) for _ in batch]


class File:
    """The file of a mirror."""

    path = Path("/nowhere/calls.mdb")
    size = 4096
    trouble = None

    def used(self) -> int:
        return 1024


class NoRecord:
    """A record that writes nothing."""

    alarm: str | None = None
    written = lost = 0

    def report(self) -> None:
        """Implement RecordStatus.report."""


class NoBook:
    """A process that has not loaded a book."""

    loads = 0
    loaded_at = load_seconds = load_pause = created_at = 0.0
    alarm = None
    unusable = False


def service(calls: Elsewhere) -> OperatorService:
    def status() -> wire.Status:
        raise AssertionError

    return OperatorService(Engine(), calls, lambda: ["scope"], status, lambda legs, freed: None)


def test_an_operator_lists_calls_of_another_backend() -> None:
    calls = Elsewhere()
    answer = service(calls).answer(
        wire.LegsRequest(wire.Filter(account_id=7, older=30.0, direction="origination")), 150.0
    )
    assert isinstance(answer, wire.LegPage)
    assert answer.cursor is None
    (row,) = answer.rows
    assert (row.scope, row.call_id, row.leg_id, row.direction) == ("scope", "c1", "1", ORIG)
    assert (row.account_id, row.client_id, row.switch, row.state) == (7, 3, "sbc1", "active")
    assert (row.since, row.age, row.left) == (100.0, 50.0, 10.0)
    expected = LegFilter(states=frozenset((RESERVED, ACTIVE)), account_id=7, direction=ORIG, taken_by=120.0)
    assert calls.asked == [expected, expected]


def test_an_operator_ends_calls_of_another_backend() -> None:
    calls = Elsewhere()
    gone = wire.Ending("scope", "c1", "origination", "1", 99.0)
    there = wire.Ending("scope", "c1", "origination", "1", 100.0)
    assert service(calls).answer(wire.EndRequest((gone, there)), 150.0) == wire.Ended(1, 1)
    assert calls.applied == [Stop(LegSelector(LEG.call, ORIG, "1"))]


def test_an_operator_lists_usage_of_another_backend() -> None:
    answers = [service(Elsewhere()).answer(wire.UsageRequest(of), 150.0) for of in ("accounts", "clients")]
    rows = [
        (one.id, one.direction, one.held)
        for answer in answers
        if isinstance(answer, wire.Usage)
        for one in answer.rows
    ]
    assert sorted(rows) == [(3, "both", 1), (3, "origination", 1), (7, "origination", 1)]


def test_a_reporter_reads_gauges(tmp_path: Path) -> None:
    calls = Elsewhere()
    with CounterFile(tmp_path, pytest.fail) as counters:
        reporter = Reporter(calls, File(), counters, Engine(), NoBook(), NoRecord())
        reporter.note(1.0, 0, {}, last=True)
        names = ("held", "reserved", "active", "remembered", "max_legs", "mirror_used_bytes", "mirror_bytes")
        assert [counters.cells[PLACE[name]] for name in names] == [9, 2, 7, 5, 10, 1024, 4096]
        totals = ("lapsed_reserved", "lapsed_active", "retransmissions")
        assert [counters.cells[PLACE[name]] for name in totals] == [11, 12, 13]
        status = reporter.status()
        assert (status.held, status.lapsed, status.max_legs, status.global_capacity) == (9, 5, 10, 8)
        assert status.unready == ("no book",)
        calls.now = msgspec.structs.replace(GAUGES, overfull=True)
        reporter.note(2.0, 0, {})
        assert "the set of calls is full" in reporter.status().unready
        assert str(File.path) in reporter.status().alarms[0]
        calls.now = GAUGES
        reporter.note(3.0, 0, {})
        assert reporter.status().unready == ("no book",)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (LegFilter(), True),
        (LegFilter(states=frozenset((LAPSED,))), False),
        (LegFilter(account_id=7), True),
        (LegFilter(account_id=8), False),
        (LegFilter(client_id=4), True),
        (LegFilter(client_id=5), False),
        (LegFilter(switch="sbc1"), True),
        (LegFilter(switch="sbc2"), False),
        (LegFilter(scope="scope"), True),
        (LegFilter(scope="other"), False),
        (LegFilter(direction=ORIG), True),
        (LegFilter(direction=Direction.TERMINATION), False),
        (LegFilter(leg_id="1"), True),
        (LegFilter(leg_id=""), False),
        (LegFilter(taken_by=100.0), True),
        (LegFilter(taken_by=99.9), False),
    ],
)
def test_the_set_in_memory_filters_legs(tmp_path: Path, wanted: LegFilter, fits: bool) -> None:
    client = ClientLevels((*client_counters(3, ORIG), *client_counters(4, ORIG)))
    levels = Levels(account_counter(7, ORIG), None, None, client)
    with Journal(tmp_path, 10, 10, pytest.fail) as journal:
        calls = Calls(Settings(max_legs=10), journal)
        calls.apply([Admit(LEG.call, LEG.leg, LEG.switch, b"", Decision(accepted=True), levels)], 100.0)
        expected = [msgspec.structs.replace(LEG, state=RESERVED, due=300.0)] if fits else []
        assert calls.page(0, LEGS, wanted) == (expected, None)
        assert calls.matching(LegSelector(LEG.call, None, None), wanted) == expected


def test_a_set_does_not_change_the_levels_of_a_book(tmp_path: Path) -> None:
    client = ClientLevels(client_counters(3, ORIG), ())
    levels = Levels(account_counter(7, ORIG), 1, None, client)
    assert Levels.__struct_fields__ == (
        "counter",
        "capacity",
        "cps",
        "client",
        "paced",
        "owner",
        "cells",
        "limits",
    )
    with pytest.raises(AttributeError):
        levels.capacity = 2  # type: ignore[misc]  # the book is never changed
    ask = Admit(LEG.call, LEG.leg, LEG.switch, b"", Decision(accepted=True), levels)
    held = []
    for name in ("one", "two"):  # sets that share a book must not share counters
        with Journal(tmp_path / name, 10, 10, pytest.fail) as journal:
            calls = Calls(Settings(max_legs=10), journal)
            calls.apply([ask], 100.0)
            held.append(calls.usage("accounts", 0, 10))
    assert held == [[(levels.counter, 1)]] * 2
