"""Messages that waited too long are not decided, except stops. A flood harms only its peer (interfaces.md 3)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import CONNECTED, WIRES, Switch, Wire, call
from support.tls import TLS_FILES, Authority
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.stats import file as counters

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}
AGE = 400
STOPPED = 1.0
"""Pause of the decider, in seconds. Messages sent before it are older than AGE ms afterwards."""
OVER_UDP = tuple(wire for wire in WIRES if wire.transport == "udp")
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("overload")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(folder)
    with serving(folder, f"{LISTEN}{TLS_FILES}[limits]\ndatagram_age_ms = {AGE}\n") as running:
        yield running
        assert "Traceback" not in running.log


@contextlib.contextmanager
def nobody_decides(server: Server) -> Iterator[None]:
    """Pause the decider until messages that were sent before are too old."""
    decider = server.decider
    os.kill(decider, signal.SIGSTOP)
    try:
        yield
        time.sleep(STOPPED)
    finally:
        os.kill(decider, signal.SIGCONT)


def dropped(server: Server) -> int:
    return counters.read(server.folder / "calls").values["datagrams_dropped_too_old"]


def fresh(switch: Switch, method: str, **params: object) -> dict[str, Any]:
    """Ask until an answer arrives, since on a slow machine any datagram can be too old."""
    switch.socket.settimeout(2)

    def ask() -> dict[str, Any] | None:
        with contextlib.suppress(TimeoutError):
            answer: dict[str, Any] = switch.exchange(method, params, "fresh")["result"]
            return answer if answer.get("reason") != "overload" else None
        return None

    found: dict[str, Any] = wait_for(ask)
    return found


@pytest.mark.parametrize("wire", OVER_UDP, ids=lambda wire: wire.name)
def test_old_datagrams_are_dropped_and_counted_save_stops(server: Server, wire: Wire) -> None:
    with server.switch(wire) as switch:
        assert fresh(switch, "authorize", call_id="a", **GOOD)["accepted"]
        assert fresh(switch, "authorize", call_id="b", **GOOD)["accepted"]
        before = dropped(server)
        with nobody_decides(server):
            switch.send(
                call("authorize", 1, call_id="c", **GOOD),
                call("stop", 2, call_id="a"),
                call("identify", 3, **GOOD),
                call("ping", 4),
                call("start", 5, call_id="b"),
                [
                    call("authorize", 6, call_id="d", **GOOD),
                    call("stop", 7, call_id="b"),
                    call("stop", ..., call_id="x"),
                ],
                call("sync", 8, list_id="1", calls=[]),
                call("switch_down", 9),
                {"no": "message"},
            )
        assert switch.receive() == {"jsonrpc": "2.0", "id": 2, "result": {"ok": True, "freed": 1}}
        assert switch.receive() == [{"jsonrpc": "2.0", "id": 7, "result": {"ok": True, "freed": 1}}]
        for nothing in "cd":
            assert fresh(switch, "stop", call_id=nothing) == {"ok": True, "unknown": True, "freed": 0}
        assert fresh(switch, "authorize", **GOOD)["accepted"]
        wait_for(lambda: dropped(server) - before >= 8)


def test_what_comes_behind_old_datagrams_is_answered(server: Server) -> None:
    with server.switch(OVER_UDP[0]) as switch:
        with nobody_decides(server):
            switch.send(*[call("authorize", n, **GOOD) for n in range(300)])
        assert fresh(switch, "authorize", **GOOD)["accepted"]


@pytest.mark.parametrize("wire", CONNECTED, ids=lambda wire: wire.name)
def test_old_messages_of_a_connection_are_answered_as_overload_save_stops(server: Server, wire: Wire) -> None:
    with server.switch(wire, AUTHORITY.client()) as switch:
        assert fresh(switch, "authorize", call_id="a", **GOOD)["accepted"]
        assert fresh(switch, "authorize", call_id="b", **GOOD)["accepted"]
        with nobody_decides(server):
            switch.send(
                call("authorize", 1, call_id="c", **GOOD),
                call("identify", 2, **GOOD),
                call("stop", 3, call_id="a"),
                call("start", 4, call_id="b"),
                call("explain", 5, **GOOD),
                call("ping", 6),
                call("authorize", ..., call_id="c", **GOOD),
                [call("authorize", 7, call_id="c", **GOOD), call("stop", 8, call_id="b")],
                call("switch_down", 9),
            )
        answers = {}
        for _ in range(8):
            answer = switch.receive()
            for one in answer if isinstance(answer, list) else [answer]:
                answers[one["id"]] = one.get("result") or one["error"]
        assert list(answers) == list(range(1, 10))
        for shed in (1, 2, 7):
            assert (answers[shed]["reason"], answers[shed]["sip_code"]) == ("overload", 503)
        for shed in (4, 5, 9):
            assert answers[shed]["code"] == -32002
        for stop in (3, 8):
            assert answers[stop] == {"ok": True, "freed": 1}
        assert fresh(switch, "stop", call_id="c") == {"ok": True, "unknown": True, "freed": 0}
        assert fresh(switch, "authorize", **GOOD)["accepted"]


def test_a_flood_on_one_connection_beside_a_calm_one(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A calm peer gets its decisions during a flood, and the flood gets its answers."""
    wire = CONNECTED[0]
    with server.switch(wire) as calm:
        alone = sorted(_seconds(calm) for _ in range(100))
        flooder = subprocess.Popen(
            [sys.executable, "-c", _FLOOD, str(server.ports["tcp"]), calm.encoded(call("authorize", 1, **GOOD))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert flooder.stdin is not None
        assert flooder.stdout is not None
        assert flooder.stdout.readline() == b"flows\n"
        during = sorted(_seconds(calm) for _ in range(100))
        flooder.stdin.close()
        assert flooder.stdout.readline() == b"all answered\n"
        flooder.stdout.close()
        assert flooder.wait(20) == 0
    with capsys.disabled():
        sys.stdout.write(
            f"\na calm connection: median {alone[50] * 1000:.2f} ms; during a flood {during[50] * 1000:.2f} ms "
            f"(ratio {during[50] / alone[50]:.1f}), max {during[-1] * 1000:.1f} ms"
        )
    assert during[50] < 0.5


_FLOOD = """
import select, socket, sys
tcp = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
tcp.setblocking(False)
many = sys.argv[2].encode() * 500
sent = heard = 0
held, ends, flows = many, False, False
while not ends or held or heard < sent:
    ready, room, _ = select.select([tcp] if ends else [tcp, sys.stdin], [tcp] if held else [], [], 20)
    if tcp in ready:
        heard += tcp.recv(1 << 20).count(b"\\n")
        if not flows:
            flows = True
            print("flows", flush=True)
    ends = ends or sys.stdin in ready
    if room:
        if held is many or len(held) == len(many):
            sent += 500
        held = held[tcp.send(held):]
    if not held and not ends:
        held = many
print("all answered", flush=True)
"""


def _seconds(switch: Switch) -> float:
    began = time.perf_counter()
    assert "result" in switch.exchange("authorize", GOOD)
    return time.perf_counter() - began


def test_the_age_is_a_setting_that_sighup_changes(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(tmp_path, "[limits]\ndatagram_age_ms = 60000\n") as server:  # noqa: SIM117 - it ends last
        with server.switch(OVER_UDP[0]) as udp, server.switch(CONNECTED[0]) as tcp:
            with nobody_decides(server):
                udp.send(call("authorize", **GOOD))
                tcp.send(call("authorize", **GOOD))
            assert udp.receive()["result"]["accepted"]
            assert tcp.receive()["result"]["accepted"]
            server.write_config(f"[limits]\ndatagram_age_ms = {AGE}\n")
            server.signal(signal.SIGHUP)
            server.logged("SIGHUP: changed: [limits]")
            with nobody_decides(server):
                udp.send(call("authorize", **GOOD))
                tcp.send(call("authorize", **GOOD))
            assert tcp.receive()["result"]["reason"] == "overload"
            wait_for(lambda: dropped(server) == 1)
