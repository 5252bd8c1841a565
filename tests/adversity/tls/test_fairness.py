"""Peers of one address that have shown nothing cannot keep the switches of other addresses waiting."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adversity.tls.switches import LINES, LISTEN, SWITCHES, made, pings
from adversity.tls.test_handshakes import _hello
from support import HOST
from support.server import Server, serving
from support.tls import CLIENT_CA, TLS_FILES, Authority

BAD = "127.0.0.2"
"""An address of a switch, from which anyone on its network can connect."""


@contextlib.contextmanager
def flood(server: Server, hello: bytes, threads: int = 4) -> Iterator[list[int]]:
    """Begin handshakes from BAD without a pause, and leave each after its first step."""
    over = threading.Event()
    counts = [0] * threads

    def run(number: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                one = socket.create_connection((HOST, server.ports["tls"]), 5, (BAD, 0))
                one.sendall(hello)
                one.close()
                counts[number] += 1

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield counts
    finally:
        over.set()
        for worker in workers:
            worker.join()


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[Server]:
    limits = "[limits]\nconnections = 100\nconnections_per_switch = 50\n"
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES + CLIENT_CA + SWITCHES + limits) as running:
        yield running
        assert "Traceback" not in running.log


def seconds_of_a_connect(server: Server, context: ssl.SSLContext) -> float:
    began = time.monotonic()
    with server.switch(LINES, context) as switch:
        assert pings(switch)
    return time.monotonic() - began


def test_stalled_handshakes_of_one_address_leave_room_for_another(server: Server, authority: Authority) -> None:
    """All connections that the limit permits are taken, and each would be free again after five seconds only."""
    stalled = [socket.create_connection((HOST, server.ports["tls"]), 20, (BAD, 0)) for _ in range(120)]
    assert seconds_of_a_connect(server, authority.client("sbc1.example")) < 3
    server.logged('TLS handshake: too many unfinished ones from "127.0.0.2"')
    server.logged('too many connections from "127.0.0.2"')
    for one in stalled:
        one.close()


def test_handshakes_of_one_address_take_turns_with_those_of_another(server: Server, authority: Authority) -> None:
    with flood(server, _hello(authority)) as counts:
        time.sleep(1.0)
        context = authority.client("sbc1.example")
        waits = [seconds_of_a_connect(server, context) for _ in range(5)]
    assert sum(counts) > 100
    assert sorted(waits)[2] < 3.0, waits  # the machine is shared with the flood
