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


def version(capacity: int, *clients: int) -> Levels:
    """Return the levels of account 1 in a version of the book, with its client and the resellers above."""
    numbers = [number for client in clients for number in client_counters(client, ORIG)]
    total = 2 * len(clients)
    limits = ((total, capacity, Reason.RESELLER_CAPACITY),)
    return Levels(account_counter(1, ORIG), capacity, None, ClientLevels(tuple(numbers), limits))


def stop(call_id: str) -> Stop:
    return Stop(LegSelector(call_key("s", call_id), None, None))


def test_versions_of_the_book_count_on_the_same_counters(calls: Calls) -> None:
    old, new = version(2, 1, 9), version(2, 3, 9)
    assert isinstance(calls.apply([admit("a", old)], 1.0)[0], Decision)
    assert isinstance(calls.apply([admit("b", new)], 2.0)[0], Decision)
    assert dict(calls.usage("clients", 0, 100) or []) == {2: 1, -1: 1, 6: 1, -3: 1, 18: 2, -9: 2}
    for levels in (old, new, version(2, 5, 9)):
        assert refused(calls.apply([admit("c", levels)], 3.0)[0]) is Reason.ACCOUNT_CAPACITY
    calls.apply([stop("a")], 4.0)
    assert dict(calls.usage("clients", 0, 100) or []) == {6: 1, -3: 1, 18: 1, -9: 1}, "it left the levels it took"
    assert isinstance(calls.apply([admit("c", old)], 5.0)[0], Decision)
    assert refused(calls.apply([admit("d", new)], 5.0)[0]) is Reason.ACCOUNT_CAPACITY


def test_the_total_of_a_client_is_that_of_both_directions(calls: Calls) -> None:
    one, two = version(9, 1), version(9, 1)
    inward = ClientLevels(client_counters(1, Direction.TERMINATION), ((2, 2, Reason.CLIENT_CAPACITY),))
    termination = Levels(account_counter(1, Direction.TERMINATION), None, None, inward)
    calls.apply([admit("a", one), admit("b", two)], 1.0)
    assert refused(calls.apply([admit("c", termination)], 2.0)[0]) is Reason.CLIENT_CAPACITY
    calls.apply([stop("a")], 3.0)
    assert isinstance(calls.apply([admit("c", termination)], 4.0)[0], Decision)
    assert dict(calls.usage("clients", 0, 100) or []) == {2: 1, 3: 1, -1: 2}


def test_a_dropped_counter_is_never_used_again(calls: Calls) -> None:
    """Both versions refer to the counter of the account when it is dropped."""
    old, new = version(1, 1), version(1, 1)
    for levels in (old, new):
        assert isinstance(calls.apply([admit("a", levels)], 1.0)[0], Decision)
        calls.apply([stop("a")], 1.0)
    calls.work(2.0)
    assert calls.usage("accounts", 0, 10) is None, "the counter of the account is dropped"
    assert isinstance(calls.apply([admit("a", old)], 3.0)[0], Decision)
    for levels in (new, old, version(1, 1)):
        assert refused(calls.apply([admit("b", levels)], 3.0)[0]) is Reason.ACCOUNT_CAPACITY
    calls.apply([stop("a")], 4.0)
    assert isinstance(calls.apply([admit("b", new)], 5.0)[0], Decision)
    assert refused(calls.apply([admit("c", old)], 5.0)[0]) is Reason.ACCOUNT_CAPACITY


def test_counters_of_accounts_that_come_and_go_are_bounded(calls: Calls) -> None:
    for account in range(1000):
        levels = Levels(account_counter(account, ORIG), 1, None, ClientLevels(client_counters(1, ORIG)))
        calls.apply([admit("a", levels)], 1.0)
        calls.apply([stop("a")], 1.0)
        calls.work(1.0)
    assert calls.usage("accounts", 0, 10) is None
