"""Slow, silent, greedy and numerous connections: each is bounded, none holds the others up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import lines, read_all, request
from support.waiting import wait_for

from identengine.model.records import Client

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
        return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

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


def test_a_peer_that_sends_much_at_once_takes_turns_with_the_others(store: Path) -> None:
    burst = b"".join(request(message_id=number, **GOOD) for number in range(3000))
    with serving(store) as server, connections(server, 2) as (greedy, modest):
        # In the kernel before the server looks: it finds all of it in one readiness.
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        greedy.setblocking(False)
        sent = greedy.send(burst)
        modest.sendall(request(message_id="modest", **GOOD))
        os.kill(decider, signal.SIGCONT)
        (answer,) = lines(modest, 1)
        assert json.loads(answer)["id"] == "modest"
        greedy.setblocking(True)
        greedy.settimeout(20)
        before = len(greedy.recv(1 << 22, socket.MSG_PEEK))
        size = len(answer)
        assert before < 1000 * size, "the modest one waited for the greedy one"
        rest = burst[sent:]
        sender = threading.Thread(target=greedy.sendall, args=(rest,))
        sender.start()
        answers = lines(greedy, 3000)
        sender.join()
        assert [json.loads(line)["id"] for line in answers] == list(range(3000))


def test_unread_answers_stop_the_answering_too(store: Path) -> None:
    with serving(store, "[limits]\nunread_bytes = 65536\n") as server, connections(server, 1) as (deaf,):
        deaf.setblocking(False)
        burst = b"".join(request(message_id=number, **GOOD) for number in range(5000)) * 8
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += deaf.send(burst[sent % len(burst) :])
                time.sleep(0.01)
        assert server.authorize(**GOOD)["accepted"]
        pages = int(Path(f"/proc/{server.decider}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 150 << 20


def test_half_a_message_at_the_end_is_answered_after_what_is_before_it(store: Path) -> None:
    with serving(store) as server, connections(server, 1) as (tcp,):
        tcp.sendall(b"".join(request(message_id=number, **GOOD) for number in range(500)) + b'{"jsonrpc":')
        tcp.shutdown(socket.SHUT_WR)
        answers = [json.loads(line) for line in read_all(tcp).splitlines()]
        assert [answer["id"] for answer in answers] == [*range(500), None]
        assert answers[-1]["error"]["code"] == -32700
