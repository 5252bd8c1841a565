"""Slow, silent, greedy and numerous connections: each is bounded, and none delays the others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import Switch, request, send_until_stuck
from support.waiting import PATIENCE, wait_for

from identengine.model.records import Client

GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@contextlib.contextmanager
def connections(server: Server, count: int) -> Iterator[list[Switch]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.tcp()) for _ in range(count)]


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
            assert tcp.answers(1)[0]["result"]["account_id"] == 1


def test_silent_and_half_sent_connections_are_closed(store: Path) -> None:
    with serving(store, "[limits]\nidle_seconds = 1\n") as server, connections(server, 3) as (silent, half, busy):

        def are_closed() -> bool:
            with contextlib.suppress(ConnectionError):
                half.send(b"[")  # data, but never a message
            busy.send(request("ping"))
            assert busy.answers(1)
            time.sleep(0.1)
            return all(map(_is_closed_by_now, (silent, half)))

        wait_for(are_closed)
        busy.send(request("ping"))
        assert busy.answers(1)


def test_connections_in_all(store: Path) -> None:
    config = "[limits]\nconnections = 5\n"
    with serving(store, config) as server, connections(server, 5) as five:
        for tcp in five:
            tcp.send(request("ping"))
            assert tcp.answers(1)
        with server.tcp() as sixth:
            assert sixth.is_closed()
        five[0].close()
        wait_for(lambda: _is_let_in(server))


def test_connections_of_one_switch(store: Path) -> None:
    config = (
        "[limits]\nconnections_per_switch = 2\n"
        '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\n[[switch]]\nname = "b"\naddresses = ["127.0.0.2"]\n'
    )
    with serving(store, config) as server, connections(server, 2) as two:
        for tcp in two:
            tcp.send(request("ping"))
            assert tcp.answers(1)
        with server.tcp() as third:
            assert third.is_closed()
        with server.switch(address="127.0.0.2") as other:
            other.send(request("ping"))
            assert other.answers(1)


def _is_closed_by_now(tcp: Switch) -> bool:
    tcp.socket.setblocking(False)
    try:
        return tcp.is_closed()
    except BlockingIOError:
        return False


def _is_let_in(server: Server) -> bool:
    with server.tcp() as tcp, contextlib.suppress(ConnectionError, EOFError):
        tcp.send(request("ping"))
        return bool(tcp.receive())
    return False


def test_500_connections(store: Path) -> None:
    with serving(store, "[limits]\nconnections_per_switch = 600\n") as server:
        with connections(server, 500) as many:
            for number, tcp in enumerate(many):
                tcp.send(request(message_id=number, **GOOD))
            for number, tcp in enumerate(many):
                assert tcp.answers(1)[0]["id"] == number
        for _ in range(500):
            with server.tcp() as tcp:
                tcp.send(request("ping"))
        assert _is_let_in(server)


def test_a_peer_that_does_not_read_is_not_read_from(store: Path) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with serving(store, "[limits]\nunread_bytes = 65536\n") as server, server.tcp() as greedy:
        assert server.authorize(**GOOD)["accepted"]
        before = resident()
        sent = send_until_stuck(greedy.socket, request(**GOOD) * 100, lambda: server.authorize(**GOOD))
        assert server.authorize(**GOOD)["accepted"]
        assert resident() - before < 10 * 1024 * 1024
        # When the peer reads again, it gets all answers.
        greedy.socket.setblocking(True)
        greedy.socket.settimeout(PATIENCE)
        whole, rest = divmod(sent, len(request(**GOOD)))
        assert len(greedy.answers(whole)) == whole
        greedy.send(request(**GOOD)[rest:])
        assert len(greedy.answers(1)) == 1


def test_a_peer_that_sends_much_at_once_takes_turns_with_the_others(store: Path) -> None:
    burst = b"".join(request(message_id=number, **GOOD) for number in range(3000))
    with serving(store) as server, connections(server, 2) as (greedy, modest):
        # All of it is in the kernel before the server polls, so it is one event.
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        greedy.socket.setblocking(False)
        sent = greedy.socket.send(burst)
        modest.send(request(message_id="modest", **GOOD))
        os.kill(decider, signal.SIGCONT)
        (answer,) = modest.answers(1)
        assert answer["id"] == "modest"
        greedy.socket.setblocking(True)
        greedy.socket.settimeout(PATIENCE)
        before = len(greedy.socket.recv(1 << 22, socket.MSG_PEEK))
        (size,) = modest.answer_bytes
        assert before < 1000 * size, "the modest one waited for the greedy one"
        rest = burst[sent:]
        sender = threading.Thread(target=greedy.send, args=(rest,))
        sender.start()
        answers = greedy.answers(3000)
        sender.join()
        assert [answer["id"] for answer in answers] == list(range(3000))


def test_unread_answers_stop_the_answering_too(store: Path) -> None:
    with serving(store, "[limits]\nunread_bytes = 65536\n") as server, connections(server, 1) as (deaf,):
        deaf.socket.setblocking(False)
        burst = b"".join(request(message_id=number, **GOOD) for number in range(5000)) * 8
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += deaf.socket.send(burst[sent % len(burst) :])
                time.sleep(0.01)
        assert server.authorize(**GOOD)["accepted"]
        pages = int(Path(f"/proc/{server.decider}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 150 << 20


def test_half_a_message_at_the_end_is_answered_after_what_is_before_it(store: Path) -> None:
    with serving(store) as server, connections(server, 1) as (tcp,):
        tcp.send(b"".join(request(message_id=number, **GOOD) for number in range(500)) + b'{"jsonrpc":')
        tcp.end_sending()
        answers = tcp.rest()
        assert [answer["id"] for answer in answers] == [*range(500), None]
        assert answers[-1]["error"]["code"] == -32700
