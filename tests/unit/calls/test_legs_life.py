"""The table of a leg's life in identengine.calls, tested cell by cell with each backend (engine.md 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from support.backends import BACKENDS, Set

from identengine.calls import STATES, TRANSITIONS
from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    LegResult,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
)
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.overview import (
    LegFilter,
    LegView,
)
from identengine.model.records import Decision, Direction

ORIG = Direction.ORIGINATION
BEFORE, SPEAKS = "s1", "s2"
"""The switch that moved the leg to its state, and the switch that sends the event."""
LENGTH = {"reserved": 2.0, "active": 4.0, "lapsed": 24 * 3600.0}
NAMES = {RESERVED: "reserved", ACTIVE: "active", LAPSED: "lapsed"}
CALL = call_key("scope", "call")
WHOLE = LegSelector(CALL, None, None)
CLIENT = ClientLevels(client_counters(1, ORIG))
OPEN, FULL = (Levels(account_counter(7, ORIG), most, None, CLIENT) for most in (None, 0))
CELLS = [
    pytest.param(event, state, cell, id=f"{event} | {state}")
    for event, row in TRANSITIONS.items()
    for state, cell in zip(STATES, row[:-1], strict=True)
    if cell != "-"
]


class Life:
    """A leg in one state, and the event that follows."""

    def __init__(self, backend: str, event: str, state: str) -> None:
        self.now = 1000.0
        self.event = event
        grace = 60.0 if "grace" in event else 1.0
        lapsed_max = 0 if "max 0" in event else 1000
        settings = Settings(
            max_legs=100, reserved=LENGTH["reserved"], active=LENGTH["active"], grace=grace, lapsed_max=lapsed_max
        )
        self.running = BACKENDS[backend](settings, self.now)
        if "late" in event:
            self.say(Stop(WHOLE))
        if "again" in event:
            self.say(SwitchReset(BEFORE))
        if state != "none":
            self.say(Admit(CALL, "o", BEFORE, b"content", Decision(accepted=True), OPEN))
        if state == "active":
            self.say(Refresh("start", WHOLE, BEFORE, None, None, lambda *_: OPEN))
        if state == "lapsed":
            self.now += LENGTH["reserved"] + 0.5
            self.work()
        self.now += 0.5

    @property
    def calls(self) -> Set:
        return self.running.calls

    def say(self, message: Admit | Refresh | Stop | SyncPart | SwitchReset) -> CallsAnswer:
        (answer,) = self.calls.apply([message], self.now)
        return answer

    def work(self) -> None:
        while self.calls.work(self.now):
            pass

    def leg(self) -> LegView | None:
        found = self.calls.matching(WHOLE, LegFilter())
        assert len(found) <= 1
        return found[0] if found else None

    def counted(self) -> int:
        """Return how often the leg is counted, which must be the same on each level."""
        held = self.calls.gauges().held
        expected = [(OPEN.counter, held)] if held else []
        assert (self.calls.usage("accounts", 0, 100) or []) == expected
        clients = dict(self.calls.usage("clients", 0, 100) or ())
        assert clients == (dict.fromkeys(CLIENT.counters, held) if held else {})
        return held

    def happen(self) -> CallsAnswer | None:
        """Send the event. Return the answer, or None if the event has none."""
        event = self.event
        levels = FULL if "full" in event else OPEN
        if event.startswith("authorize"):
            content = b"other" if "other" in event or "full" in event else b"content"
            return self.say(Admit(CALL, "o", SPEAKS, content, Decision(accepted=True), levels))
        if event.startswith(("start", "update")):
            identify = (lambda: levels) if "fields" in event else None
            method: Literal["start", "update"] = "start" if event.startswith("start") else "update"
            return self.say(Refresh(method, WHOLE, SPEAKS, None, identify, lambda *_: levels))
        if event == "stop":
            return self.say(Stop(WHOLE))
        if event == "sync lists":
            return self.say(SyncPart(SPEAKS, "list", 1, 1, (WHOLE,), False))
        if event.startswith("sync omits"):
            answer = self.say(SyncPart(BEFORE, "list", 1, 1, (), True))
            if event != "sync omits":
                assert answer == LegResult(True, missing=0, freed=0)
                self.now += 1.0
                if "update" in event:
                    self.say(Refresh("update", WHOLE, BEFORE, None, None, lambda *_: levels))
                answer = self.say(SyncPart(BEFORE, "next list", 1, 1, (), True))
            return answer
        if event.startswith("switch_up"):
            return self.say(SwitchReset(BEFORE))
        assert event.startswith("time ends")
        leg = self.leg()
        assert leg is not None
        self.now = leg.due + 0.5
        self.work()
        return None


@pytest.fixture(params=sorted(BACKENDS))
def life(request: pytest.FixtureRequest, event: str, state: str) -> Iterator[Life]:
    made = Life(request.param, event, state)
    yield made
    made.running.close()


@pytest.mark.parametrize(("event", "state", "cell"), CELLS)
def test_a_cell_of_the_table(life: Life, event: str, state: str, cell: str) -> None:
    after, *words = cell.split()
    assert set(words) <= {"+1", "-1", "new", "refused", "unknown", "missing"}
    leg, counted = life.leg(), life.counted()
    assert (NAMES[leg.state] if leg else "none") == state
    assert counted == (state in ("reserved", "active"))

    answer = life.happen()

    found = life.leg()
    assert (NAMES[found.state] if found else "none") == after
    change = ("+1" in words) - ("-1" in words)
    assert life.counted() == counted + change
    if found is not None:
        if "new" in words:
            assert found.due == life.now + LENGTH[after]
        else:
            assert leg is not None
            assert found.due == leg.due
        speaks = event.startswith(("authorize", "start", "update", "sync lists")) and "refused" not in words
        assert found.switch == (SPEAKS if speaks else BEFORE)
    assert isinstance(answer, Refused) == ("refused" in words)
    if event.startswith(("start", "update", "stop", "sync", "switch")):
        assert isinstance(answer, LegResult)
        assert answer.unknown == ("unknown" in words)
        assert answer.overcommit == ("full" in event and "+1" in words)
        assert bool(answer.missing) == ("missing" in words)
        assert (answer.freed or 0) == ("-1" in words)


def test_the_table_names_every_message_and_no_state_twice() -> None:
    events = " ".join(TRANSITIONS)
    methods = ("authorize", "start", "update", "stop", "sync lists", "sync omits", "switch_up/down", "time ends")
    assert all(method in events for method in methods)
    assert {cell.split()[0] for row in TRANSITIONS.values() for cell in row[:-1]} <= {*STATES, "-"}
