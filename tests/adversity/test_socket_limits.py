"""Slow, silent, greedy and numerous connections: each is bounded, none holds the others up."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import HOST, Server, ip_account, lines, put_rows, request, serving, wait_for

from identengine.model import Client

GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@contextlib.contextmanager
def connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.tcp()) for _ in range(count)]


def is_closed(tcp: socket.socket) -> bool:
    try:
        return tcp.recv(100) == b""
    except ConnectionResetError:
        return True


def test_slow_connections_hold_nobody_up(store: Path) -> None:
    with serving(store) as server, connections(server, 100) as slow:
        message = request(**GOOD)
        for at in range(len(message)):
            for tcp in slow:
                tcp.send(message[at : at + 1])
            if at % 20 == 0:
                began = time.monotonic()
                assert server.authorize(**GOOD)["accepted"]
                assert time.monotonic() - began < 1
        for tcp in slow:
            assert json.loads(lines(tcp, 1)[0])["result"]["account_id"] == 1


def test_silent_and_half_sent_connections_are_closed(store: Path) -> None:
    with serving(store, "[limits]\nidle_seconds = 1\n") as server, connections(server, 3) as (silent, half, busy):
        busy.settimeout(5)
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            with contextlib.suppress(ConnectionError):
                half.send(b"[")  # always something, never a message
            busy.sendall(request("ping"))
            assert lines(busy, 1)
            time.sleep(0.1)
        assert is_closed(silent)
        assert is_closed(half)
        busy.sendall(request("ping"))
        assert lines(busy, 1)


def test_connections_in_all(store: Path) -> None:
    config = "[limits]\nconnections = 5\n"
    with serving(store, config) as server, connections(server, 5) as five:
        for tcp in five:
            tcp.sendall(request("ping"))
            assert lines(tcp, 1)
        with server.tcp() as sixth:
            assert is_closed(sixth)
        five[0].close()
        wait_for(lambda: _is_let_in(server))


def test_connections_of_one_switch(store: Path) -> None:
    config = (
        "[limits]\nconnections_per_switch = 2\n"
        '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\n[[switch]]\nname = "b"\naddresses = ["127.0.0.2"]\n'
    )
    with serving(store, config) as server, connections(server, 2) as two:
        for tcp in two:
            tcp.sendall(request("ping"))
            assert lines(tcp, 1)
        with server.tcp() as third:
            assert is_closed(third)
        with socket.create_connection((HOST, server.ports["tcp"]), 5, ("127.0.0.2", 0)) as other:
            other.sendall(request("ping"))
            assert lines(other, 1)


def _is_let_in(server: Server) -> bool:
    with server.tcp() as tcp, contextlib.suppress(ConnectionError):
        tcp.sendall(request("ping"))
        return bool(tcp.recv(1000))
    return False


def test_500_connections(store: Path) -> None:
    with serving(store, "[limits]\nconnections_per_switch = 600\n") as server:
        with connections(server, 500) as many:
            for number, tcp in enumerate(many):
                tcp.sendall(request(message_id=number, **GOOD))
            for number, tcp in enumerate(many):
                assert json.loads(lines(tcp, 1)[0])["id"] == number
        for _ in range(500):
            with server.tcp() as tcp:
                tcp.sendall(request("ping"))
        assert _is_let_in(server)


def test_a_peer_that_does_not_read_is_not_read_from(store: Path) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with serving(store, "[limits]\nunread_bytes = 65536\n") as server, server.tcp() as greedy:
        assert server.authorize(**GOOD)["accepted"]
        before = resident()
        greedy.setblocking(False)
        messages = request(**GOOD) * 100
        sent = 0
        quiet = time.monotonic()
        while time.monotonic() - quiet < 0.5:
            try:
                sent += greedy.send(messages[sent % len(messages) :])
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert server.authorize(**GOOD)["accepted"]
        assert resident() - before < 10 * 1024 * 1024
        # Once it reads again, it is served to the end.
        greedy.setblocking(True)
        greedy.settimeout(5)
        whole, rest = divmod(sent, len(request(**GOOD)))
        assert _count_answers(greedy, whole) == whole
        greedy.sendall(request(**GOOD)[rest:])
        assert _count_answers(greedy, 1) == 1


def _count_answers(tcp: socket.socket, wanted: int) -> int:
    found = 0
    while found < wanted:
        some = tcp.recv(1 << 20)
        assert some
        found += some.count(b"\n")
    return found
