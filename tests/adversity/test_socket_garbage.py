"""Garbage on UDP and TCP: the server continues to answer other peers."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import request

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


def decoded(answer: bytes) -> dict[str, Any]:
    """Return an answer in either encoding."""
    found: dict[str, Any] = json.loads(answer) if answer[:1] in b"{[" else msgspec.msgpack.decode(answer)
    return found


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
