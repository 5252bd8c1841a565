"""Sources of datagrams share the time while more datagrams wait than are decided (interfaces.md 3, "Overload")."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from identengine.config.schema import Limits, Switch
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers
from identengine.net.udp import listener
from identengine.net.udp.listener import UdpListener
from identengine.net.udp.mmsg import MmsgSocket
from identengine.net.udp.recvmsg import RecvmsgSocket
from identengine.net.udp.shares import SHARE, Shares
from identengine.wire.deferred import DeferredCount
from identengine.wire.responder import Senders
from identengine.wire.session import Session

FLOODER, OTHER = "127.0.0.2", "127.0.0.3"
ONE, TWO = Session(FLOODER, None), Session(OTHER, None)


def test_a_source_that_asks_alone_has_all_of_the_time() -> None:
    shares = Shares()
    for now in range(100):
        assert not shares.exhausted([ONE] * 64, now / 100)
        shares.charge([ONE] * 64, now / 100, now / 100 + 0.0099)


@pytest.mark.parametrize("cost", [0.00001, 0.0001, 0.0004])
def test_a_source_has_its_share_while_another_asks(cost: float) -> None:
    shares = Shares()
    now = busy = 0.0
    turn = 0
    while now < 20:
        turn += 1
        batch = [ONE] * 63 + ([TWO] if turn % 20 == 0 else [ONE])
        over = shares.exhausted(batch, now)
        assert TWO not in over
        left = [each for each in batch if each not in over]
        began, now = now, now + 0.00005 + cost * len(left)
        if left:
            shares.charge(left, began, now)
        busy += (now - began) * (ONE in left)
    assert SHARE - 0.03 < busy / now < SHARE + 0.03


def test_a_burst_is_served_whole() -> None:
    shares = Shares()
    now = 0.0
    for _ in range(100):
        assert not shares.exhausted([ONE] * 63 + [TWO], now)
        shares.charge([ONE] * 63 + [TWO], now, now + 0.001)
        now += 0.001


def test_two_sources_with_half_of_the_time_each_lose_nothing() -> None:
    shares = Shares()
    for now in range(10_000):
        assert not shares.exhausted([ONE, TWO] * 32, now / 1000)
        shares.charge([ONE, TWO] * 32, now / 1000, now / 1000 + 0.001)


def test_one_second_after_another_asked_a_source_is_alone() -> None:
    shares = Shares()
    shares.exhausted([ONE, TWO], 0.0)
    shares.charge([ONE, ONE], 0.5, 0.9)
    assert shares.exhausted([ONE], 0.9) == [ONE]
    assert not shares.exhausted([ONE], 2.5)


def test_a_source_that_was_alone_is_not_far_ahead_when_another_asks() -> None:
    shares = Shares()
    for now in range(1000):
        shares.exhausted([ONE] * 64, now / 1000)
        shares.charge([ONE] * 64, now / 1000, now / 1000 + 0.001)
    assert not shares.exhausted([ONE] * 63 + [TWO], 1.0)
    shares.charge([ONE] * 63 + [TWO], 1.0, 1.001)
    assert shares.exhausted([ONE] * 63 + [TWO], 1.001) == [ONE]
    assert not shares.exhausted([ONE] * 63 + [TWO], 1.002)


def test_sources_that_are_not_ahead_are_forgotten() -> None:
    shares = Shares()
    for number in range(5000):
        met = [Session("10.0.0.1", None), Session("10.0.0.2", None), Session("10.0.0.3", None)]
        shares.exhausted(met, number)
        shares.charge(met, number, number + 0.001)
    assert len(shares._paid_from) < 1100


class Served:
    """A listener that counts the datagrams of each source, answered or dropped. Each answer takes 0.1 ms."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.floods: Counter[str] = Counter()
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        parsed = tuple(parse_network(text)[0] for text in (FLOODER, OTHER))
        peers = Peers([Switch(name="one", scope="one", networks=parsed)], IdentifyOptions())
        limits = Limits(datagram_age_ms=60_000)
        self.listener = UdpListener(self.socket, peers, self._answer, limits, print, self._on_flood)

    def _answer(
        self,
        received: Sequence[bytes],
        sessions: Sequence[Session],
        senders: Senders,
        owed: DeferredCount,
        too_old: Sequence[bool] | None,
    ) -> tuple[list[bytes], list[int] | None]:
        time.sleep(0.0001 * len(received))  # a sleep lets the flooder send meanwhile
        self.answered.update(session.host for session in sessions)
        return list(received), None

    def _on_flood(self, host: str, count: int) -> None:
        self.floods[host] += count

    def client(self, host: str) -> socket.socket:
        made = socket.socket(type=socket.SOCK_DGRAM)
        made.bind((host, 0))
        made.connect(self.socket.getsockname())
        made.setblocking(False)
        return made


def flood(client: socket.socket, ends: threading.Event) -> None:
    """Send 40,000 datagrams a second, four times as many as are answered."""
    while not ends.is_set():
        with contextlib.suppress(BlockingIOError):
            for _ in range(40):
                client.send(b"flood")
        time.sleep(0.001)


@pytest.mark.parametrize("way", [MmsgSocket, RecvmsgSocket])
def test_a_flood_of_one_source_loses_few_datagrams_of_another(way: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shares the queue of the socket is full, and nearly all datagrams of the other source are lost."""
    monkeypatch.setattr(listener, "batched", way)

    async def run() -> Served:
        served, ends = Served(), threading.Event()
        served.listener.start()
        with served.client(FLOODER) as one, served.client(OTHER) as two:
            flooder = threading.Thread(target=flood, args=(one, ends))
            flooder.start()
            await asyncio.sleep(0.5)
            for _ in range(100):
                two.send(b"good")
                await asyncio.sleep(0.01)
            ends.set()
            flooder.join(20)
            await served.listener.drain(asyncio.get_running_loop().time() + 5)
        return served

    served = asyncio.run(run())
    assert served.answered[OTHER] >= 40  # of 100: 24 without shares, 60 and more with them
    assert served.answered[FLOODER] > 1000
    assert list(served.floods) == [FLOODER]
