"""The ways in which Kamailio's jsonrpcc and OpenSIPS' jsonrpc ask over TCP (interfaces.md 3, "Framing")."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.operator import held
from support.server import Server, serving
from support.waiting import PATIENCE, wait_for

from identengine.model.records import Client
from identengine.wire.framing.netstring import Netstrings

SEGMENT = 1000
"""Size of the segments that a client of these tests allows, in bytes. A path over Ethernet has 1,448."""
_DATA_SEGMENTS = slice(152, 156)
"""Place of the number of received segments with data in ``struct tcp_info``."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("jsonclients")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(folder) as running:
        yield running


def connect(server: Server) -> socket.socket:
    raw = socket.socket()
    raw.settimeout(PATIENCE)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    raw.connect((HOST, server.ports["tcp"]))
    return raw


def authorize(call_id: str, **params: object) -> dict[str, object]:
    return {"call_id": call_id, "src_ip": "10.0.0.1", "dst_number": "44", **params}


# ---- Kamailio's jsonrpcc


def netstring(message: dict[str, object]) -> bytes:
    raw = json.dumps(message).encode()
    return b"%d:%b," % (len(raw), raw)


def read_as_jsonrpcc(raw: socket.socket) -> Any:
    """Return the next answer as jsonrpcc reads it: behind a peek at the length, one call must return the whole."""
    begun = raw.recv(10, socket.MSG_PEEK)
    digits, _, _ = begun.partition(b":")
    size = len(digits) + 1 + int(digits) + 1
    whole = raw.recv(size)
    assert len(whole) == size, "the netstring has not arrived as a whole"
    assert whole.endswith(b",")
    return json.loads(whole[len(digits) + 1 : -1])


def test_a_segment_of_tcp_divides_no_netstring(server: Server) -> None:
    messages = [
        {"jsonrpc": "2.0", "id": n, "method": "authorize", "params": authorize(f"ns-{n}")} for n in range(32)
    ]
    with connect(server) as raw:
        raw.sendall(b"".join(map(netstring, messages)))
        answers = [read_as_jsonrpcc(raw) for _ in messages]
        segments = int.from_bytes(
            raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)[_DATA_SEGMENTS], "little"
        )
    assert [one["id"] for one in answers] == [*range(32)]
    assert all(one["result"]["accepted"] for one in answers)
    assert segments >= 32  # a segment that is sent again counts twice


def test_netstrings_one_after_another(server: Server) -> None:
    with connect(server) as raw:
        for n in range(50):
            raw.sendall(netstring({"id": n, "jsonrpc": "2.0", "method": "identify", "params": authorize("a")}))
            assert read_as_jsonrpcc(raw)["id"] == n


def test_a_peer_that_reads_no_netstrings(server: Server) -> None:
    """More answers than the kernel holds are sent when the peer reads them."""
    message = netstring({"id": 1, "jsonrpc": "2.0", "method": "identify", "params": authorize("a")})
    count = 20_000
    with connect(server) as raw:
        raw.setblocking(False)
        sent = 0
        stream = message * count

        def stalls() -> bool:
            nonlocal sent
            before = sent
            try:
                while sent < len(stream):
                    sent += raw.send(stream[sent : sent + (1 << 16)])
            except BlockingIOError:
                return sent == before
            return True

        wait_for(stalls)
        raw.setblocking(True)
        raw.settimeout(PATIENCE)
        framer, answers = Netstrings(1 << 16), 0
        while answers < count:
            if sent < len(stream):
                sent += raw.send(stream[sent : sent + 4096])
            found = framer.feed(raw.recv(1 << 20))
            answers += len(found)
            assert framer.error is None
            assert all(b'"accepted":true' in one for one in found)
    assert answers == count


# ---- OpenSIPS' jsonrpc


def bare(message_id: int | None, method: str, params: dict[str, object]) -> bytes:
    """Return a message as OpenSIPS prints it. A notification of OpenSIPS has the id null."""
    message = {"id": message_id, "jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def asked_once(server: Server, message: bytes) -> Any:
    """Return the answer that a connection of its own gets. Neither a newline nor the end ends the message."""
    with connect(server) as raw:
        raw.sendall(message)
        found = b""
        while True:
            data = raw.recv(8192 - len(found))
            assert data, found
            found += data
            try:
                return json.loads(found)
            except ValueError:
                continue


def test_a_connection_a_call(server: Server) -> None:
    for n in range(20):
        answer = asked_once(server, bare(n, "authorize", authorize(f"os-{n}")))
        assert (answer["id"], answer["result"]["account_id"]) == (n, 1)
    for n in range(20):
        assert asked_once(server, bare(n, "stop", {"call_id": f"os-{n}"}))["result"]["freed"] == 1


def test_a_notification_closes_at_once(server: Server) -> None:
    before = held(server)
    asked_once(server, bare(1, "authorize", authorize("os-gone")))
    assert held(server) == before + 1
    with connect(server) as raw:
        raw.sendall(bare(None, "stop", {"call_id": "os-gone"}))
        raw.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: held(server) == before)


def test_an_error_is_an_object(server: Server) -> None:
    answer = asked_once(server, bare(7, "authorise", authorize("os")))
    assert (answer["id"], answer["error"]["code"]) == (7, -32601)
