"""The operator's Unix socket: lines of any bytes, in any pieces.

Invariant: each line that is not too long has one answer, which is well formed, and no line is a fault of the
program. The next right line is answered right, and no connection keeps the server from serving the next one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from fuzz.mutation import mutated, pieces
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import Subject, session, subject
from fuzz.values import INTEGERS, Members, to_json, value

from identengine.net import operator as listener
from identengine.net.operator import OperatorListener
from identengine.net.unix import bind_unix
from identengine.server.decider.operator import OperatorService
from identengine.wire import operator
from identengine.wire.jsonrpc.codec import JSON

LINES = 40
RIGHT: dict[str, tuple[Any, ...]] = {
    "ask": ("status", "calls", "usage", "end", "note"),
    "of": ("accounts", "clients"),
    "most": (1, 50, 200),
    "account_id": (1, 15),
    "client_id": (1, 2),
    "switch": ("plain",),
    "older": (0, 0.5, 60),
    "state": ("held", "reserved", "active", "lapsed"),
    "call_id": ("call 1", "call 2"),
    "scope": ("plain", ""),
    "direction": ("origination", "termination"),
    "leg_id": ("", "leg"),
    "since": (1.0, 0, 2.5),
    "counts": ({"wrong_tokens": 1},),
    "malformed": ([{"switch": "plain", "code": -32602, "count": 1}],),
}
STATUS = operator.Status("identengine", 1, 1.0, 7, 1, 0, 0, 10, None, ())
FIELDS = {
    request.__struct_config__.tag: request.__struct_fields__ for request in get_args(operator.OperatorRequest)
}


@rounds(120)
def test_lines(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            hold(asked)
            answer = serve(asked)
            for _ in range(LINES):
                case.input = raw = line(case)
                for one in raw.split(b"\n"):
                    read = operator.read_ask(one)
                    reply(operator.line(read if isinstance(read, operator.OperatorFailure) else answer(read)))
                assert reply(operator.line(answer(operator.StatusRequest()))) == STATUS
            asked.report()


@rounds(15)
def test_connections(cases: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_SILENT", 0.0)
    for case in cases.within_memory():
        with case, subject() as asked, TemporaryDirectory(prefix="fuzz") as folder:
            hold(asked)
            asyncio.run(attack(case, asked, Path(folder)))


async def attack(case: Case, asked: Subject, folder: Path) -> None:
    """Send lines over many connections, of which most are left open or cut."""
    bound = bind_unix(folder, listener.FILE)
    served = OperatorListener(bound, serve(asked))
    await served.start()
    opened: list[socket.socket] = []
    try:
        for _ in range(LINES):
            case.input = raw = line(case) + case.choice((b"", b"\n", b"\n\n", b"x" * 70_000))
            connection = await connect(folder)
            for piece in pieces(case, raw):
                with_error = asyncio.get_running_loop().sock_sendall(connection, piece)
                try:
                    await asyncio.wait_for(with_error, 1)
                except (OSError, TimeoutError):  # the server does not read a peer that does not read
                    break
            if case.often(0.5):
                connection.close()
            else:
                opened.append(connection)
            assert await status(folder) == STATUS
    finally:
        for connection in opened:
            connection.close()
        served.close()


async def connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, str(folder / listener.FILE))
    return connection


async def status(folder: Path) -> operator.OperatorReply:
    """Return the answer to a right line over a new connection."""
    loop = asyncio.get_running_loop()
    with await connect(folder) as connection:
        await loop.sock_sendall(connection, operator.line(operator.StatusRequest()))
        return reply(await asyncio.wait_for(loop.sock_recv(connection, 1 << 16), 20))


def serve(asked: Subject) -> Callable[[operator.OperatorRequest], operator.OperatorReply]:
    """Return a function that answers requests as the decider does. A fault of the program is raised."""
    service = OperatorService(
        asked.engine, asked.calls, lambda: ["plain", "one"], lambda: STATUS, lambda *_: None, asked.tally
    )

    def answer(request: operator.OperatorRequest) -> operator.OperatorReply:
        try:
            return service.answer(request, 2.0)
        except Exception as fault:
            asked.engine.faults.append(fault)
            raise

    return answer


def hold(asked: Subject) -> None:
    """Hold some calls."""
    for number in range(5):
        params = {"call_id": f"call {number}", "src_ip": "10.0.0.1", "dst_number": "44", "leg_id": None}
        message = {"jsonrpc": "2.0", "id": 1, "method": "authorize", "params": params}
        asked.responder.stream(JSON, [JSON.encode(message)], session("10.1.0.1"))


def reply(raw: bytes) -> operator.OperatorReply:
    """Return the answer in a line, after a check that an independent parser reads it."""
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    json.loads(raw, parse_constant=pytest.fail)
    return operator.read_reply(raw)


def line(case: Case) -> bytes:
    """Return a line that may be wrong or damaged, and hold further lines."""
    if case.often(0.05):
        return case.randbytes(case.choice((0, 1, 20, 500)))
    raw = to_json(case, request(case))
    return mutated(case, raw) if case.often(0.3) else raw


def request(case: Case) -> Any:
    if case.often(0.03):
        return value(case)
    name = case.choice(RIGHT["ask"])
    fields = [(field, of(case, field)) for field in FIELDS[name] if case.often(0.8)]
    return Members([("ask", name if case.often(0.97) else value(case)), *fields])


def of(case: Case, field: str) -> Any:
    """Return a value of a field, most of them right."""
    if case.often(0.15):
        return value(case)
    if field in ("cursor", "most", "older", "account_id", "since") and case.often(0.3):
        return case.choice(INTEGERS)
    if field == "filter":
        return Members((name, of(case, name)) for name in operator.Filter.__struct_fields__ if case.often(0.3))
    if field == "legs":
        names = operator.Ending.__struct_fields__
        return [Members((name, of(case, name)) for name in names) for _ in range(case.choice((0, 1, 3, 64, 65)))]
    return case.choice(RIGHT.get(field, (0, 1, 256)))
