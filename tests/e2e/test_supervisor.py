"""The decider is replaced when it dies or hangs: no held call and no waiting request is lost (engine.md 5.8)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.clocks import Clocks
from support.processes import children, is_stopped, naps, runs
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.server.interpreter import is_plain_build

ACCOUNTS = [
    ip_account(1, "10.0.0.1", orig_capacity=1),
    ip_account(2, "10.0.0.2", term_port=5060),
    ip_account(3, "10.0.0.3"),
]
GOOD = {"src_ip": "10.0.0.3", "dst_number": "44171"}
STANDBY = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = true\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="one", capacity=200)])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running


@pytest.fixture
def patient(folder: Path) -> Iterator[Server]:
    """A server whose replacement decider waits for its book, also on a slow machine."""
    with serving(folder, patient=True) as running:
        yield running


def looks_at_its_children(server: Server) -> None:
    """Wait until the supervisor has checked all its children once more."""
    before = naps(server.process.pid)
    wait_for(lambda: naps(server.process.pid) >= before + 3)


def asked(server: Server, call_id: str, source: str = "10.0.0.3") -> dict[str, Any]:
    found = server.authorize(call_id=call_id, src_ip=source, dst_number="44171")
    assert isinstance(found, dict)
    return found


def decided(server: Server, call_id: str, source: str) -> dict[str, Any]:
    """Return the decision. On a slow machine the next decider may serve for a moment before its book is loaded."""
    found = wait_for(lambda: (seen := asked(server, call_id, source)).get("reason") != "not_ready" and seen)
    assert isinstance(found, dict)
    return found


def killed(server: Server) -> int:
    """Kill the decider with SIGKILL and return its pid."""
    pid = server.decider
    os.kill(pid, signal.SIGKILL)
    return pid


def answering(server: Server) -> int:
    """Return the pid in the answer to ``ping``."""
    pid = server.ask_udp(request("ping"))["result"]["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_decider_that_is_killed_is_replaced_with_its_calls(server: Server) -> None:
    for number in range(150):
        assert asked(server, f"c{number}")["accepted"]
    first = asked(server, "c0")
    old = killed(server)
    assert answering(server) == server.decider != old
    # The next decider recognizes a retransmission once its book is loaded, which may take long.
    wait_for(lambda: asked(server, "c0") == first)
    for number in range(150, 200):
        assert asked(server, f"c{number}")["accepted"]
    assert asked(server, "more")["reason"] == "client_capacity"
    assert f"ALARM: the decider (pid {old}) was killed by SIGKILL; another replaces it at once" in server.log
    server.logged("READY")
    assert server.lines.count("READY") == 1


def test_requests_wait_for_the_next_decider_and_its_book(patient: Server) -> None:
    count, server = 3000, patient
    with server.udp() as udp:
        udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)  # so that it is not in the middle of a batch
        half = count // 2
        for number in range(half):
            udp.send(request("authorize", number, **GOOD))
        early = server.tcp()
        early.send(request("ping", "early"))
        os.kill(decider, signal.SIGKILL)
        for number in range(half, count):
            udp.send(request("authorize", number, **GOOD))
        with server.tcp() as late, early:
            late.send(request("ping", "late"))
            assert late.answers(1)[0]["id"] == "late"
            assert early.answers(1)[0]["id"] == "early"
        answers = [udp.receive() for _ in range(count)]
    assert sorted(answer["id"] for answer in answers) == list(range(count))
    assert all(answer["result"]["accepted"] for answer in answers), (
        "no request was answered before the book was loaded"
    )


def test_each_request_is_counted_once_while_deciders_die(server: Server) -> None:
    calls = [f"c{number}" for number in range(120)]
    deaths = 0
    with server.udp() as udp:
        udp.socket.settimeout(0.3)
        for place, call in enumerate(calls):
            if place % 40 == 20:
                killed(server)
                deaths += 1
            accepted = False
            while not accepted:  # a switch repeats its request until a ready server answers
                udp.send(request("authorize", call, call_id=call, **GOOD))
                with contextlib.suppress(TimeoutError):
                    while (answer := udp.receive())["id"] != call:
                        pass
                    accepted = answer["result"]["accepted"]
    assert deaths == 3
    wait_for(lambda: asked(server, "c0")["accepted"])
    for number in range(80):
        assert asked(server, f"rest {number}")["accepted"]
    assert asked(server, "one too many")["reason"] == "client_capacity"


def test_a_decider_that_hangs_is_killed_and_replaced(patient: Server) -> None:
    server = patient
    assert asked(server, "a", "10.0.0.1")["accepted"]
    old = server.decider
    began = time.monotonic()
    os.kill(old, signal.SIGSTOP)
    with server.udp() as udp:
        udp.socket.settimeout(30)
        udp.send(request("authorize", 1, call_id="b", src_ip="10.0.0.1", dst_number="44"))
        assert udp.receive()["result"]["reason"] == "account_capacity"
    assert time.monotonic() - began > 4.5
    assert not runs(old)
    assert f"ALARM: the decider (pid {old}) gave no sign of life for 5 s and is killed" in server.log


def test_a_supervisor_that_was_stopped_kills_no_child(folder: Path, clocks: Clocks) -> None:
    with serving(folder) as server:
        old = server.decider
        for pid in (server.process.pid, old):
            os.kill(pid, signal.SIGSTOP)
            wait_for(partial(is_stopped, pid))
        clocks.stand_still(3600)  # like a suspended machine, or Ctrl-Z
        server.signal(signal.SIGCONT)
        looks_at_its_children(server)
        os.kill(old, signal.SIGCONT)
        assert answering(server) == old
        looks_at_its_children(server)
        assert answering(server) == old
        assert "ALARM" not in server.log


def test_a_decider_that_gets_sigterm_is_replaced_too(server: Server) -> None:
    old = server.decider
    os.kill(old, signal.SIGTERM)
    wait_for(lambda: answering(server) != old)
    server.logged("exited although the server was not asked to stop")


def test_a_replacement_without_a_book_serves_stops_after_a_second(folder: Path) -> None:
    server = Server(folder)
    try:
        assert asked(server, "a", "10.0.0.1")["accepted"]
        server.store.rename(folder / "away")
        killed(server)
        assert asked(server, "b", "10.0.0.1")["reason"] == "not_ready"
        assert server.ask_udp(request("stop", 1, call_id="a"))["result"]["freed"] == 1
        (folder / "away").rename(server.store)
        wait_for(lambda: asked(server, "b", "10.0.0.1")["accepted"])
    finally:
        assert server.stop() == 0


def test_a_standby_takes_over(folder: Path) -> None:
    with serving(folder, STANDBY, patient=True) as server:
        assert asked(server, "a", "10.0.0.1")["accepted"]
        for _ in range(2):
            standby = server.standby
            old = server.decider
            os.kill(old, signal.SIGKILL)
            assert asked(server, "b", "10.0.0.1")["reason"] == "account_capacity"
            assert answering(server) == standby == server.decider
            assert not runs(old)
            assert f"(pid {old}) was killed by SIGKILL; the standby replaces it" in server.log
            assert server.standby != standby
        put_rows(folder / "store", [ip_account(9, "10.0.0.9")])
        wait_for(lambda: server.version() == 2)


def test_a_standby_follows_book_and_config(folder: Path) -> None:
    with serving(folder, STANDBY, patient=True) as server:
        server.standby  # noqa: B018 - the property waits for it
        put_rows(folder / "store", [ip_account(9, "10.0.0.9")])
        wait_for(lambda: server.log.count("book version 2 is in use") == 2)
        server.write_config(STANDBY + "[reasons.unknown_source]\nsip_code = 604\n")
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed: [reasons]")
        os.kill(server.decider, signal.SIGKILL)
        assert asked(server, "a", "10.0.0.9")["account_id"] == 9
        assert asked(server, "b", "10.9.9.9")["sip_code"] == 604


def test_a_standby_that_dies_is_replaced(folder: Path) -> None:
    with serving(folder, STANDBY) as server:
        standby, decider = server.standby, server.decider
        os.kill(standby, signal.SIGKILL)
        server.logged(
            f"ALARM: the standby (pid {standby}) was killed by SIGKILL; a new process replaces it at once"
        )
        wait_for(lambda: server.standby != standby)
        assert answering(server) == decider


def test_a_standby_that_hangs_is_no_loss(folder: Path) -> None:
    with serving(folder, STANDBY) as server:
        standby = server.standby
        os.kill(standby, signal.SIGSTOP)
        os.kill(server.decider, signal.SIGKILL)
        with server.udp() as udp:
            udp.socket.settimeout(30)
            udp.send(request("ping"))
            assert udp.receive()["result"]["pid"] != standby


def test_a_replacement_has_the_config_of_the_last_sighup(server: Server) -> None:
    assert decided(server, "a", "10.9.9.9")["sip_code"] == 403
    server.write_config("[reasons.unknown_source]\nsip_code = 604\n")
    killed(server)
    assert decided(server, "a", "10.9.9.9")["sip_code"] == 403, "a change of the file takes effect at SIGHUP only"
    server.signal(signal.SIGHUP)
    server.logged("SIGHUP: changed: [reasons]")
    killed(server)
    assert decided(server, "a", "10.9.9.9")["sip_code"] == 604
    server.write_config("[identify]\nrank = 'x'\n")
    server.signal(signal.SIGHUP)
    server.logged("the config has mistakes; nothing was changed")
    assert server.log.count("the config has mistakes") == 1
    server.config.write_text("this is no config")
    killed(server)
    assert decided(server, "a", "10.9.9.9")["sip_code"] == 604


def test_the_listening_sockets_close_when_a_drain_begins(folder: Path) -> None:
    with serving(folder, STANDBY) as server, server.tcp() as tcp:
        server.standby  # noqa: B018 - the property waits for it
        tcp.send(request("ping")[:10])  # half a message: the drain waits for the rest
        server.signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection((HOST, server.ports["tcp"])).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for(refused)
        assert server.process.poll() is None
        tcp.send(request("ping")[10:])
        assert tcp.answers(1)[0]["id"] == 1
    assert "ALARM" not in server.log


def test_a_supervisor_that_is_killed_leaves_no_process(folder: Path) -> None:
    server = Server(folder, STANDBY)
    assert asked(server, "a", "10.0.0.1")["accepted"]
    pids = [server.decider, server.standby]
    with server.udp() as udp:
        server.process.kill()
        # A new server starts at once with the same calls and addresses, while the old children still drain.
        listen = f'[listen]\nudp = ["{HOST}:{server.ports["udp"]}"]\ntcp = ["{HOST}:{server.ports["tcp"]}"]\n'
        with serving(folder, listen) as again:
            udp.send(request("authorize", 1, call_id="b", src_ip="10.0.0.1", dst_number="44"))
            assert udp.receive()["result"]["reason"] == "account_capacity"
            assert again.ports == server.ports
            assert not any(map(runs, pids))
    assert server.ended() == -signal.SIGKILL
    assert "ALARM: the supervisor died" in server.log


def test_two_supervisors_do_not_share_a_set(folder: Path, server: Server) -> None:
    second = Server(folder, ready=False)
    assert second.ended() == 1
    assert f"the server of process {server.process.pid} uses the set of calls in {folder}/calls." in second.log
    # Nor while the decider is replaced.
    killed(server)
    third = Server(folder, ready=False)
    assert third.ended() == 1
    assert len(children(server.process.pid)) <= 2


def test_the_receive_buffer_is_logged(server: Server) -> None:
    assert "datagrams of 300 bytes" in server.log
    assert server.log.count("has a receive buffer of") == 1


def test_a_slow_python_is_logged_once(server: Server) -> None:
    assert server.log.count("without profile-guided optimization") == int(is_plain_build())
