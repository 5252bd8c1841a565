"""The UDP listener: its batches, their parts in turns of the loop, and its known peers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable

import pytest

from identengine.calls.backend import Deferred, LegResult
from identengine.config.schema import Limits, Switch
from identengine.engine.core import Engine
from identengine.engine.requests import EngineAnswer, EngineRequest
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers
from identengine.net.udp import listener
from identengine.net.udp.mmsg import MmsgSocket
from identengine.net.udp.recvmsg import RecvmsgSocket
from identengine.net.udp.socket import BATCH
from identengine.wire.jsonrpc.responder import Responder

HOST = "127.0.0.1"
PATIENCE = 20


def peers(*networks: str) -> Peers:
    parsed = tuple(parse_network(text)[0] for text in networks)
    return Peers([Switch(name="one", scope="one", networks=parsed)], IdentifyOptions())


class _Scripted(Engine):
    """An engine that gives the answers of a test."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._batch = 0

    def begin(self, now: float) -> None:
        self._batch = 0

    def answer(self, ask: EngineRequest) -> EngineAnswer:
        self._batch += 1
        answer = self._run.answer()
        if isinstance(answer, Deferred):
            self._run.slow.append(answer)
        return answer

    def count(self) -> int:
        if self._batch:
            self._run.decided.append(self._batch)
        return self._batch


class Run:
    """A listener that records the decided batches and the refused peers."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.server.setblocking(False)
        self.server.bind((HOST, 0))
        self.decided: list[int] = []
        self.refused: list[str] = []
        self.old = 0
        self.slow: list[Deferred] = []
        self.answer: Callable[[], EngineAnswer] = lambda: LegResult(True)
        responder = Responder(_Scripted(self), lambda: 1.0, print, on_too_old=self._too_old)
        self.listener = listener.UdpListener(
            self.server, peers(HOST), responder.datagrams, limits or Limits(datagram_age_ms=60_000), self._refuse
        )

    def _refuse(self, host: str, why: str) -> None:
        assert why == "unknown peer"
        self.refused.append(host)

    def _too_old(self) -> None:
        self.old += 1

    def client(self, source: str = HOST) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind((source, 0))
        made.connect(self.server.getsockname())
        made.settimeout(PATIENCE)
        return made


def stop(message_id: object, size: int = 0) -> bytes:
    message: dict[str, object] = {"jsonrpc": "2.0", "id": message_id, "method": "stop"}
    return json.dumps(message | {"params": {"call_id": "c", "padding": "x" * size}}).encode()


def heard(client: socket.socket, count: int) -> list[object]:
    return [json.loads(client.recv(65536))["id"] for _ in range(count)]


@pytest.fixture(params=[MmsgSocket, RecvmsgSocket], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "batched", request.param)


def running(test: Callable[[Run], Awaitable[None]], limits: Limits | None = None) -> Run:
    """Run a test while the listener serves, then drain the listener."""

    async def run() -> Run:
        made = Run(limits)
        await test(made)
        if made.server.fileno() != -1:
            await made.listener.drain(asyncio.get_running_loop().time() + PATIENCE)
        assert made.server.fileno() == -1
        return made

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> int:
    """Return the number of turns of the loop until a condition holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    turns = 0
    while not condition():
        turns += 1
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)
    return turns


def test_what_waits_is_decided_in_batches() -> None:
    async def test(run: Run) -> None:
        with run.client() as client:
            for number in range(150):
                client.send(stop(number))
            run.listener.start()
            turns = await until(lambda: sum(run.decided) == 150)
            assert turns >= 2  # other work had turns in between
            assert heard(client, 150) == list(range(150))

    assert running(test).decided == [BATCH, BATCH, 150 - 2 * BATCH]


def test_large_datagrams_take_turns() -> None:
    async def test(run: Run) -> None:
        with run.client() as client:
            for number in range(20):
                client.send(stop(number, 9000))
            client.send(stop(20, 60000))
            client.send(stop(21))
            run.listener.start()
            turns = await until(lambda: sum(run.decided) == 22)
            assert turns >= 10
            assert heard(client, 22) == list(range(22))

    assert running(test).decided == [2] * 10 + [1, 1]


def test_what_waits_in_parts_is_answered_by_who_leaves() -> None:
    async def test(run: Run) -> None:
        with run.client() as client, run.server.dup() as kept:
            for number in range(20):
                client.send(stop(number, 9000))
            run.listener.start()
            await until(lambda: bool(run.decided))
            client.send(stop("of the next process"))
            await run.listener.leave(asyncio.get_running_loop().time() + PATIENCE)
            assert heard(client, 20) == list(range(20))
            assert json.loads(kept.recv(65536))["id"] == "of the next process"

    assert sum(running(test).decided) == 20


def test_strangers_among_others_are_refused_until_they_are_known() -> None:
    async def test(run: Run) -> None:
        with run.client() as client, run.client("127.0.0.2") as other:
            run.listener.start()
            for turn in range(2):  # the second time from the cache
                for number in range(5):
                    other.send(stop("of a stranger", 5000 * turn))
                    client.send(stop(number, 9000 * turn))
                assert await asyncio.to_thread(heard, client, 5) == list(range(5))
                assert run.refused == ["127.0.0.2"] * 5 * (turn + 1)
            run.listener.reconfigure(peers("127.0.0.2"), Limits(datagram_age_ms=60_000))
            client.send(stop("of a stranger now"))
            other.send(stop("known"))
            assert await asyncio.to_thread(heard, other, 1) == ["known"]
            assert run.refused[10:] == [HOST]

    assert running(test).listener.unsent == 0


def test_answers_that_take_their_time_reach_who_asked() -> None:
    async def test(run: Run) -> None:
        with run.client() as client, run.client() as other:
            run.listener.start()
            run.answer = Deferred
            client.send(stop("first"))
            other.send(stop("second"))
            await until(lambda: len(run.slow) == 2)
            run.answer = lambda: LegResult(True)
            for number in range(BATCH):
                other.send(stop(number))
            assert await asyncio.to_thread(heard, other, BATCH) == list(range(BATCH))
            for later in run.slow:
                later.finish(LegResult(True))
            assert heard(client, 1) == ["first"]
            assert heard(other, 1) == ["second"]

    running(test)


def test_of_what_is_too_old_only_stops_count() -> None:
    async def test(run: Run) -> None:
        ping = b'{"jsonrpc": "2.0", "id": "ping", "method": "ping"}'
        with run.client() as client:
            for number in range(3):
                client.send(ping)
                client.send(stop(number))
            await asyncio.sleep(0.02)
            run.listener.start()
            assert await asyncio.to_thread(heard, client, 3) == [0, 1, 2]
            assert run.old == 3
            run.listener.reconfigure(peers(HOST), Limits(datagram_age_ms=60_000))
            client.send(ping)
            assert await asyncio.to_thread(heard, client, 1) == ["ping"]

    running(test, Limits(datagram_age_ms=10))


def test_what_is_longer_than_allowed_is_not_parsable() -> None:
    async def test(run: Run) -> None:
        with run.client() as client:
            run.listener.start()
            client.send(stop(1, 5000))
            client.send(b"")
            client.send(stop(2, 500))
            assert await asyncio.to_thread(client.recv, 65536) != b""
            answers = [await asyncio.to_thread(client.recv, 65536) for _ in range(2)]
            assert json.loads(answers[-1])["id"] == 2

    running(test, Limits(datagram_age_ms=60_000, message_bytes=1024))
