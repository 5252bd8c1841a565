"""Accounting over RADIUS without a socket (interfaces.md 5): the life of a call, and the restart of a switch."""

from __future__ import annotations

import pytest
from support.callsets import all_legs
from unit.wire.radius.served import HOST, Served, access, account, is_authentic, switch, texts

from identengine.calls.legs import ACTIVE
from identengine.model.attributes import parse_attribute
from identengine.wire.radius.duplicates import KEPT_SECONDS
from identengine.wire.radius.packet import ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE

ACCEPT, REJECT, RECORDED = ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE
START, STOP, ALIVE, ON, OFF, FAILED = 1, 2, 3, 7, 8, 15


@pytest.fixture(params=[True, False], ids=["usual", "general"])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(usual=request.param)


@pytest.mark.parametrize("status", [START, ALIVE])
def test_the_life_of_a_call(served: Served, status: int) -> None:
    assert served.decided(access("c")) == ACCEPT
    assert served.decided(account(status, "c")) == RECORDED
    assert served.held == 1
    assert served.decided(account(STOP, "c")) == RECORDED
    assert served.held == 0


@pytest.mark.parametrize("status", [STOP, FAILED])
def test_a_stop_with_nothing_but_a_session(served: Served, status: int) -> None:
    served.ask(access("c"))
    request = account(status, "c")
    reply = served.ask(request)
    assert reply is not None
    assert is_authentic(reply, request)
    assert served.held == 0


@pytest.mark.parametrize("status", [STOP, FAILED, START, ALIVE])
def test_unknown_sessions_are_recorded(served: Served, status: int) -> None:
    assert served.decided(account(status, "nobody")) == RECORDED
    assert served.held == 0


@pytest.mark.parametrize("status", [START, ALIVE])
def test_accounting_may_be_the_first_that_is_heard(served: Served, status: int) -> None:
    more = ("h323-remote-address", "10.0.0.1"), ("Called-Station-Id", "44123")
    assert served.decided(account(status, "c", *more)) == RECORDED
    assert served.held == 1
    assert served.decided(account(STOP, "c", identifier=10)) == RECORDED
    assert served.held == 0


def test_both_sides_of_a_session(served: Served) -> None:
    """Sippy sends accounting for both sides under one session id."""
    sides = ("answer", "10.0.0.1"), ("originate", "10.0.0.2")
    for number, (side, source) in enumerate(sides):
        more = ("h323-call-origin", side), ("h323-remote-address", source), ("Called-Station-Id", "44123")
        assert served.decided(account(START, "c", *more, identifier=number)) == RECORDED
    assert served.held == 2
    for number, (side, _) in enumerate(sides, 1):
        more_of_stop = ("h323-call-origin", side)
        assert served.decided(account(STOP, "c", more_of_stop, identifier=10 + number)) == RECORDED
        assert served.held == 2 - number


def test_repeats_of_accounting_with_another_delay(served: Served) -> None:
    served.ask(access("c"))
    for status, held in ((START, 1), (STOP, 0), (START, 0), (STOP, 0)):
        for delay in range(3):
            packet = account(status, "c", ("Acct-Delay-Time", delay), identifier=delay)
            assert served.decided(packet) == RECORDED
            assert served.held == held


def test_fields_that_cannot_be_used_do_not_lose_a_report(served: Served) -> None:
    served.ask(access("c"))
    odd = ("h323-remote-address", "gateway.example"), ("Called-Station-Id", "sip:bob@example")
    assert served.decided(account(START, "c", *odd)) == RECORDED
    assert [leg.state for leg in all_legs(served.calls)] == [ACTIVE]
    assert served.wrong == []
    assert served.decided(account(START, "unknown", *odd)) == RECORDED
    assert served.held == 1
    assert len(served.wrong) == 1, "the operator learns why the call is not counted"


@pytest.mark.parametrize("interval", [0, 4_000_000_000])
@pytest.mark.parametrize("usual", [True, False])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("odd", [True, False])
def test_an_interval_that_cannot_be_used_does_not_lose_a_report(
    interval: int, usual: bool, known: bool, odd: bool
) -> None:
    served = Served(switch(map={"interval": (parse_attribute("Acct-Interim-Interval"),)}), usual=usual)
    if known:
        served.ask(access("c"))
    source = "gateway.example" if odd else "10.0.0.1"
    fields = ("h323-remote-address", source), ("Called-Station-Id", "44123")
    report = account(ALIVE, "c", ("Acct-Interim-Interval", interval), *fields)
    assert served.decided(report) == RECORDED
    is_identified = known or not odd
    assert [leg.state for leg in all_legs(served.calls)] == ([ACTIVE] if is_identified else [])
    assert served.wrong == ([] if is_identified else ["src_ip"])


@pytest.mark.parametrize("status", [START, STOP, ALIVE, FAILED])
def test_accounting_without_a_session_is_not_recorded(served: Served, status: int) -> None:
    assert served.decided(account(status, None)) is None
    assert served.wrong == ["call_id"]
    assert served.decided(account(status, " ")) is None


@pytest.mark.parametrize("status", [9, 10, 14, 200])
def test_other_statuses_change_nothing(served: Served, status: int) -> None:
    served.ask(access("c"))
    assert served.decided(account(status, "c")) == RECORDED
    assert served.held == 1


def test_accounting_without_a_status(served: Served) -> None:
    assert served.decided(account(None, "c")) is None
    assert served.dropped == [(HOST, "no_status_type")]


@pytest.mark.parametrize("status", [ON, OFF])
def test_a_switch_that_restarts(served: Served, status: int) -> None:
    for number in range(2):
        served.ask(access(str(number)))
    served.now += 1
    reply = served.ask(account(status, "boot"))
    while served.calls.work(served.now):
        pass
    assert served.held == 0
    assert [one for one in [reply, *(late for _, late in served.late)] if one is not None]


@pytest.mark.parametrize("session", ["boot", None])
def test_a_repeated_restart_does_not_free_newer_calls(served: Served, session: str | None) -> None:
    served.ask(account(ON, session, ("Acct-Delay-Time", 0)))
    served.ask(access("new"))
    served.now += 5
    assert served.decided(account(ON, session, ("Acct-Delay-Time", 5), identifier=10)) == RECORDED
    while served.calls.work(served.now):
        pass
    assert served.held == 1
    served.now += KEPT_SECONDS
    assert served.decided(account(ON, session, ("Acct-Delay-Time", 0), identifier=11)) == RECORDED
    while served.calls.work(served.now):
        pass
    assert served.held == 0, "a new restart frees them"


def test_accounting_of_a_batch_with_a_fault_is_repeated(served: Served) -> None:
    served.ask(access("c"))

    def fail() -> None:
        raise ValueError("a fault at the end of a batch")

    end, served.calls.end = served.calls.end, fail  # type: ignore[method-assign,assignment]
    packet = account(STOP, "c")
    assert served.decided(packet) is None
    served.calls.end = end  # type: ignore[method-assign]
    assert served.decided(packet) == RECORDED, "the same packet is decided again"


def test_a_fault_rejects_an_authorization_and_silences_accounting(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("identengine.wire.radius.mapping.AttributeMap.read", fail)
    reply = served.ask(access())
    assert reply is not None
    assert (reply[0], texts(reply, "Reply-Message")) == (REJECT, ["internal_error"])
    packet = account(STOP, "c")
    assert served.decided(packet) is None
    monkeypatch.undo()
    assert served.decided(packet) == RECORDED
    assert served.engine.faults.total == 2
