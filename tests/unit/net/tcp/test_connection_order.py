"""Deferred answers: a close waits for them. Later messages wait too if answers leave in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
import uvloop

from identengine.config.schema import Limits, Switch
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.listener import StreamListener
from identengine.net.tcp.turns import Turns
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framing, Framings
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.responder import LateAnswer
from identengine.wire.session import Session

HOST, PATIENCE = "127.0.0.1", 20


class Deferring:
    """A responder that answers ``[0]`` only when the test wants it."""

    def __init__(self, *, closes: bool = False) -> None:
        self._closes = closes
        self.turns: list[int] = []
        self.late: LateAnswer | None = None
        self.owed = DeferredCount()
        self.asked = asyncio.Event()

    def respond(
        self,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None,
        late: LateAnswer,
        owed: DeferredCount,
        too_old: bool,
    ) -> tuple[list[bytes], bool]:
        self.turns.append(len(messages))
        self.asked.set()
        if b"[0]" not in messages:
            return [*messages], False
        self.late, self.owed = late, owed
        owed.count += 1
        return [], self._closes

    def finish(self) -> None:
        assert self.late is not None
        self.owed.count -= 1
        self.late(b"[0]")


async def listening(responder: Deferring, *, in_order: bool) -> StreamListener:
    """Return a started listener whose connections have this responder."""
    server = socket.create_server((HOST, 0))
    server.setblocking(False)
    switch = Switch(name="one", scope="one", networks=(parse_network(HOST)[0],))
    framings = Framings(Framing(JsonStream, lambda: responder.respond, in_order=in_order), {})
    quota = ConnectionQuota(Limits(datagram_age_ms=60_000))
    listener = StreamListener(server, Peers([switch], IdentifyOptions()), framings, quota, print, turns=Turns())
    await listener.start()
    return listener


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("ends", [True, False], ids=["then the stream ends", "then the stream stays open"])
def test_later_messages_wait(in_order: bool, ends: bool) -> None:
    async def run() -> tuple[list[int], bytes]:
        responder = Deferring()
        listener = await listening(responder, in_order=in_order)
        reader, writer = await asyncio.open_connection(HOST, listener.endpoint.port)
        writer.write(b"[0]")
        await asyncio.wait_for(responder.asked.wait(), PATIENCE)
        for number in range(1, 200):
            writer.write(b"[%d]" % number)
            await asyncio.sleep(0.0001)
        if ends:
            writer.write_eof()
        await asyncio.sleep(0.2)
        before = [*responder.turns]
        responder.finish()
        found = b""
        while ends or found.count(b"]") < 200:
            data = await asyncio.wait_for(reader.read(1 << 16), PATIENCE)
            if not data:
                break
            found += data
        writer.close()
        await listener.drain(asyncio.get_running_loop().time() + PATIENCE)
        return before, found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before, found = runner.run(run())
    numbers = [int(line[1:-1]) for line in found.split()]
    if in_order:
        assert before == [1]
        assert numbers == [*range(200)]
    else:
        assert sum(before) == 200
        assert sorted(numbers) == [*range(200)]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("ends", [True, False], ids=["then the stream ends", "then the stream stays open"])
def test_a_close_waits_for_a_deferred_answer(in_order: bool, ends: bool) -> None:
    """Messages in front of an error or a QUIT are answered, and messages behind it are not decided."""

    async def run() -> tuple[list[int], bytes]:
        responder = Deferring(closes=True)
        listener = await listening(responder, in_order=in_order)
        reader, writer = await asyncio.open_connection(HOST, listener.endpoint.port)
        writer.write(b"[0]")
        await asyncio.wait_for(responder.asked.wait(), PATIENCE)
        for number in range(1, 20):
            writer.write(b"[%d]" % number)
            await asyncio.sleep(0.001)
        if ends:
            writer.write_eof()
        await asyncio.sleep(0.1)
        responder.finish()
        found = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        await listener.drain(asyncio.get_running_loop().time() + PATIENCE)
        return responder.turns, found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == ([1], b"[0]\n")
