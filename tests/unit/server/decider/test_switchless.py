"""The search for held legs whose switch is no longer in the config."""

from __future__ import annotations

import asyncio

import pytest

from identengine.calls.legs import LAPSED, RESERVED, State, call_key
from identengine.calls.overview import (
    LegFilter,
    LegView,
)
from identengine.config.schema import Switch
from identengine.server.decider.switchless import STEP, report_switchless


class Calls:
    """A set of calls that holds these legs, and counts the steps of a walk."""

    def __init__(self, *legs: LegView) -> None:
        self.legs = legs
        self.steps = 0

    def page(self, cursor: int, count: int, wanted: LegFilter) -> tuple[list[LegView], int | None]:
        self.steps += 1
        page = [leg for leg in self.legs[cursor : cursor + count] if leg.state in wanted.states]
        return page, cursor + count if cursor + count < len(self.legs) else None


def leg(switch: str, scope: str | None = None, state: State = RESERVED) -> LegView:
    return LegView(call_key(scope or switch, "c"), "o", switch, state, 1, (1,), 0.0, 1.0)


def logged(caplog: pytest.LogCaptureFixture, calls: Calls, *switches: Switch) -> list[str]:
    caplog.set_level("DEBUG", "identengine")
    asyncio.run(report_switchless(calls, switches))  # type: ignore[arg-type]
    return caplog.messages


def switch(name: str, scope: str | None = None) -> Switch:
    return Switch(name=name, scope=scope or name, networks=())


def test_nothing_is_logged_if_every_leg_has_its_switch(caplog: pytest.LogCaptureFixture) -> None:
    legs = leg("a"), leg("b", "ab"), leg("gone", state=LAPSED)
    assert logged(caplog, Calls(*legs), switch("a"), switch("b", "ab")) == []
    assert logged(caplog, Calls(), switch("a")) == []


@pytest.mark.parametrize("now", ["removed", "renamed", "of another scope"])
def test_legs_of_a_switch_that_is_gone(caplog: pytest.LogCaptureFixture, now: str) -> None:
    left = {"removed": [], "renamed": [switch("new", "old")], "of another scope": [switch("old", "new")]}[now]
    (line,) = logged(caplog, Calls(leg("old"), leg("a"), leg("old")), switch("a"), *left)
    assert line.startswith('held legs without a switch in the config: 2 (2 of "old"); they are freed when')


def test_the_line_is_bounded_and_the_walk_in_steps(caplog: pytest.LogCaptureFixture) -> None:
    legs = [leg(f"s{n}") for n in range(1000) for _ in range(3 if n < 2 else 1)]
    calls = Calls(*legs)
    (line,) = logged(caplog, calls, switch("a"))
    assert '1004 (3 of "s0", 3 of "s1", 1 of "s2", 1 of "s3", 1 of "s4", 995 of 995 other switches)' in line
    assert calls.steps == len(legs) // STEP + 1
