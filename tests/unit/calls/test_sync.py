"""Lists that take several steps, and messages that arrive between the steps (engine.md 5.6, 5.8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from identengine.calls.backend import (
    Admit,
    CallsMessage,
    Deferred,
    LegResult,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
)
from identengine.calls.journal import Journal
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.sync import LISTS_WAITING, STEP
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import EngineRequest
from identengine.identify.explain import Explanation
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import CallList, Decision, Direction

ORIG = Direction.ORIGINATION
ACCEPTED = Decision(accepted=True)
LEVELS = Levels(account_counter(1, ORIG), None, None, ClientLevels(client_counters(1, ORIG)))
MANY = 3 * STEP


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path, 10 * STEP, 0, pytest.fail) as opened:
        yield opened


@pytest.fixture
def calls(journal: Journal) -> Calls:
    return Calls(Settings(max_legs=10 * STEP, grace=0), journal)


def named(call_id: str) -> LegSelector:
    return LegSelector(call_key("s", call_id), None, None)


def start(call_id: str) -> CallsMessage:
    return Refresh("start", named(call_id), "s", None, lambda: LEVELS, lambda account, counters: LEVELS)


def sync(list_id: str, *call_ids: str) -> CallsMessage:
    return SyncPart("s", list_id, 1, 1, tuple(map(named, call_ids)), True)


def hold(calls: Calls) -> None:
    calls.apply([start(f"c{number}") for number in range(MANY)], 1.0)


def finish(calls: Calls, now: float) -> None:
    while calls.work(now):
        pass


def test_a_call_started_during_a_comparison_is_not_omitted_by_the_list(calls: Calls) -> None:
    decision = Decision(accepted=True)
    hold(calls)
    for call_id in ("listed", "unlisted"):
        calls.apply([Admit(call_key("s", call_id), "o", "s", b"", decision, LEVELS)], 1.0)
    assert isinstance(calls.apply([sync("1", "listed")], 2.0)[0], Deferred)
    calls.apply([start("listed"), start("unlisted")], 3.0)
    finish(calls, 3.0)
    assert calls.gauges().held == MANY + 2
    calls.apply([sync("2")], 4.0)
    finish(calls, 4.0)
    # Two lists omitted all other calls. Messages about these two arrived between the lists.
    assert calls.gauges().held == 2


def answered(calls: Calls, message: CallsMessage, now: float) -> LegResult:
    """Return the answer to a message, after all steps that it takes."""
    (answer,) = calls.apply([message], now)
    finish(calls, now)
    found = answer.result if isinstance(answer, Deferred) else answer
    assert isinstance(found, LegResult)
    return found


def test_a_repeated_list_is_answered_as_repeated(calls: Calls) -> None:
    hold(calls)
    assert answered(calls, sync("1"), 2.0) == LegResult(True, missing=0, freed=0)
    for _ in range(2):
        assert answered(calls, sync("1"), 3.0) == LegResult(True, missing=0, freed=0, repeated=True)
    assert answered(calls, sync("2"), 4.0) == LegResult(True, missing=0, freed=MANY)


@pytest.mark.parametrize("dies", [False, True])
def test_a_switch_that_went_up_may_use_its_list_ids_again(journal: Journal, dies: bool) -> None:
    settings = Settings(max_legs=10 * STEP, grace=0)
    calls = Calls(settings, journal)
    for message, now in ((sync("1"), 1.0), (sync("2"), 2.0)):
        assert not answered(calls, message, now).repeated
    answered(calls, SwitchReset("s"), 3.0)
    hold(calls)
    if dies:
        calls = Calls(settings, journal)
        calls.restore(*journal.read(), 4.0)
    assert answered(calls, sync("1"), 4.0) == LegResult(True, missing=0, freed=0)
    if dies:
        calls = Calls(settings, journal)
        calls.restore(*journal.read(), 5.0)
    assert answered(calls, sync("1"), 5.0).repeated
    assert answered(calls, sync("2"), 6.0) == LegResult(True, missing=0, freed=MANY)


def test_a_repeat_of_switch_up_forgets_no_list(calls: Calls) -> None:
    answered(calls, SwitchReset("s"), 1.0)
    answered(calls, sync("1"), 2.0)
    answered(calls, SwitchReset("s"), 3.0)
    assert answered(calls, sync("1"), 4.0).repeated


def test_a_list_of_before_a_restart_of_the_switch_is_not_a_later_one(calls: Calls) -> None:
    """Neither a list that is still being compared nor a part of an incomplete list counts for a later list."""
    hold(calls)
    (compared,) = calls.apply([sync("1")], 2.0)
    assert isinstance(compared, Deferred)
    calls.apply([SyncPart("s", "2", 1, 2, (), True)], 2.0)
    (freed,) = calls.apply([SwitchReset("s")], 3.0)
    assert isinstance(freed, Deferred)
    (later,) = calls.apply([sync("1")], 4.0)
    assert isinstance(later, Deferred)
    assert later is not compared
    (second_part,) = calls.apply([SyncPart("s", "2", 2, 2, (), True)], 4.0)
    assert second_part == LegResult(True, missing=0), "the first part is forgotten"
    finish(calls, 4.0)
    assert compared.result == LegResult(True, missing=0, freed=0)
    assert freed.result == LegResult(True, freed=MANY)
    assert later.result == LegResult(True, missing=0, freed=0)
    assert answered(calls, sync("1"), 5.0).repeated


def test_the_waiting_lists_of_a_switch_are_bounded(calls: Calls) -> None:
    hold(calls)
    for number in range(LISTS_WAITING):
        assert isinstance(calls.apply([sync(f"{number}")], 2.0)[0], Deferred)
    assert calls.apply([sync("further")], 2.0) == [Refused(Reason.OVERLOAD)]
    assert isinstance(calls.apply([sync("0")], 2.0)[0], Deferred)
    finish(calls, 2.0)
    assert answered(calls, sync("further"), 2.0) == LegResult(True, missing=0, freed=0)


def test_a_rejected_list_is_not_a_decision(calls: Calls) -> None:
    hold(calls)
    engine = Engine(calls=calls)
    asker = Asker("s", "s")
    lists = [CallList(list_id=str(number), confirm_empty=True) for number in range(LISTS_WAITING + 1)]
    answers = engine.decide([EngineRequest("sync", one, IdentifyOptions(), asker) for one in lists], 2.0)
    assert isinstance(answers[-1], Explanation)
    assert answers[-1].decision.reason == "overload"


def test_an_answer_is_sent_after_its_changes_are_in_the_mirror(calls: Calls, journal: Journal) -> None:
    hold(calls)
    calls.apply([sync("1")], 2.0)
    finish(calls, 2.0)
    (later,) = calls.apply([sync("2")], 3.0)
    assert isinstance(later, Deferred)
    left: list[tuple[LegResult, int]] = []
    later.then(lambda done: left.append((done, len(journal.read()[0]))))
    finish(calls, 3.0)
    assert left == [(LegResult(True, missing=0, freed=MANY), 0)]


def test_a_call_stopped_between_the_steps_of_a_list_is_freed_once(calls: Calls) -> None:
    hold(calls)
    calls.apply([sync("1")], 2.0)
    finish(calls, 2.0)
    assert isinstance(calls.apply([sync("2")], 3.0)[0], Deferred)
    stop_between_steps(calls)


def test_a_call_stopped_between_the_steps_of_a_switch_that_went_down_is_freed_once(calls: Calls) -> None:
    hold(calls)
    assert isinstance(calls.apply([SwitchReset("s")], 3.0)[0], Deferred)
    stop_between_steps(calls)


def stop_between_steps(calls: Calls) -> None:
    """Stop half of the remaining calls before each step."""
    kept = Admit(call_key("other", "c"), "o", "other", b"", ACCEPTED, LEVELS)
    calls.apply([kept], 4.0)
    more, number = True, MANY
    while more:
        calls.apply([Stop(named(f"c{number - 1 - back}")) for back in range(STEP // 2)], 4.0)
        number -= STEP // 2
        more = calls.work(4.0)
    assert calls.gauges().held == 1
    assert calls.usage("accounts", 0, 10) == [(LEVELS.counter, 1)]


def test_a_call_that_a_switch_reports_after_it_went_down_is_not_freed(calls: Calls, journal: Journal) -> None:
    hold(calls)
    calls.apply([reserve("asked again", "s"), reserve("taken over", "other"), reserve("decided again", "s")], 2.0)
    assert isinstance(calls.apply([SwitchReset("s")], 3.0)[0], Deferred)
    reports = [
        reserve("asked again", "s"),
        reserve("taken over", "s"),
        reserve("decided again", "s", b"other content"),
        start(f"c{MANY - 1}"),
        Refresh("update", named(f"c{MANY - 2}"), "s", None, lambda: LEVELS, lambda account, counters: LEVELS),
    ]
    answers = calls.apply(reports, 3.0)
    assert isinstance(answers[0], Decision)
    assert answers[:2] == [ACCEPTED, ACCEPTED]
    finish(calls, 3.0)
    assert calls.gauges().held == len(reports)
    assert calls.usage("accounts", 0, 10) == [(LEVELS.counter, len(reports))]
    calls.apply([SwitchReset("s")], 20.0)
    finish(calls, 20.0)
    assert calls.gauges().held == 0, "a later reset frees them"


def reserve(call_id: str, switch: str, content: bytes = b"") -> CallsMessage:
    return Admit(call_key("s", call_id), "o", switch, content, ACCEPTED, LEVELS)
