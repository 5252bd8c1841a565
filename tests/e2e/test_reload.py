"""SIGHUP as a whole: one process reads the file, all go by it, and one line says what changed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
from pathlib import Path

from support import HOST
from support.http import CONFIG, NOC, SWITCH, asking, make_book, wait_for_http, web_serving
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

STANDBY = CONFIG.replace("[listen]\n", "[listen]\nstandby = true\n")
REASON = "[reasons.unknown_source]\nsip_code = 604\n"


def reload(server: Server, config: str, changed: str) -> None:
    """Write a config and send SIGHUP; returns when the server has said, once, that this changed."""
    told = len(server.log)
    server.write_config(config)
    server.signal(signal.SIGHUP)
    wait_for(lambda: f"SIGHUP: changed: {changed}\n" in server.log[told:])
    assert server.log[told:].count("SIGHUP") == 1


def sip_code(server: Server) -> object:
    return server.authorize(src_ip="10.9.9.9", dst_number="44171")["sip_code"]


def test_what_concerns_http_alone_is_said(tmp_path: Path) -> None:
    make_book(tmp_path)
    with web_serving(tmp_path) as server:
        tokens = CONFIG.replace(NOC, "new-token-of-noc")
        reload(server, tokens, "[[token]]")
        with asking(server, "new-token-of-noc") as client:
            assert client.get("/metrics").status_code == 200, "at once, as the line says so"
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
    """Counts how often files of a folder are opened, by inotify(7)."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK)
        assert self._events >= 0
        assert libc.inotify_add_watch(self._events, os.fsencode(folder), 0x20) >= 0  # IN_OPEN

    def of(self, name: str) -> int:
        """Return how often a file was opened since the last call, and close."""
        seen = b""
        with os.fdopen(self._events, "rb", buffering=0) as events, contextlib.suppress(BlockingIOError):
            while more := events.read(65536):
                seen += more
        return seen.count(name.encode() + b"\0")


def test_one_process_reads_the_file(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, STANDBY, patient=True) as server:
        wait_for_http(server)
        server.standby  # noqa: B018 - it is waited for
        server.write_config(STANDBY + REASON)
        opens = Opens(server.config.parent)
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed: [reasons]\n")
        assert sip_code(server) == 604
        os.kill(server.decider, signal.SIGKILL)
        assert sip_code(server) == 604, "the standby has heard of it too"
        with asking(server) as client:
            answer = client.post("/v1/authorize", json={"src_ip": "10.9.9.9", "dst_number": "44"})
            assert answer.json()["sip_code"] == 604
        assert opens.of(server.config.name) == 1
        assert server.log.count("SIGHUP") == 1


def test_what_is_no_file_keeps_the_supervisor_from_nothing(tmp_path: Path) -> None:
    """A pipe that nobody writes to would block it for ever, and an empty device would be the default config."""
    make_book(tmp_path)
    with serving(tmp_path, REASON) as server:
        server.config.unlink()
        os.mkfifo(server.config)
        server.signal(signal.SIGHUP)
        server.logged(f"config: {server.config}: expected a regular file for a reload")
        server.config.unlink()
        server.config.symlink_to("/dev/null")
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.log.count("the config is wrong and nothing was changed") == 2)
        assert sip_code(server) == 604


def test_an_emptied_file_drops_no_switch(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, REASON) as server:
        server.config.write_text(" \n\n")
        server.signal(signal.SIGHUP)
        server.logged("expected a config, got an empty file")
        assert sip_code(server) == 604, "the config in force stays"


def test_more_connections_may_need_more_files(tmp_path: Path) -> None:
    def limits(*processes: int) -> list[int]:
        return [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in processes]

    make_book(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        server = Server(tmp_path, "[listen]\nstandby = true\n[limits]\nconnections = 100\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    processes = server.process.pid, server.decider, server.standby
    assert limits(*processes) == [300, 300, 300]
    reload(server, "[listen]\nstandby = true\n[limits]\nconnections = 400\n", "[limits]")
    assert min(limits(*processes)) > 400
    assert server.stop() == 0


def test_a_wrong_config_is_refused_once(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path, STANDBY) as server:
        wait_for_http(server)
        server.standby  # noqa: B018 - it is waited for
        server.write_config(STANDBY.replace(NOC, "another") + "[identify]\nrank = 'x'\n[log]\nlevl = 'info'\n")
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: the config is wrong and nothing was changed")
        reload(server, STANDBY + REASON, "[reasons]")
        assert server.log.count("the config is wrong and nothing was changed") == 1
        assert server.log.count("config: [identify] rank: ") == 1
        assert server.log.count("config: [log] levl: ") == 1
        with asking(server, NOC) as client:
            assert client.get("/metrics").status_code == 200


def test_a_config_that_is_longer_than_what_a_socket_takes(tmp_path: Path) -> None:
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


def test_a_child_that_hangs_keeps_no_other_from_the_new_config(tmp_path: Path) -> None:
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
        assert sip_code(server) == 604, "the next standby began with it"


def test_sighup_to_a_child_is_nothing(tmp_path: Path) -> None:
    make_book(tmp_path)
    with serving(tmp_path) as server:
        decider = server.decider
        os.kill(decider, signal.SIGHUP)
        reload(server, REASON, "[reasons]")
        assert server.decider == decider
        assert sip_code(server) == 604
