"""Lists in several parts (engine.md 5.6): in any order, late, incomplete, and over a death of the server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from e2e.sync.calls import SWITCHES, calls, hold, part
from support.clocks import Clocks
from support.server import Server, serving
from support.switch import Switch, request
from support.waiting import wait_for


def test_parts_in_any_order_and_repeated(switch: Switch) -> None:
    switch.activate("a", "b", "c", "d")
    for list_id, freed in (("1", 0), ("2", 1)):
        assert part(switch, list_id, 3, 3, "c", "no") == {"ok": True, "missing": 1}
        assert part(switch, list_id, 1, 3, "a") == {"ok": True, "missing": 0}
        assert part(switch, list_id, 3, 3, "c", "no") == {"ok": True, "missing": 1}
        assert part(switch, list_id, 1, 3, "a") == {"ok": True, "missing": 0}
        assert part(switch, list_id, 2, 3, "b") == {"ok": True, "missing": 0, "freed": freed}
        assert part(switch, list_id, 2, 3, "b").get("freed", 0) == 0, (
            "the answer was lost, so the switch repeats the part"
        )
    assert switch.stop("a", "b", "c", "d") == ["a", "b", "c"]


def test_a_list_whose_parts_take_over_a_minute_does_not_count(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", "b")
        assert switch.sync("1", "b")["freed"] == 0
        clocks.forward(30)
        assert part(switch, "2", 1, 2, "b") == {"ok": True, "missing": 0}
        clocks.forward(61)
        assert part(switch, "2", 2, 2, "no").get("freed", 0) == 0, "otherwise it would free the call a"
        assert switch.ask("update", call_id="a")["ok"]
        clocks.forward(11)
        wait_for(lambda: switch.ask("stop", call_id="b").get("freed") == 0)  # 102 s after the list that named it
        assert switch.sync("3", "no")["freed"] == 0, "the first one after the update"
        assert switch.sync("4", "no")["freed"] == 1


def test_parts_within_a_minute_are_one_list(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls() + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", "b")
        switch.sync("1", "b")
        part(switch, "2", 1, 2, "b")
        clocks.forward(58)
        assert part(switch, "2", 2, 2)["freed"] == 1


def test_an_incomplete_list_does_not_affect_the_next(switch: Switch) -> None:
    switch.activate("a", "b", "c")
    switch.sync("1", "b", "c")
    part(switch, "2", 1, 3, "b")
    part(switch, "3", 1, 2, "b")
    assert part(switch, "3", 2, 2, "c")["freed"] == 1
    assert switch.stop("a", "b", "c") == ["b", "c"]


def test_a_late_part_of_an_incomplete_list_does_not_affect_the_next(switch: Switch) -> None:
    """All parts of the second list arrive within a minute, so it counts. Over UDP an old part may be late."""
    switch.activate("a", "b", "c")
    switch.sync("1", "b", "c")
    part(switch, "2", 1, 3, "b")
    part(switch, "3", 1, 2, "b")
    part(switch, "2", 1, 3, "b")
    assert part(switch, "3", 2, 2, "c").get("freed") == 1


def test_two_lists_whose_parts_alternate(switch: Switch) -> None:
    switch.activate("a", "b")
    for number in (1, 2):
        part(switch, "1", number, 3, "b")
        part(switch, "2", number, 3, "b")
    assert part(switch, "1", 3, 3).get("freed") == 0
    assert part(switch, "2", 3, 3).get("freed") == 1


def test_parts_over_the_death_of_the_server(folder: Path) -> None:
    config = calls() + SWITCHES
    server = Server(folder, config)
    with server.switch() as switch:
        switch.activate("a", "b", "c")
        assert switch.sync("1", "b", "c")["freed"] == 0
        part(switch, "2", 1, 2, "b")
    server.kill()
    with serving(folder, config) as again, again.switch() as switch:
        survived = part(switch, "2", 2, 2, "c").get("freed")
        if survived is None:
            assert part(switch, "2", 1, 2, "b")["freed"] == 1, "the list can be sent again from the beginning"
        else:
            assert survived == 1
        assert switch.stop("a", "b", "c") == ["b", "c"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_list_of_twenty_thousand(folder: Path, transport: str) -> None:
    count, size = 20_000, 1000
    ids = [f"call {number:05}@sbc.example" for number in range(count)]
    kept = [call_id for number, call_id in enumerate(ids) if number % 100]
    parts = [kept[start : start + size] for start in range(0, len(kept), size)]
    with serving(folder, calls(max_legs=30_000) + SWITCHES) as server, server.switch() as switch:
        hold(switch, ids)

        def said(list_id: str, number: int) -> bytes:
            listed = [[call_id, None, "origination"] for call_id in parts[number]]
            return request("sync", number, list_id=list_id, part=number + 1, parts=len(parts), calls=listed)

        freed: list[int] = []
        for list_id in ("1", "2"):
            order = list(range(len(parts)))
            random.Random(list_id).shuffle(order)
            messages = [said(list_id, number) for number in order]
            if transport == "tcp":
                answers = switch.burst(messages)
            else:
                answers = [server.ask_udp(message)["result"] for message in messages]
            assert all(answer["missing"] == 0 for answer in answers)
            freed += [answer["freed"] for answer in answers if answer.get("freed") is not None]
        assert freed == [0, count // 100]
        assert switch.ask("switch_down") == {"ok": True, "freed": len(kept)}
