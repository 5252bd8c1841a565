"""Counters always match the set of calls, even after idle counters were dropped (engine.md 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from identengine.calls import counts
from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    CallsMessage,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
)
from identengine.calls.journal import Journal
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

ORIG = Direction.ORIGINATION
ACCEPTED = Decision(accepted=True)
ONE = Levels(account_counter(1, ORIG), 1, None, ClientLevels(client_counters(1, ORIG)))
FULL = Levels(account_counter(2, ORIG), 0, None, ClientLevels(client_counters(1, ORIG)))


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    monkeypatch.setattr(counts, "IDLE_ACCOUNTS", 0)
    with Journal(tmp_path, 10, 10, pytest.fail) as journal:
        yield Calls(Settings(max_legs=10), journal)


def admit(call_id: str, levels: Levels = ONE, content: bytes = b"") -> CallsMessage:
    return Admit(call_key("s", call_id), "o", "s", content, ACCEPTED, levels)


def refused(answer: CallsAnswer) -> Reason | None:
    return answer.reason if isinstance(answer, Refused) else None


def test_a_revived_call_counts_with_the_calls_of_its_account(calls: Calls) -> None:
    calls.apply([admit("lapses")], 0.0)
    calls.work(300.0)
    assert (calls.gauges().held, calls.gauges().lapsed) == (0, 1)
    named = LegSelector(call_key("s", "lapses"), None, None)
    calls.apply([admit("other"), Stop(LegSelector(call_key("s", "other"), None, None)), admit("held")], 301.0)
    calls.apply([Refresh("update", named, "s", None, None, lambda account, counters: ONE)], 302.0)
    assert calls.usage("accounts", 0, 10) == [(ONE.account, 2)]
    calls.apply([Stop(LegSelector(call_key("s", "held"), None, None))], 303.0)
    assert refused(calls.apply([admit("more")], 303.0)[0]) is Reason.ACCOUNT_CAPACITY


def test_a_changed_request_that_is_refused_leaves_its_slot_counted(calls: Calls) -> None:
    calls.apply([admit("c")], 0.0)
    blocked = Levels(ONE.account, 0, None, ONE.client)
    for levels in (blocked, FULL):
        assert refused(calls.apply([admit("c", levels, b"changed")], 1.0)[0]) is Reason.ACCOUNT_CAPACITY
        assert refused(calls.apply([admit("more")], 1.0)[0]) is Reason.ACCOUNT_CAPACITY
