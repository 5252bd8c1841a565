"""Garbage on UDP and TCP leaves the server answering others, as it was."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import read_all, request

from identengine.model.records import Client

GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("garbage")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(folder) as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def _still_serves(server: Server) -> Iterator[None]:
    yield
    for ask in (server.ask_udp, server.ask_tcp):
        assert ask(request(**GOOD))["result"]["account_id"] == 1


def resident_bytes(server: Server) -> int:
    return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def garbage(rng: random.Random) -> bytes:
    """Return nonsense, or a good message with something broken."""
    kind = rng.randrange(5)
    good = bytearray(request(message_id=rng.random(), **GOOD))
    if kind == 0:
        return rng.randbytes(rng.randrange(1500))
    if kind == 1:
        return bytes(good[: rng.randrange(len(good))])
    if kind == 2:
        for _ in range(rng.randrange(1, 5)):
            good[rng.randrange(len(good))] = rng.randrange(256)
        return bytes(good)
    if kind == 3:
        return bytes(good) * rng.randrange(2, 5)
    return b"[" * rng.randrange(1, 3000) + bytes(good)


def decoded(answer: bytes) -> dict[str, Any]:
    """Return an answer in either encoding."""
    found: dict[str, Any] = json.loads(answer) if answer[:1] in b"{[" else msgspec.msgpack.decode(answer)
    return found


def test_datagrams_of_garbage(server: Server) -> None:
    rng = random.Random(1)
    before = resident_bytes(server)
    with server.udp() as udp:
        for turn in range(100):
            for _ in range(50):
                udp.send(garbage(rng))
            # Wait until it is through with them, or the kernel would drop some.
            message_id = f"turn {turn}"
            udp.send(request("ping", message_id))
            while decoded(udp.receive_raw()).get("id") != message_id:
                pass
    assert resident_bytes(server) - before < 10 * 1024 * 1024


def test_datagrams_of_all_sizes(server: Server) -> None:
    with server.udp() as udp:
        udp.send(b"")
        for size in (1, 1399, 1400, 1401, 9000, 65000, 65507):
            udp.send(b"{" * size)
            udp.send(request("ping", "x" * size)[:65507])
        udp.send(request("ping", "last"))
        answers: list[dict[str, Any]] = []
        while not answers or answers[-1].get("id") != "last":
            answers.append(decoded(udp.receive_raw()))
    assert all(answer.get("error", {}).get("code") in (None, -32700, -32600) for answer in answers)


def test_a_datagram_larger_than_allowed(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(tmp_path, "[limits]\nmessage_bytes = 1024\n") as server:
        assert server.ask_udp(request(call_id="x" * 1100, **GOOD))["error"]["code"] == -32700
        assert server.ask_udp(request(call_id="x" * 500, **GOOD))["result"]["accepted"]


def test_streams_of_garbage(server: Server) -> None:
    rng = random.Random(2)
    before = resident_bytes(server)
    for _ in range(300):
        with server.tcp() as tcp:
            with contextlib.suppress(ConnectionError):
                for _ in range(rng.randrange(1, 4)):
                    tcp.send(garbage(rng))
                tcp.end_sending()
            with contextlib.suppress(ConnectionError):
                read_all(tcp.socket)
    assert resident_bytes(server) - before < 10 * 1024 * 1024


def test_an_oversized_message_is_answered_and_the_connection_closed(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(request("ping") + b'{"jsonrpc":"2.0","x":"' + b"x" * 70_000)
        answers = tcp.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[1]["error"]["code"] == -32700
    assert "65536" in answers[1]["error"]["message"]


def test_deep_nesting_is_answered_and_the_connection_closed(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 1000)
        (answer,) = tcp.rest()
    assert answer["error"]["code"] == -32700


def test_connections_that_are_reset(server: Server) -> None:
    for _ in range(100):
        tcp = server.tcp()
        tcp.send(request(**GOOD) * 20 + b'{"half')
        tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        tcp.close()


def test_a_peer_that_is_gone_before_its_answer(server: Server) -> None:
    for _ in range(100):
        with server.udp() as udp:
            udp.send(request(**GOOD))
