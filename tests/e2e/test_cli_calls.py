"""`calls` and `calls end` with a real server: filters, pages, ids of any characters, and freed slots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Run, run
from support.operator import CALLS, book, burst, call, counted, held, hold
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(book(tmp_path), CALLS) as running:
        yield running


def calls(server: Server, *words: object) -> Run:
    return run("calls", *words, "--config", server.config)


def listed(server: Server, *words: object) -> list[dict[str, Any]]:
    result = calls(server, "--json", *words)
    assert result.status == 0, result
    rows: list[dict[str, Any]] = result.json
    return rows


def ids(server: Server, *words: object) -> set[str]:
    return {row["call_id"] for row in listed(server, *words)}


def test_what_is_held_and_by_whom(server: Server) -> None:
    hold(server, 2)
    burst(server, [request("start", 1, call_id="c1", interval=60)])
    out_of = {"direction": "termination", "account_id": 18, "leg_id": "b"}
    burst(server, [request("authorize", 1, call_id="c1", dst_number="44", **out_of), call("x", "10.0.0.18")])
    rows = {(row["call_id"], row["direction"]): row for row in listed(server)}
    assert set(rows) == {("c0", "origination"), ("c1", "origination"), ("c1", "termination"), ("x", "origination")}
    row = rows["c1", "origination"]
    assert (row["account_id"], row["account_name"], row["client_id"], row["client_name"]) == (
        17,
        "trunk",
        2,
        "shop",
    )
    assert (row["state"], row["switch"], row["scope"], row["leg_id"]) == ("active", "local", "local", "")
    assert 170 < row["left"] <= 180
    assert 0 <= row["age"] < 10
    assert rows["c1", "termination"]["leg_id"] == "b"

    assert ids(server, "--account", 17) == {"c0", "c1"}
    assert ids(server, "--account", "Trunk") == {"c0", "c1"}, "with the config, a name is looked up in the book"
    assert ids(server, "--client", "shop") == ids(server, "--client", 2)
    assert 'no account "trank" in the book; did you mean 17 trunk?' in calls(server, "--account", "trank").err
    assert ids(server, "--client", 1) == {"c0", "c1"}, "the calls of clients below a reseller count on it"
    assert ids(server, "--client", 3) == {"c1", "x"}
    assert ids(server, "--state", "active") == {"c1"}
    assert ids(server, "--state", "reserved", "--account", 17) == {"c0"}
    assert ids(server, "--switch", "local") == {"c0", "c1", "x"}
    assert ids(server, "--switch", "other") == set()
    assert ids(server, "--older", "10m") == set()
    assert ids(server, "--older", "0s", "--account", 18, "--state", "reserved") == {"c1", "x"}

    shown = calls(server, "--account", 17).out.splitlines()
    assert shown[0].split()[:2] == ["Call", "ID"]
    assert len(shown) == 3
    assert any("17 trunk" in line and "2 shop" in line and (" 2:" in line or " 3:00" in line) for line in shown)
    assert calls(server, "--account", 99).err == "no call matches\n"


def test_pages_hold_every_call_once(server: Server) -> None:
    count = 5000
    hold(server, count)
    burst(server, [request("start", n, call_id=f"c{n}") for n in range(0, count, 3)])
    rows = listed(server)
    assert len(rows) == count
    assert {row["call_id"] for row in rows} == {f"c{n}" for n in range(count)}
    some = calls(server, "--limit", 7)
    assert len(some.out.splitlines()) == 8
    assert "4,993 more" in some.err
    assert len(listed(server, "--limit", 7)) == 7
    assert "not shown: more calls" in calls(server, "--limit", 7, "--account", 17).err


def test_ids_of_any_shape_are_shown_and_ended(server: Server) -> None:
    steering, long = "a\x1b[31m\n\u202e\x00z", "long" * 1250
    twins = [long[:-1] + end for end in "xy"]
    assert all(one["accepted"] for one in burst(server, [call(one) for one in (steering, *twins, '"quoted"')]))
    shown = calls(server).out
    assert "a\\x1b[31m\\n\\u202e\\x00z" in shown
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert len(shown.splitlines()) == 5
    assert steering in ids(server)
    # Both the escaped id of the output and the id that the switch sent are found.
    assert calls(server, "end", "a\\x1b[31m\\n\\u202e\\x00z").out == "1 leg ended\n"
    assert calls(server, "end", twins[0]).out == "1 leg ended\n"
    (left,) = (one for one in ids(server) if one.startswith("long"))
    assert calls(server, "end", left).out == "1 leg ended\n"
    assert ids(server) == {'"quoted"'}


def test_an_ended_call_stays_ended(server: Server) -> None:
    hold(server, 2)
    burst(server, [request("start", 1, call_id="c0")])
    ended = calls(server, "end", "c0", "--json")
    assert (ended.status, ended.json) == (0, {"freed": 1, "gone": 0})
    late = {"call_id": "c0", "src_ip": "10.0.0.17", "dst_number": "44"}
    (started,) = burst(server, [request("start", 1, **late)])
    assert started == {"ok": True, "unknown": True}
    assert ids(server) == {"c1"}
    again = calls(server, "end", "c0")
    assert (again.status, again.out) == (1, "")
    assert 'the server holds no matching call "c0"' in again.err
    server.logged('an operator ended "c0"; legs freed: 1')
    assert counted(server, "freed_by_operator") == 1


def test_one_leg_of_several(server: Server) -> None:
    legs: list[dict[str, object]] = [{}, {"leg_id": "b"}, {"direction": "termination", "account_id": 18}]
    burst(
        server, [request("authorize", 1, call_id="m", src_ip="10.0.0.17", dst_number="44", **leg) for leg in legs]
    )
    assert calls(server, "end", "m", "--leg", "", "--direction", "origination").out == "1 leg ended\n"
    assert [(row["leg_id"], row["direction"]) for row in listed(server, "--account", 17)] == [("b", "origination")]
    assert calls(server, "end", "m", "--leg", "nobody").status == 1
    assert calls(server, "end", "m").out == "2 legs ended\n"
    assert held(server) == 0


def test_ending_by_filter_is_shown_first(server: Server) -> None:
    hold(server, 500)
    hold(server, 3, "10.0.0.18", "other")
    shown = calls(server, "end", "--account", 17)
    assert shown.status == 1
    assert "500 legs would be ended (490 more than these). Nothing was changed." in shown.out
    said = calls(server, "end", "--account", 17, "--older", "1h", "--json")
    assert (said.status, said.json) == (1, {"would_end": 0, "calls": []})
    assert held(server) == 503
    assert calls(server, "end", "--account", 17, "--yes").out == "500 legs ended\n"
    assert ids(server) == {"other0", "other1", "other2"}
    assert calls(server, "end", "--client", 1, "--yes").out == "0 legs ended\n"
    # A slot is free: the limit of account 18 is 4.
    assert calls(server, "end", "--switch", "local", "--yes", "--json").json == {"freed": 3, "gone": 0}
    hold(server, 4, "10.0.0.18", "more")


def test_lapsed_calls_are_shown_and_not_held(tmp_path: Path) -> None:
    with serving(book(tmp_path), CALLS + "reserved = 1\n") as server:
        hold(server, 3)
        wait_for(lambda: ids(server, "--state", "lapsed") == {"c0", "c1", "c2"})
        assert ids(server) == set()
        wait_for(lambda: counted(server, "lapsed_reserved") == 3)
        assert counted(server, "lapsed_active") == 0


def test_one_call_id_in_two_scopes(tmp_path: Path) -> None:
    switches = (
        '[[switch]]\nname = "sbc1"\nscope = "a"\naddresses = ["127.0.0.1"]\n'
        '[[switch]]\nname = "sbc2"\nscope = "b"\naddresses = ["127.0.0.2"]\n'
    )
    with serving(book(tmp_path), CALLS + switches) as server:
        for source in ("127.0.0.1", "127.0.0.2"):
            with server.switch(address=source) as switch:
                switch.send(call("same"))
                assert switch.result()["accepted"]
        which = calls(server, "end", "same")
        assert which.status == 1
        assert '2 calls have the id "same", in the scopes a, b. Select one with --scope NAME' in which.err
        assert held(server) == 2
        assert "sbc2 (b)" in calls(server).out
        assert calls(server, "end", "same", "--switch", "sbc2").out == "1 leg ended\n"
        assert [row["scope"] for row in listed(server)] == ["a"]
        assert calls(server, "end", "same", "--scope", "a").out == "1 leg ended\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("end",), "expected CALL_ID"),
        (("end", "--yes"), "expected CALL_ID"),
        (("end", "--state", "active", "--yes"), "expected CALL_ID"),
        (("--older", "soon"), "a time such as 90s"),
        (("--account", "trunk"), "expected an id. A name needs the book: use --config FILE"),
        (("--client", "shop"), "expected an id. A name needs the book: use --config FILE"),
        (("--limit", "all"), 'expected an integer of at least 0, got "all"'),
        (("--account", "17", "end", "--yes"), "got it before"),
    ],
)
def test_wrong_usage_ends_no_call(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = run("calls", *words, env={"IDENTENGINE_CALLS": str(tmp_path), "COLUMNS": "200"})
    assert result.status == 2
    assert said in result.err


def test_without_a_server_the_message_names_the_socket(tmp_path: Path) -> None:
    for words in (("calls",), ("calls", "end", "c"), ("top",)):
        result = run(*words, "--calls", tmp_path / "nowhere")
        assert result.status == 1
        assert str(tmp_path / "nowhere/control") in result.err
        assert "Start one with `identengine serve --config FILE`" in result.err
    assert run("calls", env={"COLUMNS": "200"}).status == 2
