"""Calls that are held: limits, starts and stops, and the state after a server was killed (engine.md 5)."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import request

from identengine.model.records import Client

CLIENTS = [Client(id=1, name="one", capacity=10_000), Client(id=2, name="two", parent_id=1, capacity=3)]
ACCOUNTS = [
    ip_account(1, "10.0.0.1", orig_capacity=1),
    ip_account(2, "10.0.0.2", client_id=2),
    ip_account(3, "10.0.0.3"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", ACCOUNTS, CLIENTS)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running


def told(server: Server, method: str, **params: object) -> dict[str, Any]:
    """Return the result of a method over TCP."""
    with server.tcp() as tcp:
        tcp.send(request(method, 1, **params))
        answer: dict[str, Any] = tcp.answers(1)[0]
    result: dict[str, Any] = answer["result"]
    return result


def asked(server: Server, call_id: str, source: str = "10.0.0.1", **params: object) -> dict[str, Any]:
    return told(server, "authorize", call_id=call_id, src_ip=source, dst_number="44171", **params)


def test_a_limit_is_reached_and_a_stop_makes_room(server: Server) -> None:
    first = asked(server, "a")
    assert (first["accepted"], first["lease"], first.get("unreserved")) == (True, 200, None)
    refused = asked(server, "b")
    assert (refused["reason"], refused["sip_code"], refused["account_id"]) == ("account_capacity", 480, 1)
    assert asked(server, "a") == first, "a retransmission gets the same answer"
    assert told(server, "start", call_id="a") == {"ok": True}
    active = asked(server, "a")
    assert (active["reason"], active["field"], active["value"]) == ("invalid_request", "call_id", "a")
    assert told(server, "stop", call_id="a") == {"ok": True, "freed": 1}
    assert told(server, "stop", call_id="a") == {"ok": True, "unknown": True, "freed": 0}
    assert told(server, "start", call_id="a", src_ip="10.0.0.1", dst_number="44") == {"ok": True, "unknown": True}
    assert asked(server, "b")["accepted"]


def test_levels_above_the_account(server: Server) -> None:
    for number in range(3):
        assert asked(server, f"two {number}", "10.0.0.2")["accepted"]
    assert asked(server, "two more", "10.0.0.2")["reason"] == "client_capacity"
    assert told(server, "stop", call_id="two 1")["freed"] == 1
    assert asked(server, "two more", "10.0.0.2")["accepted"]


def test_a_call_that_exists_is_counted_over_the_limit(server: Server) -> None:
    assert asked(server, "a")["accepted"]
    late = told(server, "update", call_id="late", interval=60, src_ip="10.0.0.1", dst_number="44")
    assert late == {"ok": True, "overcommit": True}
    told(server, "stop", call_id="a")
    assert asked(server, "b")["reason"] == "account_capacity"
    assert told(server, "switch_down") == {"ok": True, "freed": 1}
    assert told(server, "switch_down") == {"ok": True, "freed": 0}
    assert asked(server, "b")["accepted"]


def test_a_list_frees_what_it_lacks_twice(folder: Path) -> None:
    with serving(folder, '[calls]\npath = "calls"\nmax_legs = 1000\ngrace = 0\n') as server:
        asked(server, "a")
        told(server, "start", call_id="a")
        told(server, "update", call_id="b", src_ip="10.0.0.3", dst_number="44")
        assert told(server, "sync", list_id="1", calls=[["b"], ["c"]]) == {"ok": True, "missing": 1, "freed": 0}
        assert told(server, "sync", list_id="1", calls=[["b"]]) == {"ok": True, "missing": 0, "freed": 0}
        part = {"list_id": "2", "parts": 2, "confirm_empty": True}
        assert told(server, "sync", part=1, calls=[["b", None, "origination"]], **part) == {
            "ok": True,
            "missing": 0,
        }
        assert told(server, "sync", part=2, calls=[], **part) == {"ok": True, "missing": 0, "freed": 1}
        assert asked(server, "d")["accepted"]


def test_what_comes_together_is_decided_as_if_one_by_one(server: Server) -> None:
    messages = [
        request("authorize", 0, call_id="a", src_ip="10.0.0.1", dst_number="44"),
        request("authorize", 1, call_id="b", src_ip="10.0.0.1", dst_number="44"),
        request("stop", 2, call_id="a"),
        request("authorize", 3, call_id="b", src_ip="10.0.0.1", dst_number="44"),
    ]
    with server.tcp() as tcp:
        tcp.send(*messages)
        results = [answer["result"] for answer in tcp.answers(4)]
    assert [result.get("accepted", result.get("freed")) for result in results] == [True, False, 1, True]


def test_of_many_at_once_exactly_one_gets_the_last_slot(server: Server) -> None:
    for round_ in range(20):
        barrier = threading.Barrier(50)
        accepted: list[str] = []

        def ask(
            worker: int, round_: int = round_, barrier: threading.Barrier = barrier, accepted: list[str] = accepted
        ) -> None:
            calls = [f"{round_}-{worker}-{n}" for n in range(20)]
            with server.tcp() as tcp:
                burst = [request("authorize", c, call_id=c, src_ip="10.0.0.1", dst_number="44") for c in calls]
                barrier.wait()
                tcp.send(*burst)
                answers = tcp.answers(len(calls))
                accepted += [answer["id"] for answer in answers if answer["result"]["accepted"]]

        workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(50)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        (winner,) = accepted
        assert told(server, "stop", call_id=winner)["freed"] == 1


def test_calls_outlive_a_server_that_is_killed(folder: Path) -> None:
    config = '[calls]\npath = "calls"\nmax_legs = 20000\n'
    count = 10_000  # the limit of the client
    server = Server(folder, config)
    with server.tcp() as tcp:
        for start in range(0, count, 100):
            some = [
                request("authorize", n, call_id=f"c{n}", src_ip="10.0.0.3", dst_number="44")
                for n in range(start, start + 100)
            ]
            tcp.send(*some)
            assert all(answer["result"]["accepted"] for answer in tcp.answers(100))
    first = asked(server, "c0", "10.0.0.3")
    assert asked(server, "more", "10.0.0.3")["reason"] == "client_capacity"
    server.kill()
    with serving(folder, config) as again:
        assert asked(again, "more", "10.0.0.3")["reason"] == "client_capacity"
        assert asked(again, "c0", "10.0.0.3") == first, "a retransmission is one over a restart too"
        assert told(again, "stop", call_id="c17")["freed"] == 1
        assert asked(again, "more", "10.0.0.3")["accepted"]
        assert asked(again, "still more", "10.0.0.3")["reason"] == "client_capacity"


def test_two_servers_do_not_share_a_set(folder: Path, server: Server) -> None:
    second = Server(folder, '[calls]\npath = "calls"\n', ready=False)
    assert second.ended() == 1
    second.logged("uses the set of calls in")


def test_no_room_for_the_set_is_told_and_leaves_nothing(folder: Path) -> None:
    place = Path(f"/dev/shm/identengine-{folder.name}")
    server = Server(folder, f'[calls]\npath = "{place}"\nmax_legs = 1000000000\n', ready=False)
    try:
        assert server.ended() == 1
        server.logged("set a smaller [calls] max_legs")
        assert not list(place.glob("calls.mdb*"))
    finally:
        shutil.rmtree(place)
