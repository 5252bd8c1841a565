"""Handshakes that stall or never end, peers that do not read, and streams that end within a record."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest
from adversity.tls.switches import GOOD, LINES, LISTEN, made, pings
from support import HOST
from support.server import Server, serving
from support.switch import call, is_closed, read_all, request
from support.tls import TLS_FILES, Authority


def test_an_unknown_address_gets_no_handshake(server: Server, authority: Authority) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 10, ("127.0.0.3", 0)) as stranger:
        assert is_closed(stranger)
    server.logged('unknown peer from "127.0.0.3"')


def test_plain_text_is_refused_and_counted(server: Server) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 10) as plain:
        plain.sendall(request("ping") * 10)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = read_all(plain)
        assert b"jsonrpc" not in answer
    server.logged("TLS handshake:")


@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_handshakes_that_stall_hold_nobody_up(server: Server, authority: Authority, cut: int) -> None:
    hello = _hello(authority)[:cut]
    stalled = []
    for _ in range(100):
        one = socket.create_connection((HOST, server.ports["tls"]), 20)
        one.sendall(hello)
        stalled.append(one)
    began = time.monotonic()
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)
    assert time.monotonic() - began < 4.5, "the decider waited for the handshakes"
    if cut == 5:  # the server closes them after the timeout
        for one in stalled:
            assert is_closed(one)
        server.logged('TLS handshake: took too long from "127.0.0.1"')
    for one in stalled:
        one.close()


def _hello(authority: Authority) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_handshake_byte_by_byte(server: Server, authority: Authority) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 20) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)

        def send() -> None:
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))

        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                send()
                incoming.write(raw.recv(65536))
        client.write(request("ping"))
        send()
        while True:
            try:
                assert b"result" in client.read(65536)
                break
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))


def test_garbage_after_the_handshake(server: Server, authority: Authority) -> None:
    raw = socket.create_connection((HOST, server.ports["tls"]), 20)
    with authority.client("sbc1.example").wrap_socket(raw, server_hostname=HOST) as tls:
        tls.sendall(request("ping"))
        assert b"result" in tls.recv(65536)
        os.write(tls.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that was encrypted with another key
        assert is_closed(tls)


@pytest.mark.parametrize("proper", [True, False])
def test_who_ends_its_side_gets_all_its_answers(server: Server, authority: Authority, proper: bool) -> None:
    """The stream ends by a close_notify of TLS, or by the FIN of TCP alone."""
    count = 400
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)
    with socket.create_connection((HOST, server.ports["tls"]), 20) as raw:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        client.write(b"".join(request("authorize", n, **GOOD) for n in range(count)))
        if proper:
            with pytest.raises(ssl.SSLWantReadError):
                client.unwrap()
        raw.sendall(outgoing.read())
        if not proper:
            raw.shutdown(socket.SHUT_WR)
        incoming.write(read_all(raw))
    answers = b""
    while answers.count(b"\n") < count:
        answers += client.read(65536)
    assert [json.loads(line)["id"] for line in answers.splitlines()] == list(range(count))


def test_a_peer_that_does_not_read(tmp_path: Path, authority: Authority) -> None:
    config = LISTEN + TLS_FILES + "[limits]\nunread_bytes = 65536\n"
    with serving(made(tmp_path, authority), config) as server:  # noqa: SIM117 - it ends last
        with server.switch(LINES, authority.client()) as greedy:
            assert pings(greedy)
            before = resident(server)
            deadline, quiet, sent = time.monotonic() + 20, time.monotonic(), 0
            messages = request("authorize", 1, **GOOD) * 50
            greedy.socket.setblocking(False)
            held = memoryview(messages)
            while time.monotonic() - quiet < 0.5 and time.monotonic() < deadline:
                try:
                    held = held[greedy.socket.send(held) :]
                    if not held:
                        held, sent = memoryview(messages), sent + 1
                    quiet = time.monotonic()
                except ssl.SSLWantWriteError:
                    time.sleep(0.01)
            assert time.monotonic() < deadline, "the server reads without limit"
            assert server.authorize(**GOOD)["accepted"]
            assert resident(server) - before < 10 << 20
            # When the peer reads again, it gets all answers.
            heard = 0
            while heard < 50 * (sent + 1) and time.monotonic() < deadline + 20:
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if held:
                        held = held[greedy.socket.send(held) :]
                with contextlib.suppress(ssl.SSLWantReadError):
                    heard += greedy.socket.recv(1 << 20).count(b"\n")
            assert heard == 50 * (sent + 1)


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_more_connections_than_files_may_be_open(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:
        decider = server.decider
        limits = resource.prlimit(decider, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{decider}/fd").iterdir()))
        resource.prlimit(decider, resource.RLIMIT_NOFILE, (used + 3, limits[1]))
        waiting = [socket.create_connection((HOST, server.ports["tls"]), 20) for _ in range(10)]
        server.logged("too many files")
        assert server.authorize(**GOOD)["accepted"]
        resource.prlimit(decider, resource.RLIMIT_NOFILE, limits)
        with server.switch(LINES, authority.client()) as switch:
            assert pings(switch), "the connection waited in the queue"
        for one in waiting:
            one.close()


def test_a_drain_answers_what_came_and_ends_connections_in_order(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:  # noqa: SIM117 - it ends last
        with (
            server.switch(LINES, authority.client()) as busy,
            server.switch(LINES, authority.client()) as idle,
        ):
            assert pings(busy)
            assert pings(idle)
            shaking = socket.create_connection((HOST, server.ports["tls"]), 20)
            decider = server.decider
            os.kill(decider, signal.SIGSTOP)
            busy.send(*[call("authorize", n, **GOOD) for n in range(300)])
            server.signal(signal.SIGTERM)
            os.kill(decider, signal.SIGCONT)
            # The streams end with close_notify, or reading would raise.
            assert [answer["id"] for answer in busy.rest()] == list(range(300))
            assert idle.rest() == []
            shaking.close()
