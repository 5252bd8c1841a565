"""HTTP requests with damaged heads and bodies, to a running server.

Invariant: each answer is well formed, and no answer is a 500. The log reports no fault. The next right request has
the right answer. The HTTP process and the decider grow by at most 10 MiB.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fuzz.messages import parameters
from fuzz.mutation import TOKENS, mutated, pieces
from fuzz.rounds import MEMORY, Case, Rounds, rounds
from fuzz.values import TEXTS, to_json
from support import HOST
from support.http import GOOD, NOC, SWITCH, asking, make_book, web_serving
from support.processes import resident
from support.server import Server

from identengine.wire.jsonrpc.methods import METHODS

WARM = 10
"""Number of cases after which the processes have their usual size."""
WAIT = 0.1
"""Time without a further byte after which the answer to a damaged request is complete, in seconds."""
OF_HTTP = (
    *TOKENS,
    b"\r\n\r\n",
    b": ",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: x\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"%00",
    b"%ff%2e%2e/",
    b"x: " + b"y" * 300 + b"\r\n",
    b"x:\r\n" * 120,
    b" folded\r\n",
)
PATHS = (
    *(f"/v1/{name}" for name in METHODS),
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/",
    "/v1",
    "/x",
)
METHOD = ("POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "PRI", "post", "")
HEADERS = (
    ("Accept", "*/*"),
    ("Content-Type", "application/json"),
    ("Content-Type", "multipart/form-data; boundary=x"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Encoding", "gzip"),
    ("Connection", "close"),
    ("Connection", "keep-alive, x"),
    ("Expect", "100-continue"),
    ("Cookie", "a=b; ;=;"),
    ("X-Forwarded-For", "127.0.0.1, 10.0.0.1"),
    ("X-Forwarded-For", "x"),
    ("Range", "bytes=0-1"),
    ("Authorization", f"Bearer {NOC}"),
    ("Authorization", "Bearer"),
    ("Authorization", "Basic YTpi"),
    ("authorization", "bearer é"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("http")
    make_book(folder)
    with web_serving(folder) as served:
        yield served


@rounds(100)
def test_requests(cases: Rounds, server: Server) -> None:
    first: tuple[int, int] | None = None
    log = len(server.log)
    for number, case in enumerate(cases):
        with case:
            case.input = sent = b"".join(request(case) for _ in range(case.choice((1, 1, 1, 2, 4))))
            check(exchange(case, server, sent))
            with asking(server) as client:
                answer = client.post("/v1/identify", json=GOOD)
                assert (answer.status_code, answer.json()["account_id"]) == (200, 1)
            added = server.log[log:]
            assert "Traceback" not in added, added
            assert "fault" not in added, added
            assert "ALARM" not in added, added
            if number == WARM:
                first = resident(server.http), resident(server.decider)
    if first is not None:
        assert resident(server.http) - first[0] < MEMORY
        assert resident(server.decider) - first[1] < MEMORY


def exchange(case: Case, server: Server, sent: bytes) -> bytes:
    """Send bytes over a new connection. Return the bytes that came back."""
    received = b""
    with socket.create_connection((HOST, server.ports["http"])) as connection, contextlib.suppress(OSError):
        for piece in pieces(case, sent):
            connection.sendall(piece)
        connection.settimeout(WAIT)
        while more := connection.recv(1 << 16):
            received += more
    return received


def check(received: bytes) -> None:
    """Check the answers of a connection. The last one may be incomplete."""
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        if not end:
            return
        found = re.match(rb"HTTP/1\.1 ([1-5]\d\d) [ -~]*(?:\r\n|$)", head)
        assert found, head
        status = int(found[1])
        assert status != 500, head
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        assert len(set(names)) == len(names), head
        assert all(re.fullmatch(rb"[a-z-]+", name) for name in names), head
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length is None or received.startswith(b"HTTP/1.1 "):  # of HEAD, or 100 Continue
            continue
        body, received = received[: int(length[1])], received[int(length[1]) :]
        if body and len(body) == int(length[1]) and b"application/json" in head:
            assert isinstance(json.loads(body), dict)


def request(case: Case) -> bytes:
    """Return a request, right or damaged."""
    path = case.choice(PATHS)
    body = to_json(case, parameters(case, path.rpartition("/")[2])) if case.often(0.8) else case.randbytes(30)
    if case.often(0.2):
        body = mutated(case, body)
    if case.often(0.1):
        path += case.choice(
            ("?a=b", "?" + "x" * 3000, "/", "//", "/../healthz", "%2fx", "#x", "\xe9", " x", "/" * 3000)
        )
    headers: list[tuple[str, Any]] = [("Host", "x"), ("Authorization", f"Bearer {SWITCH}")]
    headers += [case.choice(HEADERS) for _ in range(case.choice((0, 0, 1, 3)))]
    if case.often(0.05):
        headers.append(("X-Odd", case.choice(TEXTS)))
    if case.often(0.2):
        body = chunked(case, body)
        headers.append(("Transfer-Encoding", "chunked"))
    if case.often(0.8):
        headers.append(("Content-Length", len(body)))
    if case.often(0.05):
        headers.append(("Content-Length", case.choice((0, -1, len(body) + 1, 10**30, "5, 5", " 5", "0x5", "٣"))))
    if case.often(0.1):
        case.shuffle(headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"{case.choice(METHOD) if case.often(0.3) else 'POST'} {path} HTTP/1.1\r\n{lines}\r\n"
    whole = head.encode(errors="surrogatepass") + body
    return mutated(case, whole, 4, OF_HTTP) if case.often(0.4) else whole


def chunked(case: Case, body: bytes) -> bytes:
    """Return a body in chunks, some of them wrong."""
    parts = [f"{len(piece):x}".encode() + b"\r\n" + piece + b"\r\n" for piece in pieces(case, body) if piece]
    if case.often(0.2):
        parts.insert(
            case.randrange(len(parts) + 1), case.choice((b"g\r\n", b"-1\r\n", b"1;x=y\r\na\r\n", b"fffffffff\r\n"))
        )
    return b"".join(parts) + case.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b""))
