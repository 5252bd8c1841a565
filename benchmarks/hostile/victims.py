"""Good peers, whose waiting times are measured.

A switch asks over UDP, and a gateway by RADIUS. A switch over TCP connects for each request, as
clients of RESP and HTTP do.

A request without an answer within :data:`PATIENCE` seconds counts as that long.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from benchmarks import switches
from benchmarks.hostile import commands, packets
from benchmarks.hostile.inputs import TOKEN
from benchmarks.hostile.server import FORGED, GATEWAY, GOOD, HOST, Target

PATIENCE = 1.0
"""Longest time for an answer, in seconds."""
SWITCH_RATE, CONNECT_RATE = 200, 20
"""Requests of a switch over UDP, and of peers that make a connection for each request, a second."""
_BODY = '{"src_ip":"10.0.0.1","dst_number":"44171"}'
_HTTP = (
    f"POST /v1/identify HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
)


class Waits(NamedTuple):
    """Times until the answers, in milliseconds, and the share of requests that were answered."""

    p50: float
    p99: float
    max: float
    answered: float


Victim = Callable[[Target, float], Waits]
"""A peer that asks for some seconds."""


def switch(target: Target, seconds: float) -> Waits:
    """Ask by JSON-RPC over UDP."""
    return _over_udp(GOOD, target.udp, _identify, _answered, seconds)


def gateway(target: Target, seconds: float) -> Waits:
    """Ask by RADIUS."""
    first = next(_numbers) << 32  # no packet is a duplicate of an earlier one

    def ask(number: int) -> bytes:
        return packets.request(first + number)

    answers = _Numbers()
    return _over_udp(GATEWAY, target.radius, ask, answers.number, seconds)


_numbers = itertools.count(1)


class _Numbers:
    """The numbers of requests by the identifiers of their answers, in the order of the requests."""

    def __init__(self) -> None:
        self._last = -1

    def number(self, raw: bytes) -> int | None:
        """Return the number of the answered request, or None if the server was overloaded.

        Raise AssertionError if the call is rejected for another reason.
        """
        if raw[0] != switches.ACCESS_ACCEPT:
            if b"overload" in raw:
                return None
            raise AssertionError(f"a wrong answer: {raw!r}")
        near = self._last + 1
        number = near + (raw[1] - near + 128) % 256 - 128
        self._last = max(self._last, number)
        return number


def _over_udp(
    source: str, port: int, ask: Callable[[int], bytes], answered: Callable[[bytes], int | None], seconds: float
) -> Waits:
    """Ask over UDP at a fixed rate, whether answers come or not. Times count from the scheduled moment.

    ``ask`` returns the request of a number. ``answered`` returns the number of the request that an answer is to,
    or None if the server was overloaded.
    """
    waits: dict[int, float] = {}
    count = max(1, round(seconds * SWITCH_RATE))
    requests = [ask(number) for number in range(count)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind((source, 0))
        udp.connect((HOST, port))
        begin = time.perf_counter()
        due = [begin + number / SWITCH_RATE for number in range(count)]
        sent = 0
        while time.perf_counter() < due[-1] + PATIENCE and len(waits) < count:
            now = time.perf_counter()
            while sent < count and due[sent] <= now:
                udp.send(requests[sent])
                sent += 1
            rest = (due[sent] if sent < count else due[-1] + PATIENCE) - time.perf_counter()
            if select.select([udp], [], [], max(0.0, rest))[0]:
                number = answered(udp.recv(4096))
                if number is not None:
                    waits[number] = min(time.perf_counter() - due[number], PATIENCE)
    return _summary([waits.get(number) for number in range(count)])


def connecting_switch(target: Target, seconds: float) -> Waits:
    """Connect over TCP for each request."""

    def ask(tcp: socket.socket) -> None:
        tcp.bind((GOOD, 0))
        tcp.connect((HOST, target.tcp))
        tcp.sendall(_identify(1))
        if _answered(_received(tcp, b"\n")) is None:
            raise ConnectionError

    return _one_by_one(ask, seconds)


def redis_client(target: Target, seconds: float) -> Waits:
    """Connect over RESP for each request."""

    def ask(tcp: socket.socket) -> None:
        tcp.bind((GOOD, 0))
        tcp.connect((HOST, target.tcp))
        tcp.sendall(commands.IDENTIFY)
        answer = _received(tcp, b"\r\n:1\r\n$")
        if not answer.startswith(b"*12\r\n:1\r\n$-1\r\n:1\r\n"):
            raise AssertionError(f"a wrong answer: {answer!r}")

    return _one_by_one(ask, seconds)


def http_client(target: Target, seconds: float) -> Waits:
    """Connect over HTTP for each request, as a switch with its token."""

    def ask(tcp: socket.socket) -> None:
        tcp.bind((FORGED, 0))
        tcp.connect((HOST, target.http))
        tcp.sendall(_HTTP.encode())
        if not _received(tcp, b"\r\n").startswith(b"HTTP/1.1 200"):
            raise ConnectionError

    return _one_by_one(ask, seconds)


VICTIMS: Mapping[str, Victim] = {
    "switch, UDP": switch,
    "gateway, RADIUS": gateway,
    "switch that connects, TCP": connecting_switch,
    "client, RESP": redis_client,
    "HTTP client": http_client,
}


def _one_by_one(ask: Callable[[socket.socket], None], seconds: float) -> Waits:
    """Ask one request after another, each on a new connection, at most :data:`CONNECT_RATE` a second."""
    waits: list[float | None] = []
    end = time.perf_counter() + seconds
    while not waits or time.perf_counter() < end:
        began = time.perf_counter()
        with socket.socket() as tcp:
            tcp.settimeout(PATIENCE)
            try:
                ask(tcp)
            except OSError:  # refused, reset, or too late
                waits.append(None)
            else:
                waits.append(min(time.perf_counter() - began, PATIENCE))
        time.sleep(max(0.0, began + 1 / CONNECT_RATE - time.perf_counter()))
    return _summary(waits)


def _received(tcp: socket.socket, last: bytes) -> bytes:
    """Return the bytes up to ``last``. Raise OSError if the connection ends before, or after the patience."""
    received = b""
    end = time.perf_counter() + PATIENCE
    while last not in received:
        if time.perf_counter() > end:
            raise TimeoutError
        more = tcp.recv(65536)
        if not more:
            raise ConnectionError
        received += more
    return received


def _identify(number: int) -> bytes:
    params = {"src_ip": "10.0.0.1", "dst_number": "44171"}
    message = {"jsonrpc": "2.0", "id": number, "method": "identify", "params": params}
    return msgspec.json.encode(message) + b"\n"


def _answered(raw: bytes) -> int | None:
    """Return the id of an answer, or None if the server was overloaded. Raise AssertionError if it is wrong."""
    answer = msgspec.json.decode(raw)
    result = answer["result"]
    if result.get("reason") == "overload":
        return None
    if result.get("account_id") != 1:
        raise AssertionError(f"a wrong answer: {answer}")
    return int(answer["id"])


def _summary(waits: list[float | None]) -> Waits:
    taken = sorted((PATIENCE if wait is None else wait) * 1e3 for wait in waits)
    answered = sum(wait is not None for wait in waits) / len(waits)
    return Waits(taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1], answered)
