"""The connections to the decider, against a decider that a test scripts, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from identengine.model.records import CallList, Request
from identengine.server.http import deciderclient
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.problems import ProblemError

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(
    folder: Path, script: Script, ask: Callable[[DeciderClient], Awaitable[Any]], most_bytes: int = 65536
) -> Any:
    """Return what ``ask`` returns while ``script`` is the decider."""

    async def run() -> Any:
        tasks: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await script(reader, writer)
            finally:
                writer.close()

        path = str(folder / "ask")
        server = await asyncio.start_unix_server(serve, path)
        links = DeciderClient(
            lambda made: asyncio.get_running_loop().create_unix_connection(made, path), most_bytes
        )
        try:
            return await asyncio.wait_for(ask(links), 20)
        finally:
            links.close()
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


async def message(reader: asyncio.StreamReader) -> Any:
    line = await reader.readline()
    if not line:
        raise asyncio.CancelledError
    return json.loads(line)


def line(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0"} | members).encode() + b"\n"


async def introduced(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, switch: str = "sbc1") -> None:
    assert await message(reader) == {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "auth",
        "params": {"token": None, "switch": switch},
    }
    writer.write(line(id=0, result={"ok": True}))


def test_one_connection_is_shared_and_answers_arrive_in_any_order(tmp_path: Path) -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await introduced(reader, writer)
        asked = [await message(reader) for _ in range(10)]
        for one in reversed(asked):
            answer = line(id=one["id"], result=one["params"]["name"])
            writer.write(answer[:7])
            await writer.drain()
            writer.write(answer[7:])
        await reader.read()

    async def ask(links: DeciderClient) -> list[msgspec.Raw]:
        requests = [Request(name=f"n{number}") for number in range(10)]
        return await asyncio.gather(*[links.ask("sbc1", "identify", one) for one in requests])

    answers = talk(tmp_path, script, ask)
    assert [json.loads(bytes(answer)) for answer in answers] == [f"n{number}" for number in range(10)]
    assert connections == 1


def refusal(folder: Path, script: Script, method: str = "identify", params: Any = None, most: int = 65536) -> Any:
    async def ask(links: DeciderClient) -> None:
        await links.ask("sbc1", method, params or Request())

    with pytest.raises(ProblemError) as caught:
        talk(folder, script, ask, most)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b'"id":%d,"error":{"code":-32602,"message":"no","data":{"field":"f","value":[1]}}', 400),
        (b'"id":%d,"error":{"code":-32001,"message":"no"}', 503),
        (b'"id":%d,"error":{"code":-32002,"message":"no"}', 503),
        (b'"id":%d,"error":{"code":-32603,"message":"no"}', 500),
        (b'"id":%d,"error":{"code":-32601,"message":"no"}', 500),
    ],
)
def test_errors(tmp_path: Path, answer: bytes, status: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await introduced(reader, writer)
        writer.write(b"{%b}\n" % (answer % (await message(reader))["id"]))
        await reader.read()

    error = refusal(tmp_path, script)
    assert error.problem.status == status
    assert error.problem.message == "no"
    assert ("Retry-After" in error.headers) == (status == 503)
    if status == 400:
        assert (error.problem.field, bytes(error.problem.value)) == ("f", b"[1]")


@pytest.mark.parametrize(
    "said", [b"", b"nonsense\n", line(id=0, error={"code": -32600, "message": "no such switch"}), line(id=None)]
)
def test_a_request_is_repeated_once_if_the_connection_breaks(tmp_path: Path, said: bytes) -> None:
    asked = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await message(reader)
        await message(reader)
        asked += 1
        writer.write(said)
        if said:
            await reader.read()

    error = refusal(tmp_path, script)
    assert (error.problem.status, asked) == (503, 2)
    assert "is not available" in error.problem.message


def test_the_repeated_request_can_succeed(tmp_path: Path) -> None:
    times = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        await introduced(reader, writer)
        one = await message(reader)
        if times > 1:
            writer.write(line(id=one["id"], result={"accepted": True}))
            await reader.read()

    answer = talk(tmp_path, script, lambda links: links.ask("sbc1", "identify", Request()))
    assert bytes(answer) == b'{"accepted": true}'


def test_a_decider_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(deciderclient, "PATIENCE", 0.1)
    error = refusal(tmp_path, script)
    assert error.problem.status == 503
    assert "did not answer" in error.problem.message


def test_no_decider(tmp_path: Path) -> None:
    links = DeciderClient(
        lambda made: asyncio.get_running_loop().create_unix_connection(made, str(tmp_path / "no")), 65536
    )

    async def ask() -> None:
        await links.ask("sbc1", "ping", None)

    with pytest.raises(ProblemError, match="is not available"):
        asyncio.run(ask())


def test_a_request_that_is_too_large_is_not_sent(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    long = CallList(list_id="1", calls=[("x" * 2000,)])
    assert refusal(tmp_path, script, "sync", long, 1024).problem.status == 413


def test_requests_to_a_decider_that_does_not_read_are_limited(tmp_path: Path) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport of the writer also reads
        await asyncio.Event().wait()

    async def ask(links: DeciderClient) -> str:
        asks = [links.ask("sbc1", "identify", Request(name="x" * 60_000)) for _ in range(100)]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        return "\n".join(str(answer) for answer in answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciderclient, "PATIENCE", 0.5)
        assert "is overloaded" in talk(tmp_path, script, ask)
