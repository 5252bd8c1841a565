"""All sockets of a running server at once: UDP, TCP in each framing, and the operator's Unix socket.

Invariant: no process dies, and the log reports no fault and no alarm. The next right message on each socket has
the right answer. The decider grows by at most 10 MiB.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest
from conformance.book import ACCOUNTS, CLIENTS, DIDS
from fuzz.messages import good
from fuzz.mutation import pieces
from fuzz.rounds import MEMORY, Case, Rounds, rounds
from fuzz.test_datagrams import datagram
from fuzz.test_framers import FRAMERS, stream
from fuzz.test_operator import line
from support import HOST
from support.books import put_rows
from support.operator import connect, held
from support.processes import resident
from support.server import Server, serving

WARM = 10
"""Number of cases after which the decider has its usual size."""
DATAGRAMS, STREAMS, LINES = 30, 4, 4
LARGEST = 65_000
"""Largest datagram, in bytes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sockets")
    put_rows(folder / "store", ACCOUNTS, CLIENTS, DIDS)
    with serving(folder) as running:
        yield running


@rounds(50)
def test_sockets(cases: Rounds, server: Server) -> None:
    decider, first, log = server.decider, 0, len(server.log)
    for number, case in enumerate(cases):
        with case:
            datagrams = [datagram(case)[:LARGEST] for _ in range(DATAGRAMS)]
            streams = [stream(case, case.choice(tuple(FRAMERS))) for _ in range(STREAMS)]
            lines = [line(case) for _ in range(LINES)]
            case.input = (datagrams, streams, lines)
            attack(case, server, datagrams, streams, lines)
            for ask in (server.ask_udp, server.ask_tcp):
                assert ask(json.dumps(good(number)).encode())["result"]["account_id"] == 18
            assert held(server) >= 0
            assert server.decider == decider
            added = server.log[log:]
            assert "Traceback" not in added, added
            assert "ALARM" not in added, added
            if number == WARM:
                first = resident(decider)
    if first:
        assert resident(decider) - first < MEMORY


def attack(case: Case, server: Server, datagrams: list[bytes], streams: list[bytes], lines: list[bytes]) -> None:
    """Send everything, and close without reading the answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for one in datagrams:
            udp.sendto(one, (HOST, server.ports["udp"]))
    for one in streams:
        with socket.create_connection((HOST, server.ports["tcp"])) as tcp, contextlib.suppress(OSError):
            tcp.settimeout(5)
            for piece in pieces(case, one):
                tcp.sendall(piece)
            if case.often(0.5):
                tcp.shutdown(socket.SHUT_WR)
                while tcp.recv(1 << 16):
                    pass
    for one in lines:
        with connect(server) as operator, contextlib.suppress(OSError):
            operator.sendall(one + b"\n")
