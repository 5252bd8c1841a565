"""The output of `stats` and `top`, after restarts and without a server."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Run, run
from support.operator import CALLS, asked, book, burst, call, counted, hold
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return book(tmp_path)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, CALLS) as running:
        yield running


def said(server: Server, *words: str) -> Run:
    return run(*words, "--config", server.config)


def stats(server: Server) -> Any:
    return said(server, "stats", "--json").json


def test_counters_go_on_over_a_death(folder: Path) -> None:
    first = Server(folder, CALLS)
    hold(first, 10)
    burst(first, [call(f"o{n}", "10.0.0.18") for n in range(6)])  # the limit is four
    burst(first, [call("stranger", "10.9.9.9"), call("c0"), call("c0")])
    burst(first, [request("start", 1, call_id="c1"), request("stop", 1, call_id="c1")])
    burst(first, [request("stop", 1, call_id="never"), request("start", 1, call_id="never")])
    over = {"call_id": "late", "src_ip": "10.0.0.18", "dst_number": "44"}
    burst(first, [request("update", 1, **over)])
    before = {
        "requests_authorize": 19,
        "accepted": 16,
        "rejected_account_capacity": 2,
        "rejected_unknown_source": 1,
        "requests_stop": 2,
        "freed_by_stop": 1,
        "unknown_stops": 1,
        "unknown_starts": 1,
        "overcommits": 1,
    }
    first.kill()
    assert {name: counted(first, name) for name in before} == before, "no count is lost by the kill"
    with serving(folder, CALLS) as second:
        hold(second, 1, name="new")
        found = stats(second)["counters"]
        assert found["accepted"] == 17
        assert found["requests_authorize"] == 20
        assert found["deciders_started"] == 2
        assert found["pid"] == second.decider
        wait_for(lambda: stats(second)["counters"]["held"] == 15)


def test_addresses_are_there_after_a_death(folder: Path) -> None:
    first = Server(folder, CALLS)
    burst(first, [call(f"a{n}", f"10.9.9.{n % 3}") for n in range(30)])
    wait_for(lambda: stats(first)["addresses"])
    first.kill()
    with serving(folder, CALLS) as second:
        burst(second, [call("more", "10.9.9.1")])
        wanted = [("10.9.9.1", 11), ("10.9.9.0", 10), ("10.9.9.2", 10)]
        wait_for(lambda: [(one["address"], one["rejected"]) for one in stats(second)["addresses"]] == wanted)
        shown = said(second, "stats").out
        assert "10.9.9.1        11" in shown
        assert "rejected_unknown_source" in shown


def test_stats_need_no_server(folder: Path) -> None:
    with serving(folder, CALLS) as server:
        hold(server, 3)
    result = said(server, "stats")
    assert result.status == 0
    assert "no server at" in result.out
    assert "The counters are from" in result.out
    assert "authorizations accepted" in result.out
    found = stats(server)
    assert found["server"] is None
    assert "no server at" in found["no_server"]
    assert (found["counters"]["accepted"], found["counters"]["held"]) == (3, 3)


def test_counters_that_are_damaged_begin_anew(folder: Path) -> None:
    with serving(folder, CALLS) as server:
        hold(server, 3)
    path = folder / "calls" / "counters"
    path.write_bytes(path.read_bytes()[:5000])
    result = said(server, "stats")
    assert result.status == 1
    assert f"cannot read the counters: {path} is damaged" in result.err
    with serving(folder, CALLS) as again:
        again.logged(f"start again from zero: {path} is damaged: expected ")
        assert asked(again, ask="status")["held"] == 3, "the calls are unchanged"
        assert counted(again, "accepted") == 0


def test_no_counters_is_a_message(tmp_path: Path) -> None:
    result = run("stats", "--calls", tmp_path)
    assert (result.status, result.out) == (1, "")
    assert "no server has run there yet" in result.err


def test_retransmissions_strangers_and_what_is_wrong(folder: Path) -> None:
    switch = '[[switch]]\nname = "sbc"\naddresses = ["127.0.0.2"]\n'
    with serving(folder, CALLS) as server:
        burst(server, [call("c"), call("c"), call("c")])
        wait_for(lambda: counted(server, "retransmissions") == 2)
        assert counted(server, "accepted") == 3
        with server.tcp() as tcp:
            tcp.send(request("start", 1) + request("stop", 2, call_id="c", direction="up"))
            tcp.receive_raw()
        wait_for(lambda: counted(server, "wrong_parameters") == 2)
        server.write_config(CALLS + switch)
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed")
        with server.udp() as udp:
            udp.send(call("d"))
        wait_for(lambda: counted(server, "strangers_refused") == 1)


def test_one_picture(server: Server) -> None:
    hold(server, 4, "10.0.0.18", "full")
    hold(server, 50)
    burst(server, [call("x", "10.0.0.18"), call("y", "10.9.9.9")])
    picture = said(server, "top", "--json", "--every", "0.2").json
    first, second = picture["accounts"]
    assert (first["id"], first["direction"], first["held"], first["limit"]) == (18, "origination", 4, 4)
    assert (second["id"], second["name"], second["held"], second["limit"]) == (17, "trunk", 50, 8000)
    clients = {(one["id"], one["direction"]): (one["held"], one["limit"]) for one in picture["clients"]}
    assert clients[1, "both"] == (50, 10000)
    assert clients[2, "origination"] == (50, None)
    rates = {one["name"]: one["total"] for one in picture["rates"]}
    assert (rates["accepted"], rates["rejected_account_capacity"], rates["rejected_unknown_source"]) == (54, 1, 1)
    shown = said(server, "top", "--once", "--every", "0.2")
    assert shown.status == 0
    assert "100%" in shown.out
    assert "54 legs held of 20,000" in shown.out


_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`top` in a terminal of its own."""

    def __init__(self, server: Server, columns: int = 160, lines: int = 60) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (lines, columns))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "identengine", "top", "--every", "0.2", "--config", str(server.config)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            | {"TERM": "xterm"},
            start_new_session=True,
        )
        self.seen = ""

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal, which the process notices by its signal."""
        termios.tcsetwinsize(self.slave, (lines, columns))
        self.process.send_signal(signal.SIGWINCH)

    def sees(self, text: str) -> None:
        """Wait until new output has a text."""
        self.seen = ""

        def there() -> bool:
            self._read()
            return text in self.seen

        wait_for(there)

    def shows(self, *texts: str) -> list[str]:
        """Wait for a whole screen that has all texts. Return its lines."""
        height, width = termios.tcgetwinsize(self.slave)

        def found() -> list[str] | None:
            self._read()
            for screen in reversed(self.seen.split("\x1b[H")[1:]):  # each screen begins at the home position
                rows = [_CONTROL.sub("", row) for row in screen.split("\r\n")]
                if len(rows) == height and len(rows[-1]) == width:
                    return rows if all(text in "\n".join(rows) for text in texts) else None
            return None

        rows: list[str] = wait_for(found)
        return rows

    def ends(self) -> int:
        """Wait for its exit. The terminal must have its old settings."""

        def ended() -> bool:
            self._read()
            return self.process.poll() is not None

        wait_for(ended)
        self._read()
        assert termios.tcgetattr(self.slave)[:4] == self.before[:4]
        os.close(self.slave)
        os.close(self.master)
        return self.process.returncode

    def _read(self) -> None:
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")


@pytest.mark.parametrize("ending", ["q", "ctrl-c", "SIGTERM"])
def test_top_ends_cleanly(server: Server, ending: str) -> None:
    hold(server, 4, "10.0.0.18")
    top = Terminal(server)
    top.sees("100%")
    if ending == "q":
        os.write(top.master, b"q")
    else:
        top.process.send_signal(signal.SIGINT if ending == "ctrl-c" else signal.SIGTERM)
    assert top.ends() == 0
    assert "Traceback" not in top.seen
    assert "\x1b[?1049l" in top.seen, "it leaves the other screen"


def test_keys_and_a_new_size_of_top_at_80_by_24(server: Server) -> None:
    hold(server, 4, "10.0.0.18")
    burst(server, [call("x", "10.0.0.18"), call("y", "10.9.9.9")])
    wait_for(lambda: stats(server)["rejected_by_switch"])
    top = Terminal(server, 80, 24)

    def press(key: bytes, *texts: str) -> list[str]:
        os.write(top.master, key)
        rows = top.shows(*texts)
        assert max(map(len, rows)) <= 80
        return rows[3:-1]  # the lines between the state of the server and the keys

    first = top.shows("accounts, by use: 1 limit full", " 1-20 of 44")[3:-1]
    assert "100%" in "".join(first)
    assert press(b"\x1b[B", " 2-21 of 44")[:-1] == first[1:]
    page = press(b"\x1b[6~", " 21-40 of 44")
    assert page[0].split()[0] == "authorize", "the last line of a screen is the first of the next"
    press(b"\x1b[H", " 1-20 of 44")
    tables = {
        " 5-24 of": "clients, by use",
        " 10-29 of": "rejects by switch",
        " 14-33 of": "rejects by address",
        " 19-38 of": "requests",
    }
    for place, title in tables.items():
        assert press(b"\t", place)[0].rstrip() == title
    assert "rejects" in [row.rstrip() for row in press(b"\t", " 25-44 of")], "the last table is visible whole"
    assert press(b"\t", " 1-20 of")[0].startswith("accounts, by use"), "the first table follows the last"

    press(b"/", "/_  Enter: keep")
    found = "\n".join(press(b"account q\x7f18\r", "/account 18  q quit"))
    assert "100%" in found
    assert not any(name in found for name in ("other", "local", "10.9.9.9")), "rows that do not match are hidden"
    press(b"\x1b", " 1-20 of 44")
    top.resize(120, 30)
    wide = top.shows("accounts, by use", "rejects by switch")
    assert any("accounts, by use" in row and "requests" in row for row in wide), "tables are next to each other"
    os.write(top.master, b"q")
    assert top.ends() == 0
    assert "Traceback" not in top.seen


def test_top_outlives_the_server(folder: Path) -> None:
    first = Server(folder, CALLS)
    hold(first, 5)
    top = Terminal(first)
    top.sees("5 legs held")
    first.kill()
    top.sees("no server at")
    top.sees("The last known counters are shown")
    with serving(folder, CALLS) as second:
        hold(second, 2, name="d")
        top.sees("7 legs held")
        os.write(top.master, b"q")
        assert top.ends() == 0
