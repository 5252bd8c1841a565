"""A full set of calls admits no call, serves messages that free calls, and alarms the operator (engine.md 5.8)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.clocks import Clocks
from support.server import Server, serving
from support.switch import Switch, request
from support.waiting import wait_for

from identengine.model.records import Client

FULL = '[calls]\npath = "calls"\nmax_legs = 10\nreserved = 100\nactive = 1000\n'
OVERLOAD = {"accepted": False, "reason": "overload", "sip_code": 503, "q850": 42}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, FULL) as running:
        yield running


@pytest.fixture
def switch(server: Server) -> Iterator[Switch]:
    with server.switch() as opened:
        for number in range(10):
            assert opened.authorize(f"c{number}")["accepted"]
        yield opened


def test_a_full_set_admits_no_call_until_one_ends(switch: Switch) -> None:
    refused = switch.authorize("more")
    assert {name: refused[name] for name in OVERLOAD} == OVERLOAD
    assert switch.ask("identify", src_ip="10.0.0.1", dst_number="44")["accepted"], "identify takes no slot"
    assert switch.authorize("c3")["accepted"], "a retransmission takes no further slot"
    assert switch.ask("authorize", call_id="c3", src_ip="10.0.0.1", dst_number="45")["accepted"], (
        "changed content takes no further slot"
    )
    assert switch.ask("start", call_id="c1") == {"ok": True}
    assert switch.ask("update", call_id="c2", interval=60) == {"ok": True}
    assert switch.authorize("more")["reason"] == "overload"
    assert switch.ask("stop", call_id="c1") == {"ok": True, "freed": 1}
    assert switch.ask("stop", call_id="c2") == {"ok": True, "freed": 1}
    assert switch.ask("stop", call_id="unknown") == {"ok": True, "unknown": True, "freed": 0}
    assert [switch.authorize(f"new {number}")["accepted"] for number in range(3)] == [True, True, False]


def test_a_full_set_serves_lists_and_resets(switch: Switch) -> None:
    assert switch.sync("1", *[f"c{number}" for number in range(10)]) == {"ok": True, "missing": 0, "freed": 0}
    assert switch.authorize("more")["reason"] == "overload"
    assert switch.ask("switch_down") == {"ok": True, "freed": 10}
    assert switch.authorize("more")["accepted"]


def test_a_call_without_an_id_takes_no_slot(switch: Switch) -> None:
    assert switch.ask("authorize", src_ip="10.0.0.1", dst_number="44")["unreserved"] is True


def test_a_full_set_is_emptied_by_leases(folder: Path, clocks: Clocks) -> None:
    with serving(folder, FULL) as server, server.switch() as switch:
        for number in range(10):
            switch.authorize(f"c{number}")
        assert switch.authorize("more")["reason"] == "overload"
        clocks.forward(102)
        wait_for(lambda: switch.authorize("more")["accepted"])
        for number in range(1, 10):
            assert switch.authorize(f"more {number}")["accepted"]
        assert switch.ask("start", call_id="c3")["ok"] is True, (
            "a start of a call that was rejected is not an error"
        )
        assert switch.authorize("one more")["reason"] == "overload"


def test_a_full_set_is_still_full_after_a_restart(folder: Path) -> None:
    server = Server(folder, FULL)
    with server.switch() as switch:
        for number in range(10):
            switch.activate(f"c{number}")
    server.kill()
    with serving(folder, FULL) as again, again.switch() as switch:
        assert switch.authorize("more")["reason"] == "overload"
        assert switch.stop(*[f"c{number}" for number in range(10)]) == [f"c{number}" for number in range(10)]
        assert switch.authorize("more")["accepted"]


def test_a_set_full_of_stops_still_accepts_stops(folder: Path) -> None:
    """Stops are remembered for a minute, and an attacker may stop calls that never existed."""
    with serving(folder, FULL) as server, server.switch() as switch:
        stops = (request("stop", n, call_id=f"never {n} {'x' * 200}") for n in range(60_000))
        assert all(answer == {"ok": True, "unknown": True, "freed": 0} for answer in switch.burst(stops))
        for number in range(10):
            switch.activate(f"c{number}")
        assert switch.stop("c1", "c7") == ["c1", "c7"]


def test_the_operator_gets_one_alarm_and_one_end_of_alarm(server: Server, switch: Switch) -> None:
    for number in range(100):
        assert switch.authorize(f"more {number}")["reason"] == "overload"
    wait_for(lambda: "max_legs" in server.log, 3)
    assert server.log.count("ALARM") == 1
    assert "10" in server.log.partition("ALARM")[2].partition("\n")[0], "the alarm names the number of legs"
    switch.ask("switch_down")
    assert switch.authorize("more")["accepted"]
    server.logged("over")
    assert server.log.count("ALARM") == 1


def test_lapsed_legs_take_no_space_from_held_legs(folder: Path, clocks: Clocks) -> None:
    """At most ``lapsed_max`` legs are remembered, by default a million, and their ids may be long."""
    config = FULL.replace("max_legs = 10\n", "max_legs = 3000\n")
    with serving(folder, config) as server, server.switch() as switch:
        for round_ in range(25):
            ids = [f"{round_} {number} {'x' * 220}" for number in range(3000)]
            asked = (
                request("authorize", n, call_id=call_id, src_ip="10.0.0.1", dst_number="44")
                for n, call_id in enumerate(ids)
            )
            assert all(answer["accepted"] for answer in switch.burst(asked)), round_
            clocks.forward(102)

            def has_room(round_: int = round_) -> bool:
                accepted = switch.authorize(f"next {round_}")["accepted"]
                return bool(accepted) and switch.ask("stop", call_id=f"next {round_}")["freed"] == 1

            wait_for(has_room, 5)
            wait_for(lambda ids=ids: switch.ask("stop", call_id=ids.pop())["freed"] == 0, 5)  # type: ignore[misc]


def test_a_limit_on_the_size_of_files_is_reported_like_a_full_disk(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, before[1]))
    try:
        server = Server(folder, FULL.replace("max_legs = 10\n", "max_legs = 100000\n"), ready=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert server.ended() == 1
    assert "MiB" in server.log
    assert "max_legs" in server.log
    assert not list((folder / "calls").glob("calls.mdb*"))
