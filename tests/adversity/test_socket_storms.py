"""Garbage, bombs, cut frames and crowds in every framing and encoding.

Every time the next good request is answered, and the memory of the decider is soon what it was.

``-m long`` sends many more of them.
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
from support.server import Server, serving
from support.switch import CONNECTED, OVER_TCP, WAYS, Speaker, Way, call, is_gone, speaking
from support.thorough import amounts
from support.tls import TLS_FILES, Authority
from support.waiting import wait_for

from identengine.model.records import Client

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'
GOOD: dict[str, object] = {"src_ip": "10.0.0.1", "dst_number": "44171"}
GROWTH = 10 << 20
"""Bytes by which the process may have grown after each."""
OVER_UDP = tuple(way for way in WAYS if way.transport == "udp")
AUTHORITY = Authority()
_TLS = AUTHORITY.client()


def by_name(way: Way) -> str:
    return way.name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    folder = tmp_path_factory.mktemp("storms")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(folder)
    limits = "[limits]\nconnections = 1000\nconnections_per_switch = 1000\nunread_bytes = 65536\n"
    with serving(folder, LISTEN + TLS_FILES + limits) as running:
        for way in WAYS:  # what it takes once is no growth
            with speaking(running, way, _TLS) as speaker:
                for _ in range(100):
                    speaker.ask("authorize", GOOD)
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def _as_it_was(server: Server) -> Iterator[None]:
    """See that afterwards everybody is answered, and that the process has not grown."""
    before, pid = resident(server), server.decider
    yield
    for way in WAYS:
        with speaking(server, way, _TLS) as speaker:
            assert speaker.ask("authorize", GOOD)["result"]["account_id"] == 1
    assert server.decider == pid
    wait_for(lambda: resident(server) - before < GROWTH)


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- garbage


def garbage(rng: random.Random, speaker: Speaker) -> bytes:
    """Return nonsense, or a good message with something broken."""
    kind = rng.randrange(6)
    good = bytearray(speaker.encoded(call("authorize", rng.random(), **GOOD)))
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
    return rng.choice(BOMBS[speaker.way.encoding])


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
"""Of binary, extension, text, array and map in MessagePack: they promise what does not follow."""


def _within(value: bytes, name: str = "calls", method: str = "sync") -> bytes:
    """Return a MessagePack message with this as a parameter."""
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


@pytest.mark.parametrize("way", OVER_UDP, ids=by_name)
@pytest.mark.parametrize("datagrams", amounts(6_000, 1_000_000, seconds=3600))
def test_datagrams_of_garbage(server: Server, way: Way, datagrams: int) -> None:
    rng = random.Random(1)
    with speaking(server, way) as speaker:
        some = [garbage(rng, speaker) for _ in range(3000)]
        source = cycle(some)
        for turn in range(datagrams // 50):
            for _ in range(50):
                speaker.socket.send(next(source)[:60_000])
            # Wait until it is through with them, or the kernel would drop some.
            _ping(speaker, f"turn {turn}")


def _ping(speaker: Speaker, message_id: str) -> None:
    """Be answered, whatever else is answered before."""
    wanted = message_id.encode()
    speaker.tell(call("ping", message_id))
    while wanted not in speaker.socket.recv(65536):
        pass


@pytest.mark.parametrize("way", OVER_TCP, ids=by_name)
@pytest.mark.parametrize("streams", amounts(400, 50_000, seconds=3600))
def test_streams_of_garbage(server: Server, way: Way, streams: int) -> None:
    rng = random.Random(2)
    for turn in range(streams):
        with speaking(server, way) as speaker, contextlib.suppress(ConnectionError):
            for _ in range(rng.randrange(1, 4)):
                raw = garbage(rng, speaker)
                speaker.socket.sendall(raw if turn % 2 else speaker.framed(raw))
            speaker.socket.shutdown(socket.SHUT_WR)
            while speaker.socket.recv(65536):
                pass


@pytest.mark.parametrize("way", WAYS, ids=by_name)
def test_bombs(server: Server, way: Way) -> None:
    before = resident(server)
    for bomb in BOMBS[way.encoding]:
        with speaking(server, way, _TLS) as speaker:
            speaker.socket.settimeout(20)
            began = time.monotonic()
            if way.transport == "udp":
                speaker.socket.send(bomb[:60_000])
                _ping(speaker, "after it")
            else:
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    speaker.socket.sendall(speaker.framed(bomb))
                    speaker.tell(call("ping", "after it"))
                    _ends_or_answers(speaker)
            assert time.monotonic() - began < 10
    assert resident(server) - before < 3 * GROWTH


def _ends_or_answers(speaker: Speaker) -> None:
    """Read until the connection ends, or the ping behind the bomb is answered."""
    held = b""
    if speaker.way.framing == "lines":  # half a message swallows what is behind it
        speaker.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while some := speaker.socket.recv(65536):
            held = held[-20:] + some
            if b"after it" in held:
                return


# ---- frames


@pytest.mark.parametrize("way", CONNECTED, ids=by_name)
def test_frames_that_are_cut_at_each_place(server: Server, way: Way) -> None:
    """Ended, reset, or left alone there."""
    with speaking(server, way, _TLS) as speaker:
        frame = speaker.encoded(call("authorize", "é", **GOOD))
    step = 1 if way.transport == "tcp" else 16  # each handshake takes its time
    left = []
    for place in range(1, len(frame), step):
        with contextlib.ExitStack() as opened:
            speaker = opened.enter_context(speaking(server, way, _TLS))
            speaker.tell(call("ping", 1))
            speaker.socket.sendall(frame[:place])
            if place % 3 == 0:
                left.append(opened.pop_all())
            elif place % 3 == 1:
                speaker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif way.transport == "tcp":
                speaker.socket.shutdown(socket.SHUT_WR)
                ping, error = speaker.rest()
                assert ping["id"] == 1
                assert (error["id"], error["error"]["code"]) == (None, -32700)
    for one in left:
        one.close()


_OVERSIZED = {
    "lines": b'{"jsonrpc":"2.0","x":"' + b"x" * 66_000,
    "netstrings": b"65537:",
    "prefixed": b"\0\1\0\1",
}


@pytest.mark.parametrize("way", CONNECTED, ids=by_name)
def test_oversized_messages(server: Server, way: Way) -> None:
    assert way.framing is not None
    with speaking(server, way, _TLS) as speaker:
        speaker.tell(call("ping", 1))
        speaker.socket.sendall(_OVERSIZED[way.framing])
        answers = speaker.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[1]["error"]["code"] == -32700
    assert "65536" in answers[1]["error"]["message"]
    with speaking(server, way, _TLS) as speaker:
        size = len(speaker.encoded(call("ping", x=""))) + 16
        assert "result" in speaker.ask("ping", {"x": "x" * (65_536 - size)}), "the largest that is allowed"


@pytest.mark.parametrize("way", OVER_TCP, ids=by_name)
def test_lengths_that_promise_too_much(server: Server, way: Way) -> None:
    promises = {
        "lines": [],
        "netstrings": [b"99999999999999999999:", b"1" * 70_000, b"0000001:", b"65537", b"12345678"],
        "prefixed": [b"\0\xff\xff\xff", b"\0\1\0\1"],
    }
    for promise in promises[way.framing or ""]:
        for _ in range(50):
            with speaking(server, way) as speaker, contextlib.suppress(ConnectionError):
                speaker.socket.sendall(promise)
                speaker.socket.shutdown(socket.SHUT_WR)
                assert [answer["error"]["code"] for answer in speaker.rest()] == [-32700]


@pytest.mark.parametrize("way", CONNECTED, ids=by_name)
def test_a_hundred_that_send_byte_by_byte(server: Server, way: Way) -> None:
    count = 100 if way.transport == "tcp" else 20
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(speaking(server, way, _TLS)) for _ in range(count)]
        message = slow[0].encoded(call("authorize", "é", **GOOD))
        for place in range(0, len(message), 7):
            for speaker in slow:
                speaker.socket.sendall(message[place : place + 7])
            with speaking(server, OVER_UDP[0]) as quick:
                assert quick.ask("authorize", GOOD)["result"]["accepted"]
        for speaker in slow:
            assert speaker.hear()["result"]["account_id"] == 1


@pytest.mark.parametrize("way", OVER_TCP, ids=by_name)
def test_who_does_not_read_is_not_read_from(server: Server, way: Way) -> None:
    before = resident(server)
    with speaking(server, way) as deaf:
        deaf.socket.setblocking(False)
        messages = deaf.encoded([call("identify", n, **GOOD) for n in range(100)]) * 20
        sent, quiet, end = 0, time.monotonic(), time.monotonic() + 30
        while time.monotonic() - quiet < 0.5:
            assert time.monotonic() < end, "it reads on and on"
            try:
                sent += deaf.socket.send(messages[sent % len(messages) :])
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        with speaking(server, OVER_UDP[0]) as other:
            assert other.ask("authorize", GOOD)["result"]["accepted"]
        assert resident(server) - before < GROWTH


def test_who_is_silent_or_never_ends_a_message_is_closed(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(tmp_path)
    limits = "[limits]\nidle_seconds = 1\n"
    with serving(tmp_path, LISTEN + TLS_FILES + limits) as server, contextlib.ExitStack() as opened:
        every = []
        for way in CONNECTED:
            silent, half, begun = (opened.enter_context(speaking(server, way, _TLS)) for _ in range(3))
            frame = half.encoded(call("ping"))
            half.socket.sendall(frame[:-3])
            begun.socket.sendall(frame[:1])
            every += [silent, half, begun]
        for one in every:
            assert is_gone(one.socket)


# ---- crowds


@pytest.mark.parametrize("connects", amounts(2_000, 100_000, seconds=600))
def test_connects_in_a_row(server: Server, connects: int) -> None:
    for number in range(connects):
        with socket.create_connection((HOST, server.ports["tcp"]), 20) as tcp:
            if number % 100 == 0:
                tcp.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
                assert b"result" in tcp.recv(1000)
            elif number % 2:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_as_many_connections_at_once_as_are_allowed(server: Server) -> None:
    with contextlib.ExitStack() as opened:
        way = next(way for way in OVER_TCP if way.framing == "prefixed")

        def settled() -> bool:
            with speaking(server, way) as one:
                one.tell(call("ping"))
                return not is_gone(one.socket)

        wait_for(settled)  # the connections of other tests are closed
        time.sleep(0.2)
        many = [opened.enter_context(speaking(server, way)) for _ in range(1000)]
        for number, speaker in enumerate(many):
            speaker.tell(call("authorize", number, **GOOD))
        answered = 0
        for number, speaker in enumerate(many):
            with contextlib.suppress(EOFError, ConnectionError):
                assert speaker.hear()["id"] == number
                answered += 1
        assert answered > 990, "those of other tests may have counted still"
        for _ in range(20):
            with speaking(server, way) as more:
                if is_gone_now(more):
                    break
        else:
            pytest.fail("there is no limit")


def is_gone_now(speaker: Speaker) -> bool:
    try:
        speaker.tell(call("ping"))
    except ConnectionError:
        return True
    return is_gone(speaker.socket)
