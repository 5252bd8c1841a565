"""Lists of calls (engine.md 5.6): two lists free a missing leg, and a message in between keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.sync.calls import SWITCHES, calls
from support.clocks import Clocks
from support.server import Server, serving
from support.switch import Switch
from support.waiting import wait_for


def test_only_two_complete_lists_in_a_row_free_a_leg(switch: Switch) -> None:
    switch.activate("a", "b")
    assert switch.sync("1", "b")["freed"] == 0
    assert switch.sync("2", "a", "b")["freed"] == 0
    assert switch.sync("3", "b")["freed"] == 0, "the list before had it"
    assert switch.ask("sync", list_id="4", part=1, parts=2, calls=[["b"]]).get("freed") is None, "not complete"
    assert switch.sync("5", "b")["freed"] == 1
    assert switch.stop("a", "b") == ["b"]


@pytest.mark.parametrize("method", ["start", "update"])
def test_a_start_or_update_in_between_keeps_the_leg(switch: Switch, method: str) -> None:
    switch.activate("a", "b")
    switch.sync("1", "b")
    assert switch.ask(method, call_id="a") == {"ok": True}
    assert switch.sync("2", "b")["freed"] == 0
    assert switch.sync("3", "b")["freed"] == 1


def test_a_leg_has_a_grace_time(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(grace=60) + SWITCHES) as server, server.switch() as switch:
        switch.activate("old")
        clocks.forward(50)
        switch.activate("new")
        for number in range(3):
            assert switch.sync(f"{number}", "other")["freed"] == 0
        clocks.forward(15)
        assert switch.sync("3", "other")["freed"] == 1
        assert switch.stop("old", "new") == ["new"]


def test_reserved_legs_end_by_their_lease_alone(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(reserved=200) + SWITCHES) as server, server.switch() as switch:
        assert switch.authorize("a", "10.0.0.2")["accepted"]
        for number in range(3):
            assert switch.sync(f"{number}", "other")["freed"] == 0
        assert switch.authorize("b", "10.0.0.2")["reason"] == "account_capacity"
        clocks.forward(202)
        wait_for(lambda: switch.authorize("b", "10.0.0.2")["accepted"])


def test_a_listed_leg_has_its_lease_renewed(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100, reserved=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("listed", "not listed")
        assert switch.authorize("reserved")["accepted"]
        clocks.forward(90)
        assert switch.sync("1", "listed", "reserved")["missing"] == 0
        clocks.forward(90)
        wait_for(lambda: switch.ask("stop", call_id="not listed").get("freed") == 0)
        assert switch.stop("listed", "reserved") == ["listed", "reserved"]


def test_a_lapsed_leg_that_is_listed_is_revived(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        clocks.forward(102)
        wait_for(lambda: switch.authorize("b", "10.0.0.2")["accepted"])
        assert switch.sync("1", "a") == {"ok": True, "missing": 0, "freed": 0}
        assert switch.stop("b") == ["b"]
        assert switch.authorize("c", "10.0.0.2")["reason"] == "account_capacity", "the call a holds its slot again"
        clocks.forward(90)
        assert switch.stop("a") == ["a"], "with a full lease"


def test_a_list_id_counts_once(folder: Path) -> None:
    config = calls() + SWITCHES
    server = Server(folder, config)
    with server.switch() as switch:
        switch.activate("a", "b")
        for _ in range(3):
            assert switch.sync("1", "b")["freed"] == 0
    server.kill()
    with serving(folder, config) as again, again.switch() as switch:
        assert switch.sync("1", "b")["freed"] == 0
        assert switch.sync("2", "b")["freed"] == 1
        assert switch.sync("2", "b")["freed"] == 0
        assert switch.sync("1")["freed"] == 0


def test_a_repeated_list_renews_nothing(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        switch.sync("1", "a")
        clocks.forward(90)
        switch.sync("1", "a")
        clocks.forward(12)
        wait_for(lambda: switch.authorize("b", "10.0.0.2")["accepted"])


def test_an_empty_list_must_be_confirmed(switch: Switch) -> None:
    switch.activate("a")
    for number in range(3):
        assert switch.sync(f"{number}").get("freed", 0) == 0
    assert switch.sync("0", confirm_empty=True)["freed"] == 0, "the first list that counts"
    assert switch.sync("3").get("freed", 0) == 0
    assert switch.sync("4", confirm_empty=True)["freed"] == 1
    assert switch.stop("a") == []


def test_listed_legs_that_are_not_known_are_counted(switch: Switch) -> None:
    switch.activate("a")
    switch.ask("update", call_id="two", leg_id="x", src_ip="10.0.0.1", dst_number="44")
    listed = [
        ["a"],
        ["a", None, "termination"],
        ["b"],
        ["two", "x"],
        ["two", "y"],
        ["two", "x", "origination"],
        ["two", "x", "termination"],
    ]
    assert switch.ask("sync", list_id="1", calls=listed) == {"ok": True, "missing": 4, "freed": 0}
    switch.ask("stop", call_id="a")
    assert switch.sync("2", "a", "two")["missing"] == 1, "a stopped call is not known"
    assert switch.stop("two") == ["two"]
