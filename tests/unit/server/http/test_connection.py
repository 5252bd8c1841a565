"""Requests over real sockets: unread bodies, limits without a token, and connections that are closed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from uvicorn.config import Config

from identengine.config.schema import Limits
from identengine.server.http import connection
from identengine.server.http.acceptor import Acceptor

HEAD = b"%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
Client = Callable[[int, Acceptor], Awaitable[Any]]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer ``/refused`` without the body, and other paths with the body. ``/proven`` has shown a right token."""
    shown = scope["state"]["connection"]
    shown.serve(scope["client"][0])
    body, more = b"", scope["path"] != "/refused"
    if scope["path"] == "/proven":
        shown.prove()
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        more = event["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def served(client: Client, tls: bool = False, **limits: int) -> Any:
    async def run() -> Any:
        bound = socket.create_server(("127.0.0.1", 0))
        bound.setblocking(False)
        settings = Config(app, interface="asgi3", lifespan="off", ws="none", http="h11", log_config=None)
        settings.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        acceptor = Acceptor(bound, settings, Limits(**limits), context)
        acceptor.open()
        try:
            return await asyncio.wait_for(client(bound.getsockname()[1], acceptor), 20)
        finally:
            await acceptor.close(0.1)

    return uvloop.run(run())


def answered(*pieces: bytes, pause: float = 0.02) -> tuple[list[int], bool]:
    """Send the pieces with pauses between. Return the statuses of the answers, and True if the server closed."""

    async def client(port: int, _: Acceptor) -> tuple[list[int], bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        received, closed = b"", False
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            async with asyncio.timeout(0.5):
                while not closed:
                    chunk = await reader.read(65536)
                    closed = not chunk
                    received += chunk
        writer.close()
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)], closed

    found: tuple[list[int], bool] = served(client)
    return found


REFUSED = HEAD % (b"POST /refused", b"Content-Length: 5\r\n")
CHUNKED = HEAD % (b"POST /refused", b"Transfer-Encoding: chunked\r\n")
NEXT = HEAD % (b"GET /", b"")


@pytest.mark.parametrize(
    "pieces",
    [
        (REFUSED + b"hello" + NEXT,),
        (REFUSED, b"hello" + NEXT),
        (REFUSED, b"hel", b"lo" + NEXT),
        (REFUSED, b"hel", b"lo", NEXT),
        (REFUSED + b"hello", NEXT),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + NEXT,),
    ],
)
def test_after_an_unread_body_the_next_request_is_answered(pieces: tuple[bytes, ...]) -> None:
    assert answered(*pieces) == ([200, 200], False)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD % (b"POST /refused", b"Content-Length: 100000000\r\n"), b"x" * 100_000),
        (CHUNKED, b"5\r\nhello\r\n"),
        (CHUNKED + b"1\r\na\r\n" * 40_000,),
        (CHUNKED + b"nonsense\r\n",),
    ],
)
def test_a_body_without_end_is_not_read(pieces: tuple[bytes, ...]) -> None:
    assert answered(*pieces) == ([200], True)


def test_a_wrong_body_has_one_answer() -> None:
    head = HEAD % (b"POST /", b"Transfer-Encoding: chunked\r\n")
    assert answered(head, b"1\r\na\r\n" * 500, b"1\r\na\r\n" * 501) == ([400], True)
    assert answered(head, b"x") == ([], False)
    assert answered(head, b"x\r\n" + NEXT) == ([400], True)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD % (b"POST /", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
        (HEAD % (b"GET /", b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400),
        (HEAD % (b"GET /", b"a: b\r\n" * 100), 431),
        (HEAD % (b"GET /" + b"x" * 8192, b""), 414),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    ],
)
def test_a_rejected_request_closes_the_connection(request_: bytes, status: int) -> None:
    assert answered(request_ + NEXT) == ([status], True)
    assert answered(NEXT + request_ + NEXT) == ([200, status], True)


def test_requests_that_ask_for_another_protocol_are_answered_as_others() -> None:
    upgrade = HEAD % (b"GET /", b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    assert answered(upgrade + NEXT) == ([200, 200], False)
    assert answered(HEAD % (b"GET /", b"Connection: Upgrade\r\nUpgrade: websocket\r\n")) == ([200], False)
    statuses, _ = answered(HEAD % (b"CONNECT x:80", b"") + NEXT)
    assert statuses


def test_a_body_is_asked_for_before_it_is_sent() -> None:
    head = HEAD % (b"POST /", b"Content-Length: 5\r\nExpect: 100-continue\r\n")
    assert answered(head, b"hello") == ([100, 200], False)
    refused = HEAD % (b"POST /refused", b"Content-Length: 5\r\nExpect: 100-continue\r\n")
    assert answered(refused)[0] == [200]


def test_pipelined_requests_are_answered_in_order_and_memory_is_bounded() -> None:
    request = HEAD % (b"POST /", b"Content-Length: 1000\r\n") + b"x" * 1000

    async def client(port: int, acceptor: Acceptor) -> tuple[int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        most, count = 0, 3000
        writer.write(request * count)
        received = 0
        while received < count:
            received += (await reader.read(1 << 16)).count(b"HTTP/1.1 200")
            for one in acceptor.state.connections:
                assert isinstance(one, connection.Connection)
                most = max(most, len(one._framer))
        writer.close()
        return received, most

    received, most = served(client)
    assert received == 3000
    assert most <= connection.MOST_WAITING + (256 << 10)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHo", HEAD % (b"POST /", b"Content-Length: 9\r\n"), NEXT]
)
def test_without_a_token_a_connection_has_little_time(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNPROVEN_SECONDS", 0.3)

    async def client(port: int, acceptor: Acceptor) -> float:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        while not len(acceptor.admission):  # noqa: ASYNC110 - a test may poll
            await asyncio.sleep(0.01)
        while len(acceptor.admission):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        return time.monotonic() - began

    monkeypatch.setattr(connection, "_LINGER", 0.1)
    assert served(client, idle_seconds=300) < 5


def test_with_a_token_a_connection_may_be_idle_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNPROVEN_SECONDS", 0.1)

    async def client(port: int, _: Acceptor) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % (b"POST /proven", b"Content-Length: 1\r\n"))
        await asyncio.sleep(0.4)  # a slow body
        writer.write(b"x")
        received = await reader.readuntil(b"\r\n\r\nx")
        await asyncio.sleep(0.4)
        writer.write(NEXT)
        received += await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return received.count(b"HTTP/1.1 200")

    assert served(client, idle_seconds=300) == 2


SLOW = {
    "idle": b"",
    "slow heads": b"POST /proven HTTP/1.1\r\nHo",
    "slow bodies": HEAD % (b"POST /", b"Content-Length: 9\r\n") + b"x",
    "slow chunks": HEAD % (b"POST /", b"Transfer-Encoding: chunked\r\n") + b"5\r\nx",
    "between requests": NEXT,
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_slow_connections_make_room(sent: bytes) -> None:
    async def client(port: int, acceptor: Acceptor) -> bytes:
        async def connect(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))

        attackers = []
        for number in range(60):
            reader, writer = await connect(f"127.0.1.{number % 5}")
            writer.write(sent)
            attackers.append((reader, writer))
            await asyncio.sleep(0)
        reader, writer = await connect("127.0.0.1")
        received = b""
        for _ in range(3):
            writer.write(HEAD % (b"GET /proven", b""))
            received += await reader.readuntil(b"\r\n\r\n")
            attackers.append(await connect("127.0.1.1"))
        assert len(acceptor.admission) <= 40
        for _, other in [*attackers, (reader, writer)]:
            other.transport.abort()
        return received

    assert served(client, connections=40, connections_per_switch=8).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("tls", [False, True])
def test_connections_that_are_being_made_make_room_too(tls: bool) -> None:
    """Connections that arrive together are evicted before their transport exists, or during its handshake."""

    async def client(port: int, acceptor: Acceptor) -> None:
        arrived = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        opened = [await asyncio.open_connection(sock=one) for one in arrived]
        ended = [asyncio.create_task(reader.read()) for reader, _ in opened]
        while sum(task.done() for task in ended) < 42:  # noqa: ASYNC110 - a test may poll
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(acceptor.admission) == 50 - sum(task.done() for task in ended) == 8
        assert len(acceptor.state.connections) == (0 if tls else 8)
        for _, writer in opened:
            writer.transport.abort()

    served(client, tls=tls, connections=40, connections_per_switch=8)
