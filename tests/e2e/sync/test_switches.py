"""Lists and calls of several switches (engine.md 5.7): each has its own, and a pair shares them."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.sync.calls import SWITCHES, B, calls, part
from support.clocks import Clocks
from support.server import Server, serving
from support.switch import Switch, request

PAIR = SWITCHES.replace("addresses", 'scope = "pair"\naddresses')


def test_lists_of_other_switches_do_not_touch_a_leg(server: Server, switch: Switch) -> None:
    with server.switch(address=B) as other:
        switch.activate("a")
        for number in range(3):
            assert other.sync(f"{number}", confirm_empty=True)["freed"] == 0
            assert other.sync(f"{number} a", "a")["missing"] == 1, "each switch has its own call ids"
        switch.sync("1", confirm_empty=True)
        other.sync("1", confirm_empty=True)
        assert switch.sync("2", "b")["freed"] == 1


def test_each_switch_has_its_own_list_ids(server: Server, switch: Switch) -> None:
    with server.switch(address=B) as other:
        switch.activate("a")
        other.activate("a")
        assert [switch.sync("1", "x")["freed"], other.sync("1", "x")["freed"]] == [0, 0]
        assert part(switch, "2", 1, 2, "x").get("freed") is None
        assert part(other, "2", 2, 2, "x").get("freed") is None, "a part of another list"
        assert [part(switch, "2", 2, 2)["freed"], part(other, "2", 1, 2)["freed"]] == [1, 1]


@pytest.mark.parametrize("way", ["authorize", "start", "update", "sync", "authorize again"])
def test_a_leg_of_a_pair_belongs_to_the_switch_of_the_last_message(folder: Path, way: str) -> None:
    with serving(folder, calls() + PAIR) as server, server.switch() as first, server.switch(address=B) as second:
        assert first.authorize("a")["accepted"]
        if way == "authorize":
            assert second.authorize("a")["accepted"], "a retransmission by the other switch of the pair"
        elif way == "authorize again":
            assert second.ask("authorize", call_id="a", src_ip="10.0.0.1", dst_number="45")["accepted"]
        elif way == "sync":
            assert second.sync("1", "a")["missing"] == 0
        else:
            assert second.ask(way, call_id="a") == {"ok": True}
        if way not in ("authorize", "authorize again"):
            second.ask("start", call_id="a")
            for number in range(3):
                assert first.sync(f"f{number}", confirm_empty=True)["freed"] == 0
        assert first.ask("switch_down")["freed"] == 0
        assert second.ask("switch_up")["freed"] == 1
        assert first.stop("a") == []


def test_either_of_a_pair_may_stop_and_it_counts_once(folder: Path) -> None:
    with serving(folder, calls() + PAIR) as server, server.switch() as first, server.switch(address=B) as second:
        assert first.authorize("a", "10.0.0.2")["accepted"]
        assert second.authorize("a", "10.0.0.2")["accepted"]
        assert first.authorize("b", "10.0.0.2")["reason"] == "account_capacity"
        assert second.ask("stop", call_id="a") == {"ok": True, "freed": 1}
        assert first.authorize("b", "10.0.0.2")["accepted"]


@pytest.mark.parametrize("method", ["switch_up", "switch_down"])
def test_a_switch_frees_its_own_older_legs(server: Server, method: str) -> None:
    with server.switch() as switch, server.switch(address=B) as other:
        switch.activate("active")
        switch.authorize("reserved")
        other.activate("active")
        other.authorize("reserved")
        old = request("authorize", 1, call_id="old", src_ip="10.0.0.1", dst_number="44")
        new = request("authorize", 3, call_id="new", src_ip="10.0.0.1", dst_number="44")
        answers = switch.burst([old, request(method, 2), new])
        assert answers[1] == {"ok": True, "freed": 3}
        assert switch.stop("active", "reserved", "old", "new") == ["new"]
        assert other.stop("active", "reserved") == ["active", "reserved"]


def test_a_repeat_within_ten_seconds_frees_nothing(folder: Path, clocks: Clocks) -> None:
    config = calls() + SWITCHES
    server = Server(folder, config)
    with server.switch() as switch, server.switch(address=B) as other:
        switch.activate("a")
        assert switch.ask("switch_down")["freed"] == 1
        switch.activate("b")
        other.activate("o")
        assert switch.ask("switch_down")["freed"] == 0
        assert other.ask("switch_down")["freed"] == 1, "a message of another switch is not a repetition"
    server.kill()
    with serving(folder, config) as again, again.switch() as switch:
        assert switch.ask("switch_down")["freed"] == 0
        clocks.forward(11)
        assert switch.ask("switch_down")["freed"] == 1
        assert switch.stop("b") == []
