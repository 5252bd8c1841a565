"""Wrong and hostile streams: an error or a closed connection, and bounded memory (interfaces.md 4)."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from e2e.resp.conftest import FIELDS, TOKEN
from support import HOST
from support.processes import resident
from support.server import Server
from support.waiting import wait_for

CRLF = b"\r\n"
GROWTH = 24 << 20
"""Largest growth of a decider under attack, in bytes."""


def connect(server: Server) -> socket.socket:
    return socket.create_connection((HOST, server.ports["tcp"]), timeout=20)


def rest(raw: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := raw.recv(1 << 16):
            found += data
    return found


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"*1\r\n$99999999\r\n", b"a message of at most 65536 bytes"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*100000000\r\n", b"invalid multibulk length"),
        (b"*2\r\n*1\r\n$1\r\na\r\n", b"expected '$', got \"*\""),
        (b"*" * 40, b"too big count string"),
        (b"*1\r\n$4\r\nPINGPING", b"expected a line end"),
        (b"PING " + b"x" * 70_000, b"too big inline request"),
        (b"PING 'x\r\n", b"unbalanced quotes"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b'got "POST" of HTTP'),
    ],
)
def test_a_wrong_stream_is_answered_and_closed(server: Server, stream: bytes, error: bytes) -> None:
    with connect(server) as raw:
        raw.sendall(b"PING\r\n" + stream)
        found = rest(raw)
    assert found.startswith(b"+PONG\r\n-ERR Protocol error: ")
    assert error in found


def test_a_command_that_is_cut_off(server: Server) -> None:
    with connect(server) as raw:
        raw.sendall(b"*2\r\n$4\r\nECHO\r\n$5\r\nab")
        raw.shutdown(socket.SHUT_WR)
        assert rest(raw) == b"-ERR Protocol error: the stream ended within a message\r\n"


def test_wrong_commands_leave_the_connection_open(server: Server) -> None:
    with connect(server) as raw:
        for command in (
            b"NOPE\r\n",
            b"IDENT.AUTH\r\n",
            b"IDENT.AUTH x\r\n",
            b'"\\x00" a\r\n',
            b"*1\r\n$0\r\n\r\n",
        ):
            raw.sendall(command)
            assert raw.recv(1000).startswith(b"-ERR ")
        raw.sendall(b"PING\r\n")
        assert raw.recv(100) == b"+PONG\r\n"


def test_memory_is_bounded(server: Server) -> None:
    decider, before = server.decider, resident(server.decider)
    hostile = [
        b"*4096\r\n" + b"$0\r\n\r\n" * 4095,
        b"*4096\r\n" + b"$8\r\ncalls=[[\r\n" * 4000,
        b"*2\r\n$10\r\nIDENT.SYNC\r\n$60000\r\ncalls=" + b"[" * 59_000,
        b'IDENT.SYNC calls="' + b"\\x00" * 16_000,
        b"*1\r\n$65000\r\n" + b"a" * 64_999,
        b"*1000\r\n" * 5000,
    ]
    opened = [connect(server) for _ in range(60)]
    try:
        for n, raw in enumerate(opened):
            with contextlib.suppress(OSError):
                raw.sendall(hostile[n % len(hostile)])
        assert answers(server)
        assert resident(decider) - before < GROWTH
    finally:
        for raw in opened:
            raw.close()
    assert server.decider == decider


def test_a_client_that_reads_nothing(server: Server) -> None:
    """Its pipeline stops, and others are answered meanwhile."""
    decider, before = server.decider, resident(server.decider)
    commands = (b"*2\r\n$4\r\nECHO\r\n$1000\r\n" + b"x" * 1000 + CRLF) * 50
    with connect(server) as raw:
        raw.setblocking(False)
        sent, until = 0, time.monotonic() + 3
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sent += raw.send(commands[sent % len(commands) :])
        assert answers(server)
        assert resident(decider) - before < GROWTH
    assert 1 << 20 < sent < 64 << 20


def test_a_command_byte_by_byte(server: Server) -> None:
    command = b"*5\r\n$14\r\nIDENT.IDENTIFY\r\n" + b"".join(
        b"$%d\r\n%b\r\n" % (len(one), one.encode()) for one in ("call_id=slow", *FIELDS)
    )
    with connect(server) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(command)):
            raw.sendall(command[n : n + 1])
        assert raw.recv(1000).startswith(b"*12\r\n:1\r\n")


def test_without_a_token_few_bytes_are_read(guarded: Server) -> None:
    with connect(guarded) as raw:
        with contextlib.suppress(OSError):
            for _ in range(10):
                raw.sendall(b"*2\r\n$4\r\nECHO\r\n$1000\r\n" + b"x" * 1000 + CRLF)
        found = rest(raw)
    assert found.count(b"-NOAUTH ") <= 16
    assert b"x" * 10 not in found


def test_a_pipeline_behind_a_token(guarded: Server) -> None:
    with connect(guarded) as raw:
        raw.sendall(b"AUTH %b\r\n" % TOKEN.encode() + b"PING\r\n" * 3000 + b"QUIT\r\n")
        assert rest(raw) == b"+OK\r\n" + b"+PONG\r\n" * 3000 + b"+OK\r\n"


def test_wrong_tokens_close_a_connection(guarded: Server) -> None:
    with connect(guarded) as raw:
        raw.sendall(b"AUTH wrong\r\n" * 20)
        assert rest(raw).count(b"-WRONGPASS ") == 16
    guarded.logged("wrong token")


def test_a_deferred_answer_keeps_its_place(server: Server) -> None:
    """The answer to a switch that frees many calls takes steps, and the next command waits for it."""
    with connect(server) as raw:
        count = 3000
        fields = " ".join(FIELDS)
        raw.sendall(b"".join(b"IDENT.AUTH call_id=many-%d %b\r\n" % (n, fields.encode()) for n in range(count)))
        found = b""
        while found.count(b"*12\r\n:1\r\n") < count:
            found += raw.recv(1 << 16)
        raw.sendall(b"IDENT.SWITCH_UP\r\n" + b"ECHO behind\r\n" * 500 + b"QUIT\r\n")
        found = rest(raw)
    assert found.startswith(b"$")
    assert b'{"ok":true,"freed":' in found[:30]
    assert found.endswith(b"$6\r\nbehind\r\n" * 500 + b"+OK\r\n")


def answers(server: Server) -> bool:
    """Return True once the server answers a right command on a new connection."""

    def asks() -> bool:
        with connect(server) as raw:
            raw.sendall(b"PING\r\n")
            return raw.recv(100) == b"+PONG\r\n"

    wait_for(asks)
    return True
