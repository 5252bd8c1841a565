"""Numbers, start times and names in `calls`, everything about a call in `calls show`, limits in `explain`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Run, run
from support.operator import CALLS, book, burst, hold
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(book(tmp_path), CALLS) as running:
        yield running


def calls(server: Server, *words: object) -> Run:
    return run("calls", *words, "--config", server.config)


def rows(server: Server, *words: object) -> dict[str, Any]:
    return {row["call_id"]: row for row in calls(server, *words, "--json").json}


def authorize(call_id: str, source: str = "10.0.0.17", **fields: object) -> bytes:
    return request("authorize", 1, call_id=call_id, src_ip=source, **fields)


def test_numbers_and_start_of_a_call_in_each_state(server: Server) -> None:
    began = time.time()
    known = {"src_number": "+44 20 7946 0000", "dst_number": "44-161-4960001"}
    burst(server, [authorize("reserved", **known), authorize("active", **known)])
    burst(server, [request("start", 1, call_id="active")])
    late = {"src_ip": "10.0.0.18", "src_number": "441", "dst_number": "442"}
    burst(server, [request("update", 1, call_id="unknown", **late), authorize("anonymous", dst_number="443")])
    found = rows(server)
    numbers = {name: (row.get("src_number"), row["dst_number"]) for name, row in found.items()}
    assert numbers == {
        "reserved": ("442079460000", "441614960001"),
        "active": ("442079460000", "441614960001"),
        "unknown": ("441", "442"),
        "anonymous": (None, "443"),
    }
    assert all(began - 1 < row["started"] < time.time() + 1 for row in found.values())
    header, *lines = calls(server, "--account", 17).out.splitlines()
    assert "Caller        Dialled       Switch" in header
    assert all(time.strftime("%H:", time.localtime(began)) in line for line in lines)


def test_calls_are_found_by_number_and_by_the_name_of_the_account(server: Server) -> None:
    burst(
        server,
        [
            authorize("a", src_number="442079460000", dst_number="441614960001"),
            authorize("b", src_number="441614960001", dst_number="441614960002"),
            authorize("c", "10.0.0.18", dst_number="491614960001"),
        ],
    )
    burst(server, [request("start", 1, call_id="b")])
    assert set(rows(server, "--number", "+44 161 496-0001")) == {"a", "b"}
    assert set(rows(server, "--number", "1614960001")) == {"a", "b", "c"}
    assert set(rows(server, "--number", "44161496")) == set(), "the beginning of a number is not enough"
    assert set(rows(server, "--number", "4960001", "--state", "active")) == {"b"}
    assert set(rows(server, "--name", "TRU")) == {"a", "b"}
    assert set(rows(server, "--name", "nothing")) == set()
    wrong = run("calls", "--number", "+", "--config", server.config, env={"COLUMNS": "200"})
    assert (wrong.status, "expected a number" in wrong.err) == (2, True)
    assert calls(server, "end", "--number", "442079460000", "--yes").out == "1 leg ended\n"
    assert set(rows(server)) == {"b", "c"}


def test_everything_about_one_call(server: Server) -> None:
    hold(server, 2)
    out: dict[str, Any] = {"direction": "termination", "account_id": 18, "leg_id": "b"}
    burst(server, [authorize("m", src_number="441", dst_number="442"), authorize("m", dst_number="442", **out)])
    burst(server, [request("start", 1, call_id="m", direction="origination")])
    shown = calls(server, "show", "m")
    assert shown.status == 0
    for text in ("account      17 trunk", "client       2 shop", "resellers    1", "caller       441", "active"):
        assert text in shown.out
    assert "reseller   1  reseller  capacity" in shown.out
    found = calls(server, "show", "m", "--json").json
    assert found["call_id"] == "m"
    legs = {leg["direction"]: leg for leg in found["legs"]}
    assert (legs["origination"]["state"], legs["termination"]["state"]) == ("active", "reserved")
    levels = {(one["level"], one["id"], one["column"]): one for one in legs["origination"]["levels"]}
    account = levels["account", 17, "orig_capacity"]
    assert (account["name"], account["use"], account["limit"], account["full"]) == ("trunk", 3, 8000, False)
    assert levels["client", 2, "capacity"]["limit"] is None
    assert (levels["reseller", 1, "capacity"]["use"], levels["reseller", 1, "capacity"]["limit"]) == (3, 10000)
    assert [one["use"] for one in legs["termination"]["levels"] if one["level"] == "account"] == [1]
    nothing = calls(server, "show", "never")
    assert (nothing.status, nothing.out) == (1, "")
    assert 'the server holds no matching call "never"' in nothing.err


def test_a_lapsed_call_keeps_its_numbers(tmp_path: Path) -> None:
    with serving(book(tmp_path), CALLS + "reserved = 1\n") as server:
        burst(server, [authorize("r", src_number="441", dst_number="442")])
        wait_for(lambda: rows(server, "--state", "lapsed"))
        assert rows(server, "--state", "lapsed")["r"]["dst_number"] == "442"
        shown = calls(server, "show", "r").out
        assert "lapsed" in shown
        assert "caller     441" in shown


def test_explain_shows_the_limits_of_the_running_server(server: Server) -> None:
    hold(server, 4, "10.0.0.18", "full")
    fields = ("src_ip=10.0.0.18", "dst_number=44")
    explained = run("explain", *fields, "--config", server.config)
    assert explained.status == 0, explained
    (line,) = [line for line in explained.out.splitlines() if line.startswith("account  18")]
    assert line.split()[-4:] == ["orig_capacity", "4", "4", "full"]
    found = run("explain", *fields, "--config", server.config, "--json").json
    (account,) = [one for one in found["limits"] if one["level"] == "account"]
    assert (account["id"], account["use"], account["limit"], account["full"]) == (18, 4, 4, True)
    unknown = run("explain", "src_ip=10.9.9.9", "dst_number=44", "--config", server.config, "--json")
    assert (unknown.status, unknown.json["limits"]) == (1, [])
