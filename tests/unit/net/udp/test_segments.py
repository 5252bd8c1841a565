"""Answers of one size to one receiver leave in runs, over real sockets, and each receiver gets its own answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from identengine.net.udp import segments
from identengine.net.udp.mmsg import MmsgSocket
from identengine.net.udp.segments import runs_of
from identengine.net.udp.socket import BATCH, LARGEST

HOSTS = {"127.0.0.1": ("127.0.0.1",), "0.0.0.0": ("127.0.0.1", "127.0.0.2"), "::1": ("::1",), "::": ("::1",)}
"""By the address of the server: the addresses that clients ask."""


class Asking:
    """Clients of one server, each connected to one of its addresses."""

    def __init__(self, host: str, stack: ExitStack) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.server = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        try:
            self.server.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        self.server.setblocking(False)
        self.box = MmsgSocket(self.server, LARGEST)
        self.clients = []
        for asked in HOSTS[host] * 2:
            client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            client.connect((asked, self.server.getsockname()[1]))  # it takes answers from this address alone
            client.settimeout(20)
            self.clients.append(client)

    def ask(self, count: int) -> None:
        """Let the clients ask in turn."""
        for number in range(count):
            self.clients[number % len(self.clients)].send(b"%d" % number)
        received = self.box.receive()
        assert [int(one) for one in received] == [*range(count)]

    def check(self, answers: list[bytes]) -> None:
        """Send an answer to each question, and check that each client gets its own."""
        assert self.box.send(answers) == 0
        for number, client in enumerate(self.clients):
            own = answers[number :: len(self.clients)]
            assert sorted(client.recv(LARGEST) for _ in own) == sorted(own)


@pytest.fixture(params=HOSTS)
def asking(request: pytest.FixtureRequest) -> Iterator[Asking]:
    with ExitStack() as stack:
        yield Asking(request.param, stack)


def sent(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of datagrams of each call to send runs."""
    calls: list[int] = []
    call = asking.box._runs._call

    def counted(fileno: int, at: int | None, count: int, flags: int) -> int:
        calls.append(count)
        return call(fileno, at, count, flags)

    monkeypatch.setattr(asking.box._runs, "_call", counted)
    return calls


def test_each_receiver_gets_its_own_answers(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = sent(asking, monkeypatch)
    for _ in range(3):
        asking.ask(BATCH)
        asking.check([b"%04d" % number + b"s" * (100 * (number % 8 == 0)) for number in range(BATCH)])
    assert len(calls) == 3
    assert max(calls) <= 2 * len(asking.clients)
    asking.ask(3)
    asking.check([b"few", b"are", b"one"])
    assert len(calls) == 3


def test_runs_are_cut_before_they_exceed_a_datagram(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = sent(asking, monkeypatch)
    asking.ask(BATCH)
    asking.check([b"%04d" % number + b"l" * 1396 for number in range(BATCH)])
    assert sum(calls) < BATCH / 2


def test_answers_of_many_sizes_leave_alone(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = sent(asking, monkeypatch)
    asking.ask(20)
    asking.check([b"x" * number for number in range(1, 21)])
    assert not calls


def test_empty_answers_are_not_lost(asking: Asking) -> None:
    asking.ask(16)
    asking.check([b""] * 8 + [b"1"] * 8)


def test_systems_without_the_option(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_UDP_SEGMENT", 9999)
    box = MmsgSocket(asking.server, LARGEST)
    assert box._runs.refused
    asking.box = box
    asking.ask(16)
    asking.check([b"1"] * 16)


def test_runs_by_size_and_receiver() -> None:
    assert runs_of([1, 2, 1, 1], "aaba") == [[0, 3], [1], [2]]
    assert runs_of([30_000] * 5, "aaaaa") == [[0, 1], [2, 3], [4]]
    assert runs_of([LARGEST] * 2, "aa") == [[0], [1]]
    assert runs_of([0, 0], "aa") == [[0], [1]]


SMALL_PACKETS = """
import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up", "mtu", "1000"], check=True)
from identengine.net.udp.mmsg import MmsgSocket
server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("127.0.0.1", 0))
server.setblocking(False)
client.connect(server.getsockname())
client.settimeout(20)
box = MmsgSocket(server, 65535)
for turn in range(2):
    for _ in range(8):
        client.send(b"?")
    assert len(box.receive()) == 8
    answers = [b"%d" % number + b"a" * size for number, size in enumerate([1400] * 4 + [100] * 4)]
    assert box.send(answers) == 0
    print(sorted(client.recv(2000) for _ in answers) == sorted(answers), box._runs.refused)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and a network namespace")
def test_answers_that_exceed_a_packet_leave_alone() -> None:
    run = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SMALL_PACKETS],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == ("True True\nTrue True\n", "")
