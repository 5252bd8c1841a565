"""A fault at any line of a batch: a rejected call holds no slot, an accepted call has one (engine.md 5.2, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.callsets import Copy, held, is_consistent
from support.faults import Injector, at_every_line

from identengine.calls import rows
from identengine.calls.backend import (
    Admit,
    CallsMessage,
    Fault,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
)
from identengine.calls.legs import call_key, leg_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.model.records import Decision, Direction

ORIG, TERM = Direction
ACCEPTED = Decision(accepted=True)
SETTINGS = Settings(max_legs=100, lapsed_max=50, reserved=200.0, active=1000.0, grace=1.0)
START = 5000.0


def levels(account: int, capacity: int | None = None) -> Levels:
    client = ClientLevels(client_counters(account % 3 + 1, ORIG))
    return Levels(account_counter(account, ORIG), capacity, 1000.0, client)


def admit(call_id: str, account: int = 1, content: bytes = b"", leg_id: str | None = None) -> Admit:
    call = call_key("s", call_id)
    return Admit(call, leg_key(ORIG, leg_id), "s", content, ACCEPTED, levels(account))


def named(call_id: str, leg_id: str | None = None, direction: Direction | None = None) -> LegSelector:
    return LegSelector(call_key("s", call_id), direction, leg_id)


def refresh(method: Any, call_id: str, account: int | None = None, switch: str = "s") -> Refresh:
    identify = None if account is None else lambda: levels(account)
    return Refresh(method, named(call_id), switch, None, identify, lambda *_: levels(1))


def listed(*calls: str, switch: str = "s", list_id: str = "1") -> SyncPart:
    return SyncPart(switch, list_id, 1, 1, tuple(map(named, calls)), confirm_empty=True)


def prepared() -> tuple[Calls, Copy]:
    """Return a set with reserved, active and lapsed legs, calls with several legs, and a leg omitted once."""
    mirror = Copy()
    calls = Calls(SETTINGS, mirror)
    calls.apply([admit(f"lapsed {n}", n) for n in range(4)], START - 300)
    calls.work(START - 50)
    names = ("reserved", "changed", "active", "stopped", "ended", "listed", "gone", "started")
    calls.apply([admit(name, n) for n, name in enumerate(names)], START - 40)
    calls.apply([admit("several", 1, leg_id=leg) for leg in "abc"], START - 39)
    calls.apply([refresh("start", name) for name in ("active", "ended", "listed", "gone")], START - 38)
    calls.apply([refresh("start", "of another", 5, "t"), refresh("start", "of a third", 6, "u")], START - 37)
    calls.apply([listed("listed", "active", list_id="0")], START - 20)
    calls.work(START - 10)
    return calls, mirror


def batch() -> list[CallsMessage]:
    return [
        admit("new"),
        admit("reserved", 0),
        admit("changed", 2, b"other"),
        Stop(named("stopped")),
        admit("new 2", 7),
        refresh("start", "started"),
        refresh("start", "new 2"),
        Stop(named("several", "b")),
        admit("several", 1, leg_id="d"),
        admit("lapsed 0"),
        refresh("update", "lapsed 1"),
        refresh("update", "unknown", 4),
        refresh("update", "active"),
        Stop(named("ended")),
        listed("listed", "active", "lapsed 2"),
        SwitchReset("t"),
        admit("new 3", 2),
        Stop(named("nothing")),
    ]


FREED = {"stopped", "several b", "ended", "gone", "of another", "several"}
"""Legs of the set that the batch may free."""


def expires(calls: Calls, where: str) -> None:
    """Fail unless every lease ends."""
    now = START + 1100
    while calls.work(now):
        pass
    assert calls.gauges().held == 0, where


def check(calls: Calls, mirror: Copy, before: set[tuple[str, str]], messages: Sequence[CallsMessage],
          answers: object, where: str) -> None:  # fmt: skip
    mirror.broken = False
    calls.work(START + 0.1)
    is_consistent(calls, mirror, where)
    now_held = held(calls)
    if not isinstance(answers, list):
        for one in [(str(one.call), one.leg) for one in messages if isinstance(one, Admit)]:
            assert (one in now_held) <= (one in before), (one, where)
        lost = before - now_held
        assert all(call.partition("\0")[2] in FREED for call, _ in lost), where
    else:
        for message, answer in zip(messages, answers, strict=True):
            if isinstance(message, Admit):
                one = (str(message.call), message.leg)
                if isinstance(answer, Fault):
                    assert (one in now_held) <= (one in before), (one, where)
                else:
                    assert (one in now_held) == (not isinstance(answer, Refused)), (one, where)
    # The switch repeats its messages, and all of them are answered.
    again = calls.apply(batch(), START + 1)
    if not isinstance(answers, list):
        assert not any(isinstance(one, Refused) for one in again), (again, where)
    is_consistent(calls, mirror, where)
    expires(calls, where)


@pytest.mark.parametrize("fault", [MemoryError, KeyboardInterrupt])
def test_a_fault_at_any_line_of_a_batch(fault: type[BaseException]) -> None:
    lines = 0
    for injector in at_every_line(fault, "calls", step=1 if fault is MemoryError else 5):
        calls, mirror = prepared()
        before = held(calls)
        messages = batch()
        answers = injector.run(lambda calls=calls, messages=messages: calls.apply(messages, START))  # type: ignore[misc]
        check(calls, mirror, before, messages, answers, injector.raised_in)
        lines += 1
    assert lines > 50


def test_a_mirror_that_fails_rejects_admissions_and_keeps_the_rest() -> None:
    calls, mirror = prepared()
    before = held(calls)
    mirror.broken = True
    messages = batch()
    answers = calls.apply(messages, START)
    admitted = [answer for one, answer in zip(messages, answers, strict=True) if isinstance(one, Admit)]
    assert sum(isinstance(answer, Refused) for answer in admitted) == 4
    mirror.broken = False
    calls.work(START + 0.1)
    is_consistent(calls, mirror, "")
    assert held(calls) >= {name for name in before if name[0].partition("\0")[2] not in FREED}


def test_a_fault_at_any_line_while_time_passes() -> None:
    """Leases end, jobs continue and the mirror is written again, each in steps."""
    for injector in at_every_line(MemoryError, "calls"):
        calls, mirror = prepared()
        mirror.generation, mirror.rows = 1, {}

        def work(calls: Calls = calls) -> None:
            while calls.work(START + 300):
                pass

        injector.run(work)
        work()
        is_consistent(calls, mirror, injector.raised_in)
        assert {name for _, name in sorted(held(calls))} <= {"o"}, injector.raised_in
        expires(calls, injector.raised_in)
        assert mirror.complete_at == 1, injector.raised_in


def test_a_second_fault_while_the_set_recovers() -> None:
    for injector in at_every_line(MemoryError, "calls"):
        calls, mirror = prepared()
        before, messages = held(calls), batch()
        first = Injector(200, MemoryError, ("calls",))
        answers = first.run(lambda calls=calls, messages=messages: calls.apply(messages, START))  # type: ignore[misc]
        assert first.raised_in
        injector.run(lambda calls=calls: calls.work(START + 0.05))  # type: ignore[misc]
        check(calls, mirror, before, messages, answers, injector.raised_in)


def test_a_fault_at_any_line_while_rows_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of which more than half is dead is emptied, and small rows are merged."""
    monkeypatch.setattr(rows, "SMALL_ROWS", 0)
    emptied = 0
    for injector in at_every_line(MemoryError, "calls"):
        mirror = Copy()
        calls = Calls(SETTINGS, mirror)
        calls.apply([admit(f"row {n}") for n in range(6)], START)
        for n in range(3):
            calls.apply([admit(f"small {n}"), refresh("start", f"small {n}")], START)
        calls.apply([Stop(named(f"row {n}")) for n in range(4)], START)
        before, kept = held(calls), set(mirror.rows)

        def work(calls: Calls = calls) -> None:
            while calls.work(START + 1):
                pass

        injector.run(work)
        work()
        is_consistent(calls, mirror, injector.raised_in)
        assert held(calls) == before, injector.raised_in
        emptied += not kept & set(mirror.rows)
        expires(calls, injector.raised_in)
    assert emptied > 50
