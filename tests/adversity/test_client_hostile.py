"""The client against slow, dead and broken servers: a request ends in time, and the client keeps working."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
from support.clients import FORMS, Form, client_of

from identengine import BlockingClient, Client, IdentengineError, LateError, LegResult, LostError, WireError
from identengine.client.exchange import MAX_ANSWER, Encoding, Exchange
from identengine.client.params import Bare

HOST = "127.0.0.1"
SOON = 20.0
"""Time limit that no request may reach, in seconds."""

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def acting(behave: Behaviour) -> Any:
    """Serve each connection with ``behave``. Yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await behave(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(run, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def done(message: bytes, **result: object) -> bytes:
    """Return the correct answer to a line."""
    answer = {"jsonrpc": "2.0", "id": json.loads(message)["id"], "result": {"ok": True} | result}
    return json.dumps(answer).encode() + b"\n"


def packed(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4) + body


@pytest.mark.parametrize("form", FORMS)
def test_answers_cut_at_each_byte(form: Form) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = 0
        while line := await reader.readline():
            answer = done(line, freed=7)
            for piece in (answer[:cut], answer[cut:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            cut += 1

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=SOON) as client:
            for _ in range(len(done(b'{"id":99}', freed=7))):
                assert await client.stop(call_id="x") == LegResult(True, freed=7)

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_however_answers_are_cut_they_are_the_same(encoding: Encoding) -> None:
    asked = Exchange(encoding)
    ids = [asked.ask("ping", Bare())[0] for _ in range(3)]
    answers = [{"id": one, "result": {"program": "p", "version": one, "uptime": 1.0, "pid": 2}} for one in ids]
    encoded = [packed(one) if encoding == "msgpack" else json.dumps(one).encode() for one in answers]
    stream = b"".join(encoded)
    for cut in range(1, len(stream)):
        exchange = Exchange(encoding)
        for _ in ids:
            exchange.ask("ping", Bare())
        got = [one for piece in (stream[:cut], stream[cut:]) for one in exchange.receive(piece)]
        assert [one.id for one in got] == ids
        assert exchange.error is None


def test_answers_come_in_any_order() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [await reader.readline() for _ in range(50)]
        for line in reversed(lines):
            number = int(json.loads(line)["params"]["call_id"])
            writer.write(done(line, freed=number))
        await reader.read()

    async def main() -> None:
        async with acting(behave) as port, Client(HOST, port, timeout=SOON) as client:
            got = await asyncio.gather(*(client.stop(call_id=str(number)) for number in range(50)))
            assert [one.freed for one in got] == list(range(50))

    asyncio.run(main())


@pytest.mark.parametrize(("host", "port"), [("a..b", 4870), (HOST, 70_000), ("a\0b", 4870)])
def test_an_address_that_can_be_none_is_said_at_once(host: str, port: int) -> None:
    async def main() -> None:
        over_tcp = [client_of(form, host, port, timeout=SOON) for form in FORMS]
        for client in (*over_tcp, Client.udp(host, port, again=SOON)):
            async with client:
                for _ in range(2):
                    with pytest.raises(LostError) as raised:
                        await client.ping()
                    assert not raised.value.sent
                    assert f"{host}:{port}" in str(raised.value)

    asyncio.run(main())


def test_a_script_with_many_open_files() -> None:
    """More than 1,024 files, in a process of its own with a higher limit."""
    program = f"""
import os, resource, sys
from identengine import BlockingClient
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
with BlockingClient({HOST!r}, int(sys.argv[1]), timeout={SOON}) as client:
    print([client.stop(call_id="x").freed for _ in range(3)])
"""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(done(line, freed=1))

    async def main() -> None:
        async with acting(behave) as port:
            script = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, str(port), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            out, err = await script.communicate()
            assert out == b"[1, 1, 1]\n", err.decode()

    asyncio.run(main())


MAD: dict[str, tuple[bytes, type[IdentengineError]]] = {
    "garbage": (b"\xfe\xff\x00 not at all", LostError),
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", LostError),
    "a number": (b"12345\n", LostError),
    "an empty array": (b"[]\n", LostError),
    "deep": (b"[" * 100_000, LostError),
    "without end": (b'{"id": "' + b"x" * (MAX_ANSWER + 10), LostError),
    "a result of another kind": (b'{"jsonrpc":"2.0","id":1,"result":{"accepted":true}}\n', WireError),
    "a result that is a number": (b'{"jsonrpc":"2.0","id":1,"result":17}\n', WireError),
    "neither result nor error": (b'{"jsonrpc":"2.0","id":1}\n', WireError),
    "an error of another kind": (b'{"jsonrpc":"2.0","id":1,"error":"bad"}\n', LostError),
    "an error without id": (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}\n', LostError),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", MAD)
def test_a_mad_answer_ends_the_request_and_not_the_client(what: str, form: Form) -> None:
    said, kind = MAD[what]
    mad = 1

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal mad
        while line := await reader.readline():
            if mad:
                mad -= 1
                writer.write(said)
                if what == "an error without id":
                    return
            else:
                writer.write(done(line))

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=SOON) as client:
            with pytest.raises(kind) as raised:
                await client.stop(call_id="x")
            assert what != "an error without id" or "no (-32700)" in str(raised.value)
            assert (await client.stop(call_id="x")).ok

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"\xff\xff\xff\xff", b"\x00\xff\xff\xff", b"\x00\x00\x00\x02\xc1\xc1", b"{}"])
@pytest.mark.parametrize("form", FORMS)
def test_mad_lengths_and_messages_of_messagepack(form: Form, said: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said + b"\x00\x00\x00\x00" * 2)
        await reader.read()

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=SOON, encoding="msgpack") as client:
            with pytest.raises(LostError):
                await client.stop(call_id="x")

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_answers_to_nothing_take_no_room(form: Form) -> None:
    """25 MB of answers whose ids belong to no request, or to one that was answered."""
    stray = b"".join(
        b'{"jsonrpc":"2.0","id":%d,"result":{"ok":true}}\n' % number for number in range(1000, 21_000)
    )
    rounds = 25

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        for _ in range(rounds):
            writer.write(stray)
            await writer.drain()
        writer.write(done(line) * 2)
        await reader.read()

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=55) as client:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert (await client.stop(call_id="x")).ok
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 30 * 1024, f"{grown} KiB more"

    asyncio.run(main())


def test_a_server_that_never_answers() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        async with acting(behave) as port, Client(HOST, port, timeout=0.2, in_flight=10) as client:
            asked = [asyncio.create_task(client.stop(call_id=f"{number}")) for number in range(20)]
            got = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(one, LateError | LostError) for one in got)
            sent = [one.sent for one in got if isinstance(one, LateError | LostError)]
            assert sent.count(True) >= 10
            waited = [str(one) for one in got if isinstance(one, LateError) and not one.sent]
            assert all("10 other requests are in flight" in one or "connection" in one for one in waited)

    asyncio.run(main())


def test_a_server_that_never_reads_does_not_make_the_client_grow() -> None:
    """Requests that the socket does not accept wait with their callers, not in a buffer."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport has a read side
        await asyncio.sleep(60)

    async def main() -> None:
        long = "x" * 100_000
        async with acting(behave) as port, Client(HOST, port, timeout=0.5, in_flight=20) as client:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(3):
                got = await asyncio.gather(
                    *(client.stop(call_id=long) for _ in range(1000)), return_exceptions=True
                )
                assert all(isinstance(one, LateError | LostError) for one in got)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 60 * 1024, f"{grown} KiB more"

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_hangs_up_at_once_is_not_hammered(form: Form) -> None:
    count = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=1) as client:
            for _ in range(5):
                with pytest.raises((LateError, LostError)):
                    await client.ping()
            assert count < 20

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_a_request_was_not_sent_when_the_server_hung_up_on_the_token(form: Form) -> None:
    """Only the token was sent, so the request may be sent elsewhere."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, token="t", timeout=1) as client:
            with pytest.raises((LateError, LostError), match="closed by the server") as raised:
                await client.ping()
            assert not raised.value.sent

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_came_too_late_belongs_to_nothing(form: Form) -> None:
    late = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if not late.is_set():
                await late.wait()
                writer.write(done(line, freed=1))
            else:
                writer.write(done(line, freed=2))

    async def main() -> None:
        async with acting(behave) as port, client_of(form, HOST, port, timeout=1) as client:
            with pytest.raises(LateError):
                await client.stop(call_id="x")
            late.set()
            assert (await client.stop(call_id="x")).freed == 2

    asyncio.run(main())


def test_an_interrupted_request_leaves_nothing_behind() -> None:
    """Ctrl-C while the script waits. The late answer must not be taken for that of the next request."""
    me = threading.get_ident()

    def serve(listening: socket.socket) -> None:
        first, _ = listening.accept()
        with first:
            line = first.recv(65536)
            signal.pthread_kill(me, signal.SIGINT)
            second, _ = listening.accept()
            with second:
                with contextlib.suppress(ConnectionError):
                    first.sendall(done(line, freed=1))
                second.sendall(done(second.recv(65536), freed=2))

    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        with BlockingClient(HOST, listening.getsockname()[1], timeout=SOON) as script:
            with pytest.raises(KeyboardInterrupt):
                script.stop(call_id="x")
            assert script.stop(call_id="x").freed == 2
        thread.join()


@contextmanager
def answering(answers: list[bytes]) -> Iterator[int]:
    """Answer each datagram with all of these. Yield the port."""
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.bind((HOST, 0))
        opened.settimeout(10)

        def run() -> None:
            while True:
                data, peer = opened.recvfrom(65536)
                if data == b"end":
                    return
                for answer in [*answers, done(data)]:
                    opened.sendto(answer, peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield opened.getsockname()[1]
        finally:
            opened.sendto(b"end", opened.getsockname())
            thread.join()


def test_mad_datagrams_are_passed_over() -> None:
    mad = [said[:1400] for said, kind in MAD.values() if kind is LostError]
    with answering([*mad, b"", b'{"id":99,"result":{"ok":true}}']) as port:

        async def main() -> None:
            async with Client.udp(HOST, port, again=5) as client:
                assert (await client.stop(call_id="x")).ok
                with pytest.raises(WireError, match="at most 65507 bytes, got"):
                    await client.stop(call_id="x" * 70_000)

        asyncio.run(main())
