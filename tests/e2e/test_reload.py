"""SIGHUP: one process reads the file, all processes apply the config, and one line names the changes."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
from pathlib import Path

import pytest
from support import HOST
from support.cli import run
from support.http import CONFIG, NOC, SWITCH, asking, make_book, wait_for_http, web_serving
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

STANDBY = CONFIG.replace("[listen]\n", "[listen]\nstandby = true\n")
REASON = "[reasons.unknown_source]\nsip_code = 604\n"


def reload(server: Server, config: str, changed: str) -> None:
    """Write a config, send SIGHUP, and wait for the one log line that names ``changed``."""
    logged = len(server.log)
    server.write_config(config)
    server.signal(signal.SIGHUP)
    wait_for(lambda: f"SIGHUP: changed: {changed}\n" in server.log[logged:])
    assert server.log[logged:].count("SIGHUP") == 1


def sip_code(server: Server) -> object:
    return server.authorize(src_ip="10.9.9.9", dst_number="44171")["sip_code"]


def test_changes_of_http_alone_are_named(tmp_path: Path) -> None:
    make_book(tmp_path)
    with web_serving(tmp_path) as server:
        tokens = CONFIG.replace(NOC, "new-token-of-noc")
        reload(server, tokens, "[[token]]")
        with asking(server, "new-token-of-noc") as client:
            assert client.get("/metrics").status_code == 200, "in force when the line is logged"
        with asking(server, NOC) as client:
            assert client.get("/metrics").status_code == 401
        reload(server, tokens.replace("127.0.0.9", "127.0.0.8"), "[http]")
        reload(server, CONFIG.replace(SWITCH, "new-token-of-sbc1"), "[http], [[switch]], [[token]]")
        with asking(server, "new-token-of-sbc1") as client:
            assert client.post("/v1/ping").status_code == 200


def test_a_secret_of_the_environment(tmp_path: Path) -> None:
    make_book(tmp_path)
    server = Server(tmp_path, CONFIG, env={"NOC_TOKEN": "token-of-the-environment"})
    try:
        wait_for_http(server)
        reload(server, CONFIG.replace(f'"{NOC}"', '{ env = "NOC_TOKEN" }'), "[[token]]")
        with asking(server, "token-of-the-environment") as client:
            assert client.get("/metrics").status_code == 200
    finally:
        assert server.stop() == 0
    assert "token-of-the-environment" not in server.log


class Opens:
    """Counts by inotify(7) how often files of a folder are opened."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK)
        assert self._events >= 0
        assert libc.inotify_add_watch(self._events, os.fsencode(folder), 0x20) >= 0  # IN_OPEN

    def of(self, name: str) -> int:
        """Return how often a file was opened, and close."""
        seen = b""
        with os.fdopen(self._events, "rb", buffering=0) as events, contextlib.suppress(BlockingIOError):
            while more := events.read(65536):
                seen += more
        return seen.count(name.encode() + b"\0")


def test_one_process_reads_the_file(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, STANDBY, patient=True) as server:
        wait_for_http(server)
        server.standby  # noqa: B018 - the property waits for it
        server.write_config(STANDBY + REASON)
        opens = Opens(server.config.parent)
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed: [reasons]\n")
        assert sip_code(server) == 604
        os.kill(server.decider, signal.SIGKILL)
        assert sip_code(server) == 604, "the standby has the config, too"
        with asking(server) as client:
            answer = client.post("/v1/authorize", json={"src_ip": "10.9.9.9", "dst_number": "44"})
            assert answer.json()["sip_code"] == 604
        assert opens.of(server.config.name) == 1
        assert server.log.count("SIGHUP") == 1


def test_a_config_that_is_not_a_file_does_not_block_the_supervisor(tmp_path: Path) -> None:
    """A pipe without a writer would block it forever, and an empty device would be the default config."""
    make_book(tmp_path)
    with serving(tmp_path, REASON) as server:
        server.config.unlink()
        os.mkfifo(server.config)
        server.signal(signal.SIGHUP)
        server.logged(f"config: {server.config}: expected a regular file for a reload")
        server.config.unlink()
        server.config.symlink_to("/dev/null")
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.log.count("the config has mistakes; nothing was changed") == 2)
        assert sip_code(server) == 604


def test_an_emptied_file_drops_no_switch(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, REASON) as server:
        server.config.write_text(" \n\n")
        server.signal(signal.SIGHUP)
        server.logged("expected a config, got an empty file")
        assert sip_code(server) == 604, "the config in force stays"


def test_more_connections_may_need_more_files(tmp_path: Path) -> None:
    listen = f'[listen]\nstandby = true\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\n'

    def limits(*processes: int) -> list[int]:
        return [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in processes]

    make_book(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        server = Server(tmp_path, f"{listen}[limits]\nconnections = 100\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    processes = server.process.pid, server.decider, server.standby
    assert limits(*processes) == [300, 300, 300]
    reload(server, f"{listen}[limits]\nconnections = 400\n", "[limits]")
    assert min(limits(*processes)) > 400
    assert server.stop() == 0


def test_a_wrong_config_is_refused_once(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, STANDBY) as server:
        wait_for_http(server)
        server.standby  # noqa: B018 - the property waits for it
        server.write_config(STANDBY.replace(NOC, "another") + "[identify]\nrank = 'x'\n[log]\nlevl = 'info'\n")
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: the config has mistakes; nothing was changed")
        reload(server, STANDBY + REASON, "[reasons]")
        assert server.log.count("the config has mistakes; nothing was changed") == 1
        assert server.log.count("config: [identify] rank: ") == 1
        assert server.log.count("config: [log] levl: ") == 1
        with asking(server, NOC) as client:
            assert client.get("/metrics").status_code == 200


def test_a_config_that_is_longer_than_a_socket_buffer(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path) as server:
        switches = "".join(
            f'[[switch]]\nname = "{number} of {"x" * 80}"\naddresses = ["127.9.{number // 250}.{number % 250}"]\n'
            for number in range(5000)
        )
        for _ in range(2):
            reload(server, switches, "[[switch]]")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.settimeout(20)
                udp.bind(("127.9.19.249", 0))
                udp.sendto(request("ping"), (HOST, server.ports["udp"]))
                assert json.loads(udp.recv(2000))["id"] == 1
            reload(server, "", "[[switch]]")


def test_a_child_that_hangs_does_not_delay_the_others(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, STANDBY, patient=True) as server:
        standby = server.standby
        os.kill(standby, signal.SIGSTOP)
        server.write_config(STANDBY + REASON)
        server.signal(signal.SIGHUP)
        wait_for(lambda: sip_code(server) == 604)
        wait_for(lambda: server.standby != standby)
        server.logged("SIGHUP: changed: [reasons]\n")
        os.kill(server.decider, signal.SIGKILL)
        assert sip_code(server) == 604, "the next standby has started with it"


def test_a_child_ignores_sighup(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path) as server:
        decider = server.decider
        os.kill(decider, signal.SIGHUP)
        reload(server, REASON, "[reasons]")
        assert server.decider == decider
        assert sip_code(server) == 604


def of_switches(*switches: tuple[str, str, str]) -> str:
    """Return a config with switches: name, scope and address of each."""
    return "".join(
        f'[[switch]]\nname = "{name}"\nscope = "{scope}"\naddresses = ["{address}"]\n'
        for name, scope, address in switches
    )


OLD = ("old", "old", "127.0.0.2")
STAYS = ("stays", "stays", "127.0.0.3")
CHANGES = {
    "removed": of_switches(STAYS),
    "renamed": of_switches(("new", "new", "127.0.0.2"), STAYS),
    "renamed, same scope": of_switches(("new", "old", "127.0.0.2"), STAYS),
    "of another scope": of_switches(("old", "another", "127.0.0.2"), STAYS),
}
WAYS = {
    "id": ["c0"],
    "id and switch": ["c0", "--switch", "old"],
    "id and scope": ["c0", "--scope", "old"],
    "id, leg and direction": ["c0", "--leg", "", "--direction", "origination"],
    "switch": ["--switch", "old", "--yes"],
    "scope": ["--scope", "old", "--yes"],
    "account": ["--account", "1", "--yes"],
    "age": ["--older", "0s", "--scope", "old", "--yes"],
    "state": ["--state", "reserved", "--switch", "old", "--yes"],
}


def listed(server: Server) -> list[tuple[str, str]]:
    """Return switch and call id of each call that ``calls`` lists."""
    rows = run("calls", "--json", "--config", server.config).json
    return sorted((row["switch"], row["call_id"]) for row in rows)


def hold_calls(server: Server) -> None:
    """Hold a call of each of the two switches."""
    for name, _, address in (OLD, STAYS):
        with server.switch(address=address) as switch:
            call_id = "c0" if name == "old" else "c1"
            switch.send(request("authorize", 1, call_id=call_id, src_ip="10.0.0.1", dst_number="44171"))
            assert switch.result()["accepted"]


@pytest.mark.parametrize("change", CHANGES)
def test_calls_of_a_switch_that_is_gone_are_named_and_ended(tmp_path: Path, change: str) -> None:
    make_book(tmp_path)
    with serving(tmp_path, of_switches(OLD, STAYS)) as server:
        hold_calls(server)
        reload(server, CHANGES[change], "[[switch]]")
        server.logged('held legs without a switch in the config: 1 (1 of "old")')
        assert listed(server) == [("old", "c0"), ("stays", "c1")]
        ended = run("calls", "end", "c0", "--config", server.config)
        assert (ended.status, ended.out) == (0, "1 leg ended\n")
        assert listed(server) == [("stays", "c1")]


@pytest.mark.parametrize("way", WAYS)
def test_every_filter_ends_calls_of_a_switch_that_is_gone(tmp_path: Path, way: str) -> None:
    make_book(tmp_path)
    with serving(tmp_path, of_switches(OLD, STAYS)) as server:
        hold_calls(server)
        reload(server, CHANGES["removed"], "[[switch]]")
        ended = run("calls", "end", *WAYS[way], "--config", server.config)
        assert ended.status == 0, ended
        assert ("old", "c0") not in listed(server)


def test_calls_of_a_switch_that_is_gone_outlive_restarts(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, of_switches(OLD, STAYS)) as server:
        hold_calls(server)
        assert server.stop() == 0
    with serving(tmp_path, CHANGES["removed"], patient=True) as again:
        again.logged('held legs without a switch in the config: 1 (1 of "old")')
        os.kill(again.decider, signal.SIGKILL)
        ended = run("calls", "end", "c0", "--config", again.config)
        assert (ended.status, ended.out) == (0, "1 leg ended\n")
        assert listed(again) == [("stays", "c1")]
