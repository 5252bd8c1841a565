"""The set of calls compared with the model of engine.md 5, through batches, lapses and restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from property.callmodel import Model
from support.backends import BACKENDS, Running, Set
from support.thorough import times

from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    CallsMessage,
    LegResult,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
)
from identengine.calls.levels import ClientLevels, Levels, account_counter, account_of, client_counters, limits_of
from identengine.model.records import Client, Decision, Direction

ORIG, TERM = Direction.ORIGINATION, Direction.TERMINATION
RESELLER = Client(id=9, name="reseller", capacity=4, term_capacity=2)
CLIENTS = {
    1: Client(id=1, name="one", parent_id=9, orig_capacity=2, capacity=3),
    2: Client(id=2, name="two", parent_id=9, orig_cps=0.5),
    3: Client(id=3, name="three"),
}
ACCOUNTS = {11: (1, 1, None), 12: (1, None, 1.0), 21: (2, 2, 2.0), 31: (3, None, None), 32: (3, 0, None)}
"""By account: client, capacity and calls per second."""


def levels_of(account: int, direction: Direction) -> Levels:
    client, capacity, cps = ACCOUNTS[account]
    own = limits_of(CLIENTS[client], direction, 0)
    above = limits_of(RESELLER, direction, 1) if CLIENTS[client].parent_id else ()
    ids = (client, 9) if CLIENTS[client].parent_id else (client,)
    counters = tuple(counter for each in ids for counter in client_counters(each, direction))
    orig = direction is ORIG
    levels = ClientLevels(counters, (*own, *above), CLIENTS[client].orig_cps if orig else None)
    return Levels(account_counter(account, direction), capacity, cps if orig else None, levels)


CALLS = st.sampled_from(["sc\0a", "sc\0b", "sc\0c"])
LEG_IDS = st.sampled_from([None, None, "1", "2"])
WAYS = st.sampled_from([ORIG, ORIG, TERM])
SWITCHES = st.sampled_from(["s1", "s2"])
ASKED = st.sampled_from(sorted(ACCOUNTS))
NAMED = st.builds(LegSelector, CALLS, st.sampled_from([None, ORIG, TERM]), LEG_IDS)
SPOKEN: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(
        st.just("admit"),
        st.one_of(CALLS, CALLS, CALLS, st.none()),
        WAYS,
        LEG_IDS,
        SWITCHES,
        ASKED,
        st.integers(0, 1),
    ),
    st.tuples(
        st.sampled_from(["start", "update"]),
        NAMED,
        SWITCHES,
        st.sampled_from([None, 20]),
        st.one_of(st.none(), ASKED),
    ),
    st.tuples(st.just("stop"), NAMED),
    st.tuples(
        st.just("list"), SWITCHES, st.sampled_from(["l1", "l2", "l3", "l4", "l5"]), st.lists(NAMED, max_size=3)
    ),
    st.tuples(st.just("switch"), SWITCHES),
)


class CallsMachine(RuleBasedStateMachine):
    backend: Callable[[Settings, float], Running]

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.numbers = 0
        self.seen: dict[str, int] = {}

    @initialize(
        most=st.sampled_from([None, 3]), max_legs=st.sampled_from([3, 100]), burst=st.sampled_from([0.0, 1.0, 2.5])
    )
    def begin(self, most: int | None, max_legs: int, burst: float) -> None:
        settings = Settings(
            max_legs=max_legs, reserved=200, active=7200, grace=60, global_capacity=most, cps_burst=burst
        )
        self.model = Model(settings)
        self.running = type(self).backend(settings, self.now)

    @property
    def calls(self) -> Set:
        return self.running.calls

    def teardown(self) -> None:
        if hasattr(self, "running"):
            self.running.close()

    @rule(spoken=st.lists(SPOKEN, min_size=1, max_size=5), later=st.sampled_from([0.0, 0.25, 1.0]))
    def batch(self, spoken: list[tuple[Any, ...]], later: float) -> None:
        self.now += later
        self.lapse()
        numbers = {}
        messages: list[CallsMessage] = []
        for place, each in enumerate(spoken):
            self.numbers += 1
            numbers[place] = self.numbers
            messages.append(message_of(each, self.numbers))
        answers = self.calls.apply(messages, self.now)
        for place, (each, answer) in enumerate(zip(spoken, answers, strict=True)):
            expected = self.expected(each, numbers[place])
            assert said(each[0], answer) == expected, (each, answer, expected)
            self.now += 1e-6 if each[0] == "switch" else 0

    def expected(self, each: tuple[Any, ...], number: int) -> object:
        model, now = self.model, self.now
        kind = each[0]
        if kind == "admit":
            _, call, way, leg_id, switch, account, content = each
            leg = ("o" if way is ORIG else "t") + (leg_id or "")
            outcome = model.admit(
                call, leg, switch, b"%d" % content + b"%d" % account, levels_of(account, way), number, now
            )
            self.seen[str(outcome) if isinstance(outcome, str) else "admitted"] = 1
            return outcome
        if kind in ("start", "update"):
            _, named, switch, interval, account = each
            levels = levels_of(account, named.direction or ORIG) if account else None
            return model.progress(kind, named, switch, interval, levels, now)
        if kind == "stop":
            return model.stop(each[1], now)
        if kind == "list":
            return model.list_came(each[1], each[2], each[3], now)
        return model.switch_gone(each[1], now)

    @rule(seconds=st.sampled_from([1.0, 30.0, 59.0, 70.0, 201.0, 7300.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.lapse()

    @rule(dies=st.booleans())
    @precondition(lambda self: hasattr(self, "running"))
    def restart(self, dies: bool) -> None:
        if dies:
            self.running.die(self.now)
        else:
            self.running.restart(self.now)
        # Buckets are full at the start (engine.md 5.9).
        self.model.tokens.clear()

    def lapse(self) -> None:
        while self.calls.work(self.now):
            pass
        self.model.lapse(self.now)

    @invariant()
    def counts_are_those_of_the_legs(self) -> None:
        if not hasattr(self, "running"):
            return
        held = self.model.held()
        assert self.calls.gauges().held == len(held)
        assert self.calls.gauges().lapsed == len(self.model.legs) - len(held)
        accounts = {
            account << 1 | place: count
            for account in ACCOUNTS
            for place, initial in enumerate("ot")
            if (count := self.model.count(None, account, initial))
        }
        clients = {
            counter: count
            for client in (*CLIENTS, 9)
            for counter, initial in ((client << 1, "o"), (client << 1 | 1, "t"), (-client, None))
            if (count := self.model.count(client, None, initial))
        }
        assert dict(self.calls.usage("accounts", 0, 100) or ()) == accounts
        assert dict(self.calls.usage("clients", 0, 100) or ()) == clients


def message_of(each: tuple[Any, ...], number: int) -> CallsMessage:
    kind = each[0]
    if kind == "admit":
        _, call, way, leg_id, switch, account, content = each
        decision = Decision(accepted=True, account_id=account, version=number)
        leg = ("o" if way is ORIG else "t") + (leg_id or "")
        return Admit(call, leg, switch, b"%d" % content + b"%d" % account, decision, levels_of(account, way))
    if kind in ("start", "update"):
        _, named, switch, interval, account = each
        identify = None if account is None else lambda: levels_of(account, named.direction or ORIG)
        return Refresh(
            kind, named, switch, interval, identify, lambda account, counters: levels_of(*account_of(account))
        )
    if kind == "stop":
        return Stop(each[1])
    if kind == "list":
        _, switch, list_id, calls = each
        return SyncPart(switch, list_id, 1, 1, tuple(calls), True)
    return SwitchReset(each[1])


def said(kind: str, answer: CallsAnswer) -> object:
    """Return an answer in the form of the model."""
    if isinstance(answer, Decision):
        return answer.version
    if isinstance(answer, Refused):
        return str(answer.reason)
    assert isinstance(answer, LegResult)
    if answer.missing is not None:
        return answer.missing, answer.freed, answer.repeated
    if kind == "switch":
        return answer.freed
    return (answer.unknown, answer.freed) if kind == "stop" else (answer.unknown, answer.overcommit)


def machine(name: str) -> type[CallsMachine]:
    """Return the state machine that compares a backend with the model."""
    made = type(f"CallsIn{name.title()}", (CallsMachine,), {"backend": staticmethod(BACKENDS[name])})
    made.TestCase.settings = settings(max_examples=times(200, 50), stateful_step_count=40, deadline=None)  # type: ignore[attr-defined]  # hypothesis makes it
    return made


TestCallsInMemory = machine("memory").TestCase


def test_each_backend_is_tested() -> None:
    assert {f"TestCallsIn{name.title()}" for name in BACKENDS} <= set(globals())
