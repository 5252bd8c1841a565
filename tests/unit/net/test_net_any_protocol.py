"""Listeners serve any protocol: here a line protocol that answers with the name of the switch."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from identengine.config.schema import Limits, Switch
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.listener import StreamListener
from identengine.net.udp import listener
from identengine.net.udp.listener import UdpListener
from identengine.net.udp.mmsg import MmsgSocket
from identengine.net.udp.recvmsg import RecvmsgSocket
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framing, Framings
from identengine.wire.responder import LateAnswer, MessageResponder, Senders
from identengine.wire.session import Session

HOST = "127.0.0.1"
PATIENCE = 20
LIMITS = Limits(datagram_age_ms=60_000)


class Lines:
    """The framing of the toy protocol."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self.cautious = False
        self.max_bytes = max_bytes
        self.held = b""

    @property
    def pending(self) -> bool:
        return bool(self.held)

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.held = (self.held + data).split(b"\n")
        if len(self.held) > self.max_bytes:
            self.error = "a line that is too long"
        return lines

    def frame(self, answer: bytes) -> bytes:
        return answer + b"\n"


class Toy:
    """The responder of the toy protocol. It names the switch, and defers the answer to a message ``late``."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name
        self.late: list[tuple[DeferredCount, Senders | LateAnswer, int]] = []

    def datagrams(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int] | None]:
        answers, places = [], []
        for place, (raw, session) in enumerate(zip(received, sessions, strict=True)):
            if raw == b"late":
                owed.count += 1
                self.late.append((owed, senders, place))
            elif raw != b"silence":
                assert session.peer is not None
                answers.append(b"%b from %b:%d" % (raw, session.peer.name.encode(), senders.ports()[place]))
                places.append(place)
        assert too_old is None
        return answers, places

    def messages(
        self,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None,
        late: LateAnswer,
        owed: DeferredCount,
        too_old: bool,
    ) -> tuple[list[bytes], bool]:
        assert not too_old
        answers = []
        for raw in messages:
            if raw == b"late":
                owed.count += 1
                self.late.append((owed, late, 0))
            else:
                assert session.peer is not None
                answers.append(b"%b: %b from %b" % (self.name.encode(), raw, session.peer.name.encode()))
        return [*answers, *([broken.encode()] if broken else [])], broken is not None or b"quit" in messages

    def answer_late(self, place: int, answer: bytes) -> None:
        owed, way, at = self.late[place]
        owed.count -= 1
        if callable(way):
            way(answer)
        else:
            way.answer_later(at, [answer])


def peers() -> Peers:
    switch = Switch(name="one", scope="one", networks=(parse_network(HOST)[0],))
    return Peers([switch], IdentifyOptions())


@pytest.mark.parametrize("way", [MmsgSocket, RecvmsgSocket])
def test_datagrams(way: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "batched", way)

    async def run() -> None:
        server, toy = socket.socket(type=socket.SOCK_DGRAM), Toy()
        server.setblocking(False)
        server.bind((HOST, 0))
        served = UdpListener(server, peers(), toy.datagrams, LIMITS, print)
        with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
            for client in (first, second):
                client.bind((HOST, 0))
                client.connect(server.getsockname())
                client.settimeout(PATIENCE)
            first.send(b"late")
            first.send(b"silence")
            first.send(b"a")
            second.send(b"b" * 20_000)  # so that the batch is decided in parts
            second.send(b"late")
            second.send(b"c")
            served.start()
            assert await asyncio.to_thread(first.recv, 99) == b"a from one:%d" % first.getsockname()[1]
            assert (await asyncio.to_thread(second.recv, 65535)).startswith(b"bbb")
            assert await asyncio.to_thread(second.recv, 99) == b"c from one:%d" % second.getsockname()[1]
            drained = asyncio.create_task(served.drain(asyncio.get_running_loop().time() + PATIENCE))
            toy.answer_late(1, b"late to the second")
            await asyncio.sleep(0)
            assert not drained.done(), "an answer is still due"
            toy.answer_late(0, b"late to the first")
            await drained
            assert first.recv(99) == b"late to the first"
            assert second.recv(99) == b"late to the second"
            assert served.unsent == 0

    asyncio.run(run())


def test_messages() -> None:
    async def run() -> None:
        lines, other = Toy("lines"), Toy("other")
        framings = Framings(
            Framing(Lines, lambda: lines.messages), {ord("*"): Framing(Lines, lambda: other.messages)}
        )
        server = socket.create_server((HOST, 0))
        server.setblocking(False)
        listener = StreamListener(server, peers(), framings, ConnectionQuota(LIMITS), print)
        await listener.start()
        reader, writer = await asyncio.open_connection(HOST, listener.endpoint.port)
        writer.write(b"one\ntwo\nth")
        assert await reader.readline() == b"lines: one from one\n"
        assert await reader.readline() == b"lines: two from one\n"
        writer.write(b"ree\n*\n")  # only the first byte of a connection chooses
        assert await reader.readline() == b"lines: three from one\n"
        assert await reader.readline() == b"lines: * from one\n"
        starred, starrer = await asyncio.open_connection(HOST, listener.endpoint.port)
        starrer.write(b"*1\nlate\nquit\n")
        assert await starred.readline() == b"other: *1 from one\n"
        assert await starred.readline() == b"other: quit from one\n"
        other.answer_late(0, b"at last")
        assert await starred.readline() == b"at last\n", "an answer was still due"
        assert await starred.read() == b"", "the responder closes"
        writer.write(b"late\nnow\n")
        assert await reader.readline() == b"lines: now from one\n"
        lines.answer_late(0, b"at last")
        assert await reader.readline() == b"at last\n"
        writer.write(b"half")
        writer.write_eof()
        assert await reader.readline() == b"the stream ended within a message\n"
        assert await reader.read() == b""
        for each in (writer, starrer):
            each.close()
        await listener.drain(asyncio.get_running_loop().time() + PATIENCE)

    asyncio.run(run())


def test_a_connection_has_a_responder_of_its_own() -> None:
    """A protocol can keep state for each connection, such as a name or the order of answers."""

    async def run() -> None:
        toys: list[Toy] = []

        def responder() -> MessageResponder:
            toys.append(Toy(f"connection {len(toys)}"))
            return toys[-1].messages

        server = socket.create_server((HOST, 0))
        server.setblocking(False)
        framings = Framings(Framing(Lines, responder), {})
        listener = StreamListener(server, peers(), framings, ConnectionQuota(LIMITS), print)
        await listener.start()
        for name in ("connection 0", "connection 1"):
            reader, writer = await asyncio.open_connection(HOST, listener.endpoint.port)
            for text in ("a", "b"):
                writer.write(f"{text}\n".encode())
                assert await reader.readline() == f"{name}: {text} from one\n".encode()
            writer.close()
        await listener.drain(asyncio.get_running_loop().time() + PATIENCE)

    asyncio.run(run())
