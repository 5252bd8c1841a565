"""The Redis clients of Python ask a server: redis-py with both of its parsers, and hiredis (interfaces.md 4)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hiredis
import pytest
import redis
from e2e.resp.conftest import FIELDS, REPLY, TOKEN
from redis._parsers import _HiredisParser, _RESP2Parser
from support import HOST
from support.server import Server

from identengine.stats import file as counters
from identengine.stats.registry import PLACE


def client(server: Server, **options: Any) -> Any:
    """Return a client of redis-py. Since version 8 it asks for RESP3 unless ``protocol`` is 2."""
    return redis.Redis(HOST, server.ports["tcp"], protocol=2, **options)


@pytest.fixture(params=[_RESP2Parser, _HiredisParser], ids=["python", "hiredis"])
def asking(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    pool = redis.ConnectionPool(host=HOST, port=server.ports["tcp"], protocol=2, parser_class=request.param)
    with redis.Redis(connection_pool=pool) as found:
        yield found
    pool.disconnect()


def test_a_call_from_its_begin_to_its_end(asking: Any, server: Server) -> None:
    assert asking.ping()
    assert asking.execute_command("IDENT.AUTH", "call_id=py-1", *FIELDS) == REPLY
    found = json.loads(asking.execute_command("IDENT.AUTHJ", "call_id=py-1", *FIELDS))
    assert (found["account_id"], found["matched"]) == (1, "10.0.0.1")
    assert asking.execute_command("IDENT.START", "call_id=py-1", "interval=60") == b'{"ok":true}'
    assert asking.execute_command("IDENT.STOP", "call_id=py-1") == b'{"ok":true,"freed":1}'
    rejected = asking.execute_command("IDENT.AUTH", "call_id=py-2", "src_ip=192.0.2.9", "dst_number=44")
    assert rejected[:2] == [0, b"unknown_source"]


def test_commands_that_the_client_sends_itself(asking: Any) -> None:
    assert asking.echo("é") == "é".encode()
    assert asking.client_setname("me")
    assert asking.client_getname() in ("me", b"me")
    assert asking.client_id() > 0
    assert asking.info()["book_version"] == 1
    assert asking.select(0)
    assert "ident.auth" in asking.command()
    assert asking.command_count() == len(asking.command())


def test_errors_are_exceptions(asking: Any) -> None:
    with pytest.raises(redis.ResponseError, match="unknown command"):
        asking.get("x")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        asking.execute_command("IDENT.STOP")
    with pytest.raises(redis.ResponseError, match="expected field=value"):
        asking.execute_command("IDENT.AUTH", "x")
    assert asking.ping()


def test_a_pipeline_keeps_its_order(asking: Any) -> None:
    with asking.pipeline(transaction=False) as pipe:
        for n in range(300):
            pipe.execute_command("IDENT.IDENTIFY", f"call_id=pipe-{n}", *FIELDS)
            pipe.echo(str(n))
        replies = pipe.execute()
    assert replies[0::2] == [REPLY] * 300
    assert replies[1::2] == [str(n).encode() for n in range(300)]


def test_a_pipeline_is_decided_in_one_batch(server: Server) -> None:
    pack: Any = hiredis.pack_command
    commands = [pack(("IDENT.AUTH", f"call_id=batch-{n}", *FIELDS)) for n in range(16)]
    reader = hiredis.Reader()
    with socket.create_connection((HOST, server.ports["tcp"]), timeout=20) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(b"*1\r\n$4\r\nPING\r\n")
        reader.feed(raw.recv(100))
        before = batches(server)
        raw.sendall(b"".join(commands))
        data = raw.recv(1 << 16)
        reader.feed(data)
        replies = [reader.gets() for _ in range(17)]
    assert replies == [b"PONG", *[REPLY] * 16]
    assert batches(server) == before + 1


def batches(server: Server) -> int:
    """Return the number of batches of 9 to 16 requests."""
    return counters.read(server.folder / "calls").cells[PLACE["batch_requests"] + 4]


def test_clients_on_many_connections(server: Server) -> None:
    with client(server) as asking, ThreadPoolExecutor(20) as pool:
        replies = [
            *pool.map(lambda n: asking.execute_command("IDENT.IDENTIFY", f"call_id=m-{n}", *FIELDS), range(400))
        ]
    assert replies == [REPLY] * 400


@pytest.mark.parametrize("user", [None, "default", "sbc1"])
def test_a_client_shows_a_token(guarded: Server, user: str | None) -> None:
    with client(guarded, username=user, password=TOKEN) as asking:
        assert asking.execute_command("IDENT.IDENTIFY", *FIELDS) == REPLY


def test_a_client_without_a_token(guarded: Server) -> None:
    with client(guarded) as asking, pytest.raises(redis.AuthenticationError):
        asking.ping()
    for options in ({"password": "wrong"}, {"username": "sbc2", "password": TOKEN}):
        with client(guarded, **options) as asking, pytest.raises(redis.AuthenticationError):
            asking.ping()


def test_resp3_is_refused(server: Server, guarded: Server) -> None:
    options: dict[str, Any]
    for options in ({"port": server.ports["tcp"]}, {"port": guarded.ports["tcp"], "password": TOKEN}):
        with (
            redis.Redis(HOST, protocol=3, **options) as asking,
            pytest.raises(redis.ResponseError, match="NOPROTO"),
        ):
            asking.ping()


def test_over_tls(server: Server) -> None:
    options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(server.folder / "ca.pem"), "protocol": 2}
    with redis.Redis(HOST, server.ports["tls"], **options) as asking:
        assert asking.execute_command("IDENT.IDENTIFY", *FIELDS) == REPLY
