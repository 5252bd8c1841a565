"""Connections that are readable at once share a batch: over real sockets, and with made-up turns."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
import uvloop

from identengine.config.schema import Limits, Switch
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers
from identengine.net.tcp import turns as turns_module
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.connection import READ, TURN, TURN_BYTES
from identengine.net.tcp.listener import StreamListener
from identengine.net.tcp.turns import BATCH, Turns
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framing, Framings
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.responder import LateAnswer
from identengine.wire.session import Session

HOST = "127.0.0.1"
PATIENCE = 20


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run of turns be cut by the time that a busy machine needs."""
    monkeypatch.setattr(turns_module, "RUN_SECONDS", 60.0)


class Engine:
    """A responder that notes its batches. A batch that is too full replaces its answers."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.batches: list[list[int]] = []
        """The number of messages of each connection, by batch."""
        self.decided: list[bytes] = []
        self.is_open = False
        self._room = room
        self._answers: list[list[bytes]] = []

    def begin(self) -> None:
        assert not self.is_open
        self.is_open = True
        self.batches.append([])
        self._answers = []

    def end(self) -> None:
        assert self.is_open
        self.is_open = False
        if sum(self.batches[-1]) > self._room:
            for answers in self._answers:
                answers[:] = [b'"overload"'] * len(answers)

    def respond(
        self,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None,
        late: LateAnswer,
        owed: DeferredCount,
        too_old: bool,
    ) -> tuple[list[bytes], bool]:
        assert self.is_open
        if b'{"fault":1}' in messages:
            raise ValueError("a fault")
        self.batches[-1].append(len(messages))
        self.decided += messages
        answers = [*messages, *([b'"broken"'] if broken else [])]
        self._answers.append(answers)
        return answers, broken is not None


class Framed(JsonStream):
    """A framer that notes the sizes of the bytes that it is fed."""

    fed: ClassVar[list[int]] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.fed.append(len(data))
        return super().feed(data)


class Served:
    """A listener, and clients that are connected."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.faults: list[dict[str, Any]] = []
        self.clients: list[socket.socket] = []
        self._turns = Turns(engine)

    async def start(self, clients: int, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(context))
        server = socket.create_server((HOST, 0))
        server.setblocking(False)
        switch = Switch(name="one", scope="one", networks=(parse_network(HOST)[0],))
        peers = Peers([switch], IdentifyOptions())
        framings = Framings(Framing(Framed, lambda: self.engine.respond), {})
        self.listener = StreamListener(server, peers, framings, ConnectionQuota(limits), print, turns=self._turns)
        await self.listener.start()
        for _ in range(clients):
            client = socket.socket()
            client.settimeout(PATIENCE)
            await asyncio.to_thread(client.connect, (HOST, self.listener.endpoint.port))
            self.clients.append(client)
        while len(self.listener.connections) < clients:  # noqa: ASYNC110 - the listener has no event for it
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for client in self.clients:
            client.close()
        await self.listener.drain(asyncio.get_running_loop().time() + PATIENCE)


def served(
    test: Callable[[Served], Any], *, engine: Engine | None = None, clients: int = 3, limits: Limits | None = None
) -> Served:
    """Run a test with connected clients. Their first messages are sent in one step of the loop."""

    async def run() -> Served:
        running = Served(engine or Engine())
        await running.start(clients, limits or Limits(datagram_age_ms=60_000))
        try:
            await test(running)
        finally:
            await running.stop()
        return running

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def read(client: socket.socket, size: int) -> bytes:
    """Read at least ``size`` bytes, or all bytes until the end."""
    got = b""
    while len(got) < size and (more := await asyncio.to_thread(client.recv, 65536)):
        got += more
    return got


def test_connections_that_are_readable_at_once_share_a_batch() -> None:
    async def ask(running: Served) -> None:
        for number, client in enumerate(running.clients):
            client.send(b'{"a":%d}{"b":%d}' % (number, number))
        for number, client in enumerate(running.clients):
            assert await read(client, 16) == b'{"a":%d}\n{"b":%d}\n' % (number, number)

    assert served(ask).engine.batches == [[2, 2, 2]]


def test_a_batch_that_is_rolled_back_replaces_its_answers() -> None:
    async def ask(running: Served) -> None:
        for client in running.clients:
            client.send(b'{"a":1}{"b":2}')
        for client in running.clients:
            assert await read(client, 22) == b'"overload"\n"overload"\n'

    assert served(ask, engine=Engine(room=5)).engine.batches == [[2, 2, 2]]


def test_a_batch_is_closed_when_it_is_large() -> None:
    async def ask(running: Served) -> None:
        for client in running.clients:
            client.send(b"{}" * (BATCH - 1))
        for client in running.clients:
            assert await read(client, 3 * (BATCH - 1)) == b"{}\n" * (BATCH - 1)

    assert served(ask).engine.batches == [[BATCH - 1] * 2, [BATCH - 1]]


def test_a_connection_with_many_messages_has_several_turns() -> None:
    async def ask(running: Served) -> None:
        first, *others = running.clients
        first.send(b"{}" * (3 * TURN))
        for client in others:
            client.send(b'{"a":1}')
        assert await read(first, 9 * TURN) == b"{}\n" * (3 * TURN)
        for client in others:
            assert await read(client, 8) == b'{"a":1}\n'

    assert served(ask).engine.batches == [[TURN], [1, 1], [TURN], [TURN]]


def test_a_fault_closes_its_own_connection_only() -> None:
    async def ask(running: Served) -> None:
        for client, message in zip(running.clients, (b'{"a":1}', b'{"fault":1}', b'{"b":2}'), strict=True):
            client.send(message)
        assert await read(running.clients[0], 8) == b'{"a":1}\n'
        assert await read(running.clients[1], 1) == b""
        assert await read(running.clients[2], 8) == b'{"b":2}\n'
        running.clients[0].send(b'{"c":3}')
        assert await read(running.clients[0], 8) == b'{"c":3}\n'

    (fault,) = served(ask).faults
    assert isinstance(fault["exception"], ValueError)


def test_messages_of_a_peer_that_reset_the_connection_are_decided() -> None:
    """A message may be a stop, and its sender may have no use for the answer."""

    async def ask(running: Served) -> None:
        (client,) = running.clients
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.send(b'{"stop":1}')
        client.close()
        while running.listener.connections:  # noqa: ASYNC110 - the listener has no event for it
            await asyncio.sleep(0.001)

    running = served(ask, clients=1)
    assert running.engine.decided in ([b'{"stop":1}'], [])  # the kernel may drop what was not read
    assert running.faults == []


def test_messages_that_wait_do_not_add_up() -> None:
    """A connection is not read from while more messages wait than one turn answers."""
    count = 40 * READ // 2

    async def ask(running: Served) -> None:
        (client,) = running.clients
        reader = asyncio.create_task(read(client, 3 * count))
        await asyncio.to_thread(client.sendall, b"{}" * count)
        assert await reader == b"{}\n" * count

    running = served(ask, clients=1, limits=Limits(datagram_age_ms=60_000, unread_bytes=1 << 24))
    assert max(map(sum, running.engine.batches)) <= TURN
    assert len(running.engine.decided) == count


def test_messages_are_cut_off_the_stream_in_turns() -> None:
    """A read full of tiny messages takes long to cut. Others must not wait so long."""
    Framed.fed.clear()

    async def ask(running: Served) -> None:
        (client,) = running.clients
        reader = asyncio.create_task(read(client, 3 * READ))
        await asyncio.to_thread(client.sendall, b"{}" * READ)
        assert await reader == b"{}\n" * READ

    running = served(ask, clients=1, limits=Limits(datagram_age_ms=60_000, unread_bytes=1 << 24))
    assert len(running.engine.decided) == READ
    assert max(Framed.fed) <= TURN_BYTES
    assert sum(Framed.fed) == 2 * READ


class Script:
    """A turn that counts ``sizes`` messages, and waits again after each."""

    def __init__(self, turns: Turns, log: list[str], name: str, *sizes: int) -> None:
        self._turns, self._log, self._name, self._sizes = turns, log, name, list(sizes)

    def decide(self, now: float) -> int:
        self._log.append(f"{self._name} decides")
        return self._sizes.pop(0)

    def answer(self) -> None:
        self._log.append(f"{self._name} answers")
        if self._sizes:
            self._turns.wait(self)

    def abort(self) -> None:
        self._log.append(f"{self._name} aborts")


def test_the_order_of_turns() -> None:
    async def run() -> list[str]:
        log: list[str] = []
        turns = Turns()
        for name, sizes in (("a", (BATCH, 1)), ("b", (1, 1)), ("c", (1,))):
            turns.wait(Script(turns, log, name, *sizes))
        await asyncio.sleep(0)
        log.append("others")
        await asyncio.sleep(0)
        return log

    assert asyncio.run(run()) == [
        *("a decides", "a answers", "b decides", "c decides", "b answers", "c answers"),
        "others",
        *("a decides", "b decides", "a answers", "b answers"),
    ]


def test_a_run_that_takes_long_gives_way_to_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "RUN_SECONDS", -1.0)

    async def run() -> list[str]:
        log: list[str] = []
        turns = Turns()
        for name, sizes in (("a", (1, 1)), ("b", (1,))):
            turns.wait(Script(turns, log, name, *sizes))
        for _ in range(3):
            await asyncio.sleep(0)
            log.append("others")
        return log

    assert asyncio.run(run()) == [
        *("a decides", "a answers", "others"),
        *("b decides", "b answers", "others"),
        *("a decides", "a answers", "others"),
    ]


class Failing:
    """Batches of which the first cannot be closed."""

    def __init__(self) -> None:
        self.closed = 0

    def begin(self) -> None:
        pass

    def end(self) -> None:
        self.closed += 1
        if self.closed == 1:
            raise MemoryError


def test_connections_of_a_batch_that_cannot_be_closed_are_aborted() -> None:
    async def run() -> list[str]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        log: list[str] = []
        turns = Turns(Failing())
        turns.wait(Script(turns, log, "a", 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return log

    assert asyncio.run(run()) == ["a decides", "a aborts"], "otherwise it would never have a turn again"
