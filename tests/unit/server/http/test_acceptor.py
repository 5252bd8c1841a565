"""Connections that take too long, over real sockets and with short times."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn.config import Config

from identengine.config.schema import Limits
from identengine.server.http import acceptor, connection
from identengine.server.http.acceptor import Acceptor

MOST = 8 << 20


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    size = 2 if scope["path"] == "/small" else MOST
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size)})


def served(client: Callable[[int, Acceptor], Awaitable[Any]], tls: bool = False, **limits: int) -> Any:
    async def run() -> Any:
        bound = socket.create_server(("127.0.0.1", 0))
        bound.setblocking(False)
        settings = Config(app, interface="asgi3", lifespan="off", ws="none", http="h11", log_config=None)
        settings.timeout_keep_alive = 600  # no connection is closed because it is idle
        settings.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        made = Acceptor(bound, settings, Limits(**limits), context)
        made.open()
        try:
            return await asyncio.wait_for(client(bound.getsockname()[1], made), 20)
        finally:
            await made.close(0.1)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(acceptor, "HANDSHAKE_SECONDS", 0.2)


async def forward(seconds: float) -> None:
    """Set the clock of the loop forward, and run the timers that are due."""
    loop, ahead = asyncio.get_running_loop(), asyncio.get_running_loop().time() + seconds
    before = loop.time() - time.monotonic()
    loop.time = lambda: time.monotonic() + before + seconds  # type: ignore[method-assign]
    due = loop.create_future()
    loop.call_at(ahead, due.set_result, None)
    await due


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_does_not_arrive(begun: bytes) -> None:
    async def client(port: int, _: Acceptor) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        said = await reader.read()
        writer.close()
        return said

    assert served(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "begun", [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1234", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_a_body_that_does_not_arrive_and_an_answer_that_is_not_read(begun: bytes) -> None:
    async def client(port: int, made: Acceptor) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(begun)
        while not made.state.connections:  # noqa: ASYNC110 - a test may poll
            await asyncio.sleep(0.01)
        while made.state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await reader.read()

    served(client)


@pytest.mark.parametrize(
    "begun", [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1", b"POST / HTTP/1.1\r\nHost: x\r\n"]
)
def test_a_second_request_in_the_same_bytes_has_a_deadline_too(begun: bytes) -> None:
    async def client(port: int, _: Acceptor) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n" + begun)
        said = await reader.readuntil(b"\r\n\r\n\0\0")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        return said

    assert served(client).startswith(b"HTTP/1.1 200 ")


def test_pending_handshakes_count_and_time_out() -> None:
    async def client(port: int, made: Acceptor) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in opened:
            assert await reader.read() == b""
            writer.close()
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in opened:
            writer.close()

    served(client, tls=True, connections=4)


def test_between_two_requests_a_connection_may_be_idle_longer() -> None:
    async def client(port: int, _: Acceptor) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST * 2)
        for _turn in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(MOST)
            await forward(connection.REQUEST_SECONDS * 2)
        writer.close()
        return said

    assert served(client).startswith(b"HTTP/1.1 200 ")
