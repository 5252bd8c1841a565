"""Garbage, bombs, cut frames and crowds in every framing and encoding.

After each attack the next good request is answered, and the memory of the decider returns to its old size.

``-m long`` repeats each attack more often.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import msgspec
import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.connections import connections
from support.server import Server, serving
from support.switch import CONNECTED, OVER_TCP, WIRES, Switch, Wire, call, send_until_stuck
from support.thorough import amounts
from support.tls import TLS_FILES, Authority
from support.waiting import wait_for

from identengine.model.records import Client

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'
GOOD: dict[str, object] = {"src_ip": "10.0.0.1", "dst_number": "44171"}
GROWTH = 10 << 20
"""Allowed growth of the process for each test, in bytes."""
OVER_UDP = tuple(wire for wire in WIRES if wire.transport == "udp")
AUTHORITY = Authority()
_TLS = AUTHORITY.client()


def by_name(wire: Wire) -> str:
    return wire.name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    folder = tmp_path_factory.mktemp("storms")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(folder)
    limits = "[limits]\nconnections = 1000\nconnections_per_switch = 1000\nunread_bytes = 65536\n"
    with serving(folder, LISTEN + TLS_FILES + limits) as running:
        for wire in WIRES:  # memory that is allocated once is not growth
            with running.switch(wire, _TLS) as switch:
                for _ in range(100):
                    switch.exchange("authorize", GOOD)
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def _as_it_was(server: Server) -> Iterator[None]:
    """Check afterwards that all peers are answered, and that the process has not grown."""
    before, pid = resident(server), server.decider
    yield
    for wire in WIRES:
        with server.switch(wire, _TLS) as switch:
            assert switch.exchange("authorize", GOOD)["result"]["account_id"] == 1
    assert server.decider == pid
    wait_for(lambda: resident(server) - before < GROWTH)


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- garbage


def garbage(rng: random.Random, switch: Switch) -> bytes:
    """Return random bytes, or a good message with one defect."""
    kind = rng.randrange(6)
    good = bytearray(switch.encoded(call("authorize", rng.random(), **GOOD)))
    if kind == 0:
        return rng.randbytes(rng.randrange(1400))
    if kind == 1:
        return bytes(good[: rng.randrange(len(good))])
    if kind == 2:
        for _ in range(rng.randrange(1, 5)):
            good[rng.randrange(len(good))] = rng.randrange(256)
        return bytes(good)
    if kind == 3:
        return bytes(good) * rng.randrange(2, 5)
    if kind == 4:
        return rng.choice((b"[", b"\x91", b"\x81", b"{")) * rng.randrange(1, 1200) + bytes(good)
    return rng.choice(BOMBS[switch.wire.encoding])


_HEADERS = [
    head + size.to_bytes(width, "big")
    for width, heads in ((1, (b"\xc4", b"\xc7", b"\xd9")), (2, (b"\xc5", b"\xc8", b"\xda", b"\xdc", b"\xde")))
    for head in heads
    for size in (1, 2 ** (8 * width) - 1)
] + [
    head + size.to_bytes(4, "big")
    for head in (b"\xc6", b"\xc9", b"\xdb", b"\xdd", b"\xdf")
    for size in (1, 2**16, 2**24, 2**31, 2**32 - 1)
]
"""Heads of MessagePack values (binary, extension, text, array, map) that announce more than follows."""


def _within(value: bytes, name: str = "calls", method: str = "sync") -> bytes:
    """Return a MessagePack message with a parameter."""
    text = msgspec.msgpack.encode
    head = b"\x84" + b"".join(map(text, ("jsonrpc", "2.0", "id", 1, "method", method, "params")))
    return head + b"\x81" + text(name) + value


_DEEP = 20_000
BOMBS = {
    "json": [
        b"[" * _DEEP,
        b'{"a":' * _DEEP,
        b"[" * _DEEP + b"]" * _DEEP,
        b"[" * 60 + b"]" * 60,
        b'{"jsonrpc":"2.0","id":' + b"9" * 60_000 + b',"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"sync","params":{"calls":[' + b'["",""],' * 7000 + b'[""]]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_port":' + b"1" * 5000 + b"}}",
        b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_port":1e999999}}',
        b"[" + b"{}," * 20_000 + b"{}]",
        b'{"' + b"\\u0000" * 10_000 + b'":1}',
    ],
    "msgpack": [
        *_HEADERS,
        *map(_within, _HEADERS),
        *(_within(b"\x91" + head) for head in _HEADERS),
        *(_within(head, "unknown", "authorize") for head in _HEADERS),
        *(b"\x91" + head for head in _HEADERS),
        b"\x91" * _DEEP,
        b"\x91" * _DEEP + b"\xc0",
        _within(b"\x91" * _DEEP + b"\xc0"),
        _within(b"\x81\xa0" * _DEEP + b"\xc0", "unknown"),
        b"\xdc\xff\xff" + b"\x80" * 65_000,
        b"\xc1",
        b"\xd4\x00\x00",
        b"\xc7\x0c\xff" + b"\xff" * 12,
    ],
}


@pytest.mark.parametrize("wire", OVER_UDP, ids=by_name)
@pytest.mark.parametrize("datagrams", amounts(6_000, 1_000_000, seconds=3600))
def test_datagrams_of_garbage(server: Server, wire: Wire, datagrams: int) -> None:
    rng = random.Random(1)
    with server.switch(wire) as switch:
        some = [garbage(rng, switch) for _ in range(3000)]
        source = cycle(some)
        for turn in range(datagrams // 50):
            for _ in range(50):
                switch.socket.send(next(source)[:60_000])
            # Wait until the server has read them, or the kernel would drop some.
            _ping(switch, f"turn {turn}")


def _ping(switch: Switch, message_id: str) -> None:
    """Ask, and wait for the answer behind all earlier answers."""
    wanted = message_id.encode()
    switch.send(call("ping", message_id))
    while wanted not in switch.socket.recv(65536):
        pass


@pytest.mark.parametrize("wire", OVER_TCP, ids=by_name)
@pytest.mark.parametrize("streams", amounts(400, 50_000, seconds=3600))
def test_streams_of_garbage(server: Server, wire: Wire, streams: int) -> None:
    rng = random.Random(2)
    for turn in range(streams):
        with server.switch(wire) as switch, contextlib.suppress(ConnectionError):
            for _ in range(rng.randrange(1, 4)):
                raw = garbage(rng, switch)
                switch.socket.sendall(raw if turn % 2 else switch.framed(raw))
            switch.socket.shutdown(socket.SHUT_WR)
            while switch.socket.recv(65536):
                pass


@pytest.mark.parametrize("wire", WIRES, ids=by_name)
def test_bombs(server: Server, wire: Wire) -> None:
    before = resident(server)
    for bomb in BOMBS[wire.encoding]:
        with server.switch(wire, _TLS) as switch:
            switch.socket.settimeout(20)
            began = time.monotonic()
            if wire.transport == "udp":
                switch.socket.send(bomb[:60_000])
                _ping(switch, "after it")
            else:
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    switch.socket.sendall(switch.framed(bomb))
                    switch.send(call("ping", "after it"))
                    _ends_or_answers(switch)
            assert time.monotonic() - began < 10
    assert resident(server) - before < 3 * GROWTH


def _ends_or_answers(switch: Switch) -> None:
    """Read until the connection ends, or until the ping after the bomb is answered."""
    held = b""
    if switch.wire.framing == "lines":  # half a message includes the bytes after it
        switch.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while some := switch.socket.recv(65536):
            held = held[-20:] + some
            if b"after it" in held:
                return


# ---- frames


@pytest.mark.parametrize("wire", CONNECTED, ids=by_name)
def test_frames_that_are_cut_at_each_place(server: Server, wire: Wire) -> None:
    """The stream ends, is reset, or stalls at each byte."""
    with server.switch(wire, _TLS) as switch:
        frame = switch.encoded(call("authorize", "é", **GOOD))
    step = 1 if wire.transport == "tcp" else 16  # a handshake is slow
    left = []
    for place in range(1, len(frame), step):
        with contextlib.ExitStack() as opened:
            switch = opened.enter_context(server.switch(wire, _TLS))
            switch.send(call("ping", 1))
            switch.socket.sendall(frame[:place])
            if place % 3 == 0:
                left.append(opened.pop_all())
            elif place % 3 == 1:
                switch.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif wire.transport == "tcp":
                switch.socket.shutdown(socket.SHUT_WR)
                ping, error = switch.rest()
                assert ping["id"] == 1
                assert (error["id"], error["error"]["code"]) == (None, -32700)
    for one in left:
        one.close()


_OVERSIZED = {
    "lines": b'{"jsonrpc":"2.0","x":"' + b"x" * 66_000,
    "netstrings": b"65537:",
    "prefixed": b"\0\1\0\1",
}


@pytest.mark.parametrize("wire", CONNECTED, ids=by_name)
def test_oversized_messages(server: Server, wire: Wire) -> None:
    assert wire.framing is not None
    with server.switch(wire, _TLS) as switch:
        switch.send(call("ping", 1))
        switch.socket.sendall(_OVERSIZED[wire.framing])
        answers = switch.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[1]["error"]["code"] == -32700
    assert "65536" in answers[1]["error"]["message"]
    with server.switch(wire, _TLS) as switch:
        size = len(switch.encoded(call("ping", x=""))) + 16
        assert "result" in switch.exchange("ping", {"x": "x" * (65_536 - size)}), "the largest message allowed"


@pytest.mark.parametrize("wire", OVER_TCP, ids=by_name)
def test_lengths_that_promise_too_much(server: Server, wire: Wire) -> None:
    promises = {
        "lines": [],
        "netstrings": [b"99999999999999999999:", b"1" * 70_000, b"0000001:", b"65537", b"12345678"],
        "prefixed": [b"\0\xff\xff\xff", b"\0\1\0\1"],
    }
    for promise in promises[wire.framing or ""]:
        for _ in range(50):
            with server.switch(wire) as switch, contextlib.suppress(ConnectionError):
                switch.socket.sendall(promise)
                switch.socket.shutdown(socket.SHUT_WR)
                assert [answer["error"]["code"] for answer in switch.rest()] == [-32700]


@pytest.mark.parametrize("wire", CONNECTED, ids=by_name)
def test_a_hundred_that_send_byte_by_byte(server: Server, wire: Wire) -> None:
    count = 100 if wire.transport == "tcp" else 20
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(server.switch(wire, _TLS)) for _ in range(count)]
        message = slow[0].encoded(call("authorize", "é", **GOOD))
        for place in range(0, len(message), 7):
            for switch in slow:
                switch.socket.sendall(message[place : place + 7])
            with server.switch(OVER_UDP[0]) as quick:
                assert quick.exchange("authorize", GOOD)["result"]["accepted"]
        for switch in slow:
            assert switch.receive()["result"]["account_id"] == 1


@pytest.mark.parametrize("wire", OVER_TCP, ids=by_name)
def test_who_does_not_read_is_not_read_from(server: Server, wire: Wire) -> None:
    before = resident(server)
    with server.switch(wire) as deaf:
        messages = deaf.encoded([call("identify", n, **GOOD) for n in range(100)]) * 20
        send_until_stuck(deaf.socket, messages, lambda: server.authorize(**GOOD))
        with server.switch(OVER_UDP[0]) as other:
            assert other.exchange("authorize", GOOD)["result"]["accepted"]
        assert resident(server) - before < GROWTH


def test_who_is_silent_or_never_ends_a_message_is_closed(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(tmp_path)
    limits = "[limits]\nidle_seconds = 1\n"
    with serving(tmp_path, LISTEN + TLS_FILES + limits) as server, contextlib.ExitStack() as opened:
        every = []
        for wire in CONNECTED:
            silent, half, begun = (opened.enter_context(server.switch(wire, _TLS)) for _ in range(3))
            frame = half.encoded(call("ping"))
            half.socket.sendall(frame[:-3])
            begun.socket.sendall(frame[:1])
            every += [silent, half, begun]
        for one in every:
            assert one.is_closed()


# ---- crowds


@pytest.mark.parametrize("connects", amounts(2_000, 100_000, seconds=600))
def test_connects_in_a_row(server: Server, connects: int) -> None:
    for number in range(connects):
        with server.tcp() as tcp:
            if number % 100 == 0:
                assert tcp.ask("ping")
            elif number % 2:
                tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_as_many_connections_at_once_as_are_allowed(server: Server) -> None:
    with contextlib.ExitStack() as opened:
        wire = next(wire for wire in OVER_TCP if wire.framing == "prefixed")

        def settled() -> bool:
            with server.switch(wire) as one:
                one.send(call("ping"))
                return not one.is_closed()

        wait_for(settled)
        for kind in ("tcp", "tls"):  # connections of other tests are closed, too
            wait_for(lambda kind=kind: not connections(server.ports[kind]))  # type: ignore[misc]
        many = [opened.enter_context(server.switch(wire)) for _ in range(1000)]
        for number, switch in enumerate(many):
            switch.send(call("authorize", number, **GOOD))
        answered = 0
        for number, switch in enumerate(many):
            with contextlib.suppress(EOFError, ConnectionError):
                assert switch.receive()["id"] == number
                answered += 1
        assert answered > 990, "connections of other tests may have counted"
        for _ in range(20):
            with server.switch(wire) as more:
                if is_gone_now(more):
                    break
        else:
            pytest.fail("there is no limit")


def is_gone_now(switch: Switch) -> bool:
    try:
        switch.send(call("ping"))
    except ConnectionError:
        return True
    return switch.is_closed()
