"""``sync``, ``switch_up``, ``switch_down``: what frees calls without a stop, by the sentence (engine.md 5.6)."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.clocks import Clocks, clocks
from support.server import Server, serving
from support.switch import TCP, UDP, Switch, request
from support.thorough import times
from support.waiting import wait_for

from identengine.model.records import Client

__all__ = ["clocks"]

A, B = "127.0.0.1", "127.0.0.2"
SWITCHES = """
[[switch]]
name = "a"
addresses = ["127.0.0.1"]
[[switch]]
name = "b"
addresses = ["127.0.0.2"]
"""
PAIR = SWITCHES.replace("addresses", 'scope = "pair"\naddresses')
ACCOUNTS = [ip_account(1, "10.0.0.1"), ip_account(2, "10.0.0.2", orig_capacity=1), ip_account(3, "10.0.0.3")]


def calls(**settings: int) -> str:
    """Return the section of the config; no grace time unless one is named."""
    known = {"max_legs": 1000, "grace": 0} | settings
    return '[calls]\npath = "calls"\n' + "".join(f"{name} = {value}\n" for name, value in known.items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, calls() + SWITCHES) as running:
        yield running


@pytest.fixture
def switch(server: Server) -> Iterator[Switch]:
    with server.switch() as opened:
        yield opened


# ---- what a list frees -------------------------------------------------------------------------------------


def test_only_two_complete_lists_in_a_row_free_a_leg(switch: Switch) -> None:
    switch.activate("a", "b")
    assert switch.sync("1", "b")["freed"] == 0
    assert switch.sync("2", "a", "b")["freed"] == 0
    assert switch.sync("3", "b")["freed"] == 0, "the one before had it"
    assert switch.ask("sync", list_id="4", part=1, parts=2, calls=[["b"]]).get("freed") is None, "not complete"
    assert switch.sync("5", "b")["freed"] == 1
    assert switch.stop("a", "b") == ["b"]


@pytest.mark.parametrize("method", ["start", "update"])
def test_a_start_or_update_in_between_saves_it(switch: Switch, method: str) -> None:
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
        assert switch.authorize("c", "10.0.0.2")["reason"] == "account_capacity", "a holds its slot again"
        clocks.forward(90)
        assert switch.stop("a") == ["a"], "with a whole lease"


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


def test_a_list_that_came_once_already_renews_nothing(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        switch.sync("1", "a")
        clocks.forward(90)
        switch.sync("1", "a")
        clocks.forward(12)
        wait_for(lambda: switch.authorize("b", "10.0.0.2")["accepted"])


def test_an_empty_list_wants_to_be_confirmed(switch: Switch) -> None:
    switch.activate("a")
    for number in range(3):
        assert switch.sync(f"{number}").get("freed", 0) == 0
    assert switch.sync("0", confirm_empty=True)["freed"] == 0, (
        "the first one that counts, since none came till now"
    )
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
    assert switch.sync("2", "a", "two")["missing"] == 1, "what was stopped is not known"
    assert switch.stop("two") == ["two"]


# ---- parts -------------------------------------------------------------------------------------------------


def part(switch: Switch, list_id: str, number: int, parts: int, *call_ids: str) -> dict[str, Any]:
    listed = [[call_id] for call_id in call_ids]
    return switch.ask("sync", list_id=list_id, part=number, parts=parts, calls=listed)


def test_parts_in_any_order_and_repeated(switch: Switch) -> None:
    switch.activate("a", "b", "c", "d")
    for list_id, freed in (("1", 0), ("2", 1)):
        assert part(switch, list_id, 3, 3, "c", "no") == {"ok": True, "missing": 1}
        assert part(switch, list_id, 1, 3, "a") == {"ok": True, "missing": 0}
        assert part(switch, list_id, 3, 3, "c", "no") == {"ok": True, "missing": 1}
        assert part(switch, list_id, 1, 3, "a") == {"ok": True, "missing": 0}
        assert part(switch, list_id, 2, 3, "b") == {"ok": True, "missing": 0, "freed": freed}
        assert part(switch, list_id, 2, 3, "b").get("freed", 0) == 0, "the answer was lost, it asks again"
    assert switch.stop("a", "b", "c", "d") == ["a", "b", "c"]


def test_a_list_whose_parts_took_over_a_minute_never_came(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=100) + SWITCHES) as server, server.switch() as switch:
        switch.activate("a", "b")
        assert switch.sync("1", "b")["freed"] == 0
        clocks.forward(30)
        assert part(switch, "2", 1, 2, "b") == {"ok": True, "missing": 0}
        clocks.forward(61)
        assert part(switch, "2", 2, 2, "no").get("freed", 0) == 0, "else it would free a"
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


def test_a_list_that_broke_off_does_not_hinder_the_next(switch: Switch) -> None:
    switch.activate("a", "b", "c")
    switch.sync("1", "b", "c")
    part(switch, "2", 1, 3, "b")
    part(switch, "3", 1, 2, "b")
    assert part(switch, "3", 2, 2, "c")["freed"] == 1
    assert switch.stop("a", "b", "c") == ["b", "c"]


def test_a_late_part_of_a_list_that_broke_off_does_not_break_the_next(switch: Switch) -> None:
    """All parts of the second list come within a minute, so it counts; over UDP an old part may be late."""
    switch.activate("a", "b", "c")
    switch.sync("1", "b", "c")
    part(switch, "2", 1, 3, "b")
    part(switch, "3", 1, 2, "b")
    part(switch, "2", 1, 3, "b")
    assert part(switch, "3", 2, 2, "c").get("freed") == 1


def test_two_lists_whose_parts_come_by_turns(switch: Switch) -> None:
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
            assert part(switch, "2", 1, 2, "b")["freed"] == 1, "as if it never came, it may come whole"
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


def hold(switch: Switch, ids: list[str], source: str = "10.0.0.1") -> None:
    """Have many calls, all active: told by a start that says whose they are."""
    told = (request("start", n, call_id=call_id, src_ip=source, dst_number="44") for n, call_id in enumerate(ids))
    assert all(answer.get("unknown", False) is False for answer in switch.burst(told))


# ---- whose legs --------------------------------------------------------------------------------------------


def test_lists_of_other_switches_do_not_touch_a_leg(server: Server, switch: Switch) -> None:
    with server.switch(address=B) as other:
        switch.activate("a")
        for number in range(3):
            assert other.sync(f"{number}", confirm_empty=True)["freed"] == 0
            assert other.sync(f"{number} a", "a")["missing"] == 1, "call ids are each switch's own"
        switch.sync("1", confirm_empty=True)
        other.sync("1", confirm_empty=True)
        assert switch.sync("2", "b")["freed"] == 1


def test_list_ids_are_each_switch_s_own(server: Server, switch: Switch) -> None:
    with server.switch(address=B) as other:
        switch.activate("a")
        other.activate("a")
        assert [switch.sync("1", "x")["freed"], other.sync("1", "x")["freed"]] == [0, 0]
        assert part(switch, "2", 1, 2, "x").get("freed") is None
        assert part(other, "2", 2, 2, "x").get("freed") is None, "a part of another list"
        assert [part(switch, "2", 2, 2)["freed"], part(other, "2", 1, 2)["freed"]] == [1, 1]


@pytest.mark.parametrize("way", ["authorize", "start", "update", "sync", "authorize anew"])
def test_of_a_pair_a_leg_belongs_to_the_one_that_spoke_of_it_last(folder: Path, way: str) -> None:
    with serving(folder, calls() + PAIR) as server, server.switch() as first, server.switch(address=B) as second:
        assert first.authorize("a")["accepted"]
        if way == "authorize":
            assert second.authorize("a")["accepted"], "a retransmission that the other half sends"
        elif way == "authorize anew":
            assert second.ask("authorize", call_id="a", src_ip="10.0.0.1", dst_number="45")["accepted"]
        elif way == "sync":
            assert second.sync("1", "a")["missing"] == 0
        else:
            assert second.ask(way, call_id="a") == {"ok": True}
        if way not in ("authorize", "authorize anew"):
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
        assert other.ask("switch_down")["freed"] == 1, "another's is no repeat"
    server.kill()
    with serving(folder, config) as again, again.switch() as switch:
        assert switch.ask("switch_down")["freed"] == 0
        clocks.forward(11)
        assert switch.ask("switch_down")["freed"] == 1
        assert switch.stop("b") == []


# ---- many at once ------------------------------------------------------------------------------------------


class Asking:
    """A switch that asks one call after another from a thread, and sees how long each waited."""

    def __init__(self, server: Server) -> None:
        self.answered = 0
        self.longest = 0.0
        self._end = threading.Event()
        self._switch = server.switch(address=B)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.perf_counter()
            assert self._switch.authorize(f"busy {self.answered}", "10.0.0.3")["accepted"]
            self.longest = max(self.longest, time.perf_counter() - began)
            assert self._switch.ask("stop", call_id=f"busy {self.answered}")["freed"] == 1
            self.answered += 1

    def __enter__(self) -> Asking:
        self._thread.start()
        wait_for(lambda: self.answered > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._switch.close()


@pytest.mark.parametrize("way", ["tcp, half closed", "tcp, sigterm", "udp, sigterm"])
def test_an_answer_that_takes_its_time_is_given_at_the_end_too(folder: Path, way: str) -> None:
    with serving(folder, calls(max_legs=20_100) + SWITCHES) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(20_000)])
        with server.switch(UDP if way.startswith("udp") else TCP) as peer:
            peer.send(request("switch_down", 7))
            if way.endswith("sigterm"):
                assert switch.ask("ping")["pid"] == server.decider  # so that the other was taken up
                server.signal(signal.SIGTERM)
            else:
                peer.end_sending()
            assert peer.receive() == {
                "jsonrpc": "2.0",
                "id": 7,
                "result": {"ok": True, "freed": 20_000},
            }


def test_very_many_legs_are_freed_while_others_ask(folder: Path) -> None:
    count = times(100_000, 30_000)
    with serving(folder, calls(max_legs=count + 100) + SWITCHES) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(count)])
        with Asking(server) as asking:
            asking.longest, before, began = 0.0, asking.answered, time.perf_counter()
            answer = switch.ask("switch_down")
            meanwhile, took = asking.answered - before, time.perf_counter() - began
        print(
            f"switch_down of {count} took {took:.2f} s; {meanwhile} others, longest {asking.longest * 1000:.1f} ms"
        )
        assert answer == {"ok": True, "freed": count}
        assert meanwhile > 20
        assert asking.longest < took / 2


def test_very_many_leases_lapse_while_others_ask(folder: Path, clocks: Clocks) -> None:
    count = times(100_000, 30_000)
    config = calls(max_legs=count + 100, active=1000) + SWITCHES
    with serving(folder, config) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(count)], "10.0.0.2")
        assert switch.authorize("last", "10.0.0.2")["reason"] == "account_capacity"
        with Asking(server) as asking:
            asking.longest, before, began = 0.0, asking.answered, time.perf_counter()
            clocks.forward(1002)
            wait_for(lambda: switch.authorize("last", "10.0.0.2")["accepted"])  # none is held any more
            meanwhile, took = asking.answered - before, time.perf_counter() - began
        print(f"{count} lapsed within {took:.2f} s; {meanwhile} others, longest {asking.longest * 1000:.1f} ms")
        assert meanwhile > 20
        assert asking.longest < took / 2


def killed_at_work(folder: Path, config: str, ids: list[str], before: list[bytes], message: bytes) -> None:
    """Kill a server that holds these calls as soon as it has begun with ``message``."""
    server = Server(folder, config)
    try:
        with server.switch() as switch, server.switch(address=B) as other:
            hold(switch, ids)
            switch.burst(before)
            switch.send(message)
            other.authorize("o")  # when that is answered, the message was read
    finally:
        server.kill()


def test_a_death_while_legs_are_freed(folder: Path) -> None:
    config = calls(max_legs=30_000) + SWITCHES
    ids = [f"c{number}" for number in range(20_000)]
    killed_at_work(folder, config, ids, [], request("switch_down", 0))
    with serving(folder, config) as again, again.switch() as switch:
        # Answered when what is left of the first one is done; if that never came, it frees all itself.
        switch.ask("switch_down")
        stops = switch.burst(request("stop", n, call_id=call_id) for n, call_id in enumerate(ids))
        assert sum(answer["freed"] for answer in stops) == 0


def test_a_death_while_a_list_is_compared(folder: Path) -> None:
    config = calls(max_legs=30_000) + SWITCHES
    ids = [f"c{number}" for number in range(20_000)]
    first, second = (request("sync", 0, list_id=list_id, calls=[["c7"]]) for list_id in ("1", "2"))
    killed_at_work(folder, config, ids, [first], second)
    with serving(folder, config) as again, again.switch() as switch:
        switch.sync("2", "c7")  # the answer never came, so the switch says it again
        stops = switch.burst(request("stop", n, call_id=call_id) for n, call_id in enumerate(ids))
        assert [call_id for call_id, answer in zip(ids, stops, strict=True) if answer["freed"]] == ["c7"]
