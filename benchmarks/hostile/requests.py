"""The processor time of HTTP requests and TLS handshakes, in the process that serves them.

The time is that of the whole process, socket included, for several requests one after the other. The time that the
idle process takes is subtracted.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks import machine
from benchmarks.hostile.attacks import tls_hello
from benchmarks.hostile.inputs import TOKEN
from benchmarks.hostile.server import FORGED, HOST, Target
from benchmarks.results import Row

COUNT, COUNT_QUICK = 20, 2
"""Requests of each kind."""
_IDLE_SECONDS = 0.5
_REST = 0.02
"""Seconds after the last request, in which the process finishes its work."""
_PATIENCE = 5.0
_LINE = b"POST /v1/identify HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
_SHOWN = _LINE + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"


class Request(NamedTuple):
    """A request that is sent on a connection of its own."""

    name: str
    shown: bool
    """True if it shows the token of its switch."""
    raw: bytes


def _get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def _post(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


_RIGHT = b'{"src_ip":"10.0.0.1","dst_number":"44171"}'
_WRONG = b'{"dst_number":5,"name":"' + rb"\\" * 32_750 + b'"}'
HTTP = (
    Request("GET /healthz", False, _get(b"/healthz")),
    Request("GET /openapi.json", False, _get(b"/openapi.json")),
    Request("path that does not exist", False, _get(b"/nothing")),
    Request("identify", False, _post(_LINE, _RIGHT)),
    Request("identify", True, _post(_SHOWN, _RIGHT)),
    Request("12,000 tiny headers", False, _LINE + b"a:b\r\n" * 12_000 + b"\r\n"),
    Request("15,000 folded headers", False, _LINE + b"a: b\r\n" + b" b\r\n" * 15_000 + b"\r\n"),
    Request("one header of 60 KB", False, _LINE + b"a: " + b"b" * 60_000 + b"\r\n\r\n"),
    Request("path of 20,000 escapes", False, _get(b"/" + b"%2f" * 20_000)),
    Request("X-Forwarded-For of 30,000 items", False, _LINE + b"X-Forwarded-For: " + b"1," * 30_000 + b"\r\n\r\n"),
    Request("token of 60 KB", False, _LINE + b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n\r\n"),
    Request("body of 64 KB", False, _post(_LINE, _WRONG)),
    Request("body of 64 KB, backslashes that do not decode", True, _post(_SHOWN, _WRONG)),
    Request("10,000 chunks of 1 byte", False, _LINE + _CHUNKED),
    Request("10,000 chunks of 1 byte", True, _SHOWN + _CHUNKED),
    Request("garbage", False, b"\x00garbage\r\n\r\n"),
)


def rows(target: Target, *, quick: bool) -> list[Row]:
    """Return a row for each kind of request and handshake."""
    return list(_rows(target, COUNT_QUICK if quick else COUNT))


def _rows(target: Target, count: int) -> Iterator[Row]:
    http = _Process(target.http_process)
    for request in HTTP:
        got: list[int] = []

        def ask(raw: bytes = request.raw, got: list[int] = got) -> None:
            got.append(_exchange(target.http, raw))

        cost = http.cost(ask, count)
        yield _row(request.name, "HTTP", len(request.raw), got[-1], cost, shown=request.shown)
    decider, hello = _Process(target.decider), tls_hello()
    cost = decider.cost(lambda: _hello(target.tls, hello), count)
    yield _row("first message of a handshake", "TLS", len(hello), 0, cost, shown=False)
    cost = decider.cost(lambda: _handshake(target.tls), count)
    yield _row("handshake", "TLS", len(hello), 0, cost, shown=False)


def _row(name: str, transport: str, sent: int, got: int, cost: float, *, shown: bool) -> Row:
    figures = {"bytes": sent, "cost": cost, "per_kilobyte": cost * 1024 / sent}
    if got:
        figures["reflected"] = got / sent
    return Row(name, figures, texts={"token": "yes" if shown else "no", "transport": transport, "input": "–"})  # noqa: RUF001 - a dash for a missing name


class _Process:
    """A process whose processor time is measured, without the time that it takes while it is idle."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        used, took = self._used(lambda: time.sleep(_IDLE_SECONDS))
        self._idle = used / took

    def cost(self, work: Callable[[], None], count: int) -> float:
        """Return the processor time that the process takes for one repetition of some work, in microseconds."""
        work()  # the first one loads modules
        time.sleep(_REST)

        def repeat() -> None:
            for _ in range(count):
                work()
            time.sleep(_REST)

        used, took = self._used(repeat)
        return max(0.0, used - self._idle * took) / count * 1e6

    def _used(self, work: Callable[[], None]) -> tuple[float, float]:
        """Return the processor time that the process takes during some work, and the duration, in seconds."""
        before, began = machine.processor_seconds([self._pid]), time.monotonic()
        work()
        return machine.processor_seconds([self._pid]) - before, time.monotonic() - began


def _connected(port: int) -> socket.socket:
    tcp = socket.socket()
    tcp.settimeout(_PATIENCE)
    tcp.bind((FORGED, 0))
    tcp.connect((HOST, port))
    return tcp


def _exchange(port: int, raw: bytes) -> int:
    """Send a request and return the size of its answer. The server may close the connection early."""
    got = 0
    with _connected(port) as tcp, contextlib.suppress(ConnectionError):
        tcp.sendall(raw)
        while more := tcp.recv(1 << 16):
            got += len(more)
    return got


def _hello(port: int, hello: bytes) -> None:
    with _connected(port) as tcp:
        tcp.sendall(hello)
        tcp.recv(1 << 16)


def _handshake(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _connected(port) as tcp, context.wrap_socket(tcp):
        pass
