"""The attacks: what an attacker sends, from which address, and at which rate.

Each attack runs in processes of its own until a deadline, and counts what it sent. Attackers have a low priority,
so that the good peers on the same core are not delayed by them.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.hostile.inputs import TOKEN, Genes, build
from benchmarks.hostile.sending import (
    Sent,
    connections,
    datagrams,
    held,
    trickle,
)
from benchmarks.hostile.server import FORGED, OWNED, UNKNOWN, Target
from benchmarks.hostile.subject import DATAGRAM_BYTES, TIED

Run = Callable[[Target, float, Sent], None]
"""The work of one attacker: it sends to a server until a moment of the monotonic clock."""

FLOOD_BYTES = 5_500_000
"""Bytes a second of a flood of datagrams: 44 Mbit/s."""
FLOOD_DATAGRAMS = 20_000
"""Most datagrams of a flood a second."""
_SWITCH, _CONNECT, _HTTP = "switch, UDP", "switch that connects, TCP", "HTTP client"


class Attack(NamedTuple):
    """An attack and the peers that it may harm."""

    name: str
    victims: tuple[str, ...]
    run: Run


def _udp(name: str, sources: Sequence[str], messages: Sequence[bytes]) -> Attack:
    size = sum(map(len, messages)) / len(messages)
    rate = min(FLOOD_DATAGRAMS, FLOOD_BYTES / max(size, 1))

    def run(target: Target, until: float, sent: Sent) -> None:
        datagrams(target.udp, sources, messages, rate, until, sent)

    return Attack(name, (_SWITCH,), run)


def _message(place: str, filler: str, *, array: int = 0, method: str = "identify", size: int = 65_000) -> bytes:
    return build(Genes(method, "none", place, filler, array), "json", size, None)


def _packed(place: str, filler: str) -> bytes:
    return build(Genes("identify", "none", place, filler, 0), "msgpack", 65_000, None)


def _explains() -> bytes:
    one = build(Genes("explain", "none", "unknown parameter", "letters", 0), "json", 200, f"{TOKEN}-too")
    return b"[" + b",".join([one.replace(b"10.0.0.1", TIED.encode())] * 16) + b"]"


def _garbage(size: int) -> list[bytes]:
    random = Random(13)
    return [random.randbytes(random.randrange(1, size)) for _ in range(500)]


def _tls_hello() -> bytes:
    """Return the first bytes that a TLS client sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _connects(
    name: str, victims: tuple[str, ...], port: str, sources: Sequence[str], first: bytes, rate: float
) -> Attack:
    """Return an attack that connects, sends ``first`` and closes the connection, again and again."""

    def run(target: Target, until: float, sent: Sent) -> None:
        connections(getattr(target, port), sources, first, rate, until, sent)

    return Attack(name, victims, run)


def _holds(
    name: str, victims: tuple[str, ...], port: str, sources: Sequence[str], count: int, first: bytes
) -> Attack:
    """Return an attack that holds connections on which nothing follows after ``first``."""

    def run(target: Target, until: float, sent: Sent) -> None:
        held(getattr(target, port), sources, count, first, until, sent)

    return Attack(name, victims, run)


def _trickles(
    name: str, victims: tuple[str, ...], port: str, source: str, count: int, block: bytes, rate: float
) -> Attack:
    """Return an attack that sends ``block`` without end on connections, so often a second in all."""

    def run(target: Target, until: float, sent: Sent) -> None:
        trickle(getattr(target, port), source, count, block, rate, until, sent)

    return Attack(name, victims, run)


def attacks() -> list[Attack]:
    """Return all attacks."""
    hello = _tls_hello()
    many = [f"127.1.{number}.7" for number in range(250)]
    near = build(Genes("authorize", "unknown method", "unknown member", "letters", 16), "json", 1400, None)
    http = [f"127.2.0.{number}" for number in range(1, 6)]
    request = b"POST /v1/identify HTTP/1.1\r\nHost: a\r\n"
    return [
        _udp("UDP, unknown address: garbage", [UNKNOWN], _garbage(1400)),
        _udp("UDP, 250 unknown addresses: garbage", many, _garbage(200)),
        _udp("UDP, unknown address: 64 KB each", [UNKNOWN], [bytes(DATAGRAM_BYTES)]),
        _udp("UDP, forged address: empty datagrams", [FORGED], [b""]),
        _udp(
            "UDP, forged address: right requests without token",
            [FORGED],
            [_message("gateway", "letters", size=150)],
        ),
        _udp("UDP, forged address: garbage", [FORGED], _garbage(1400)),
        _udp(
            "UDP, forged address: backslashes that do not decode",
            [FORGED],
            [_message("account_id", "backslashes")[:-1]],
        ),
        _udp("UDP, forged address: half of a surrogate pair and backslashes", [FORGED], [_surrogate()]),
        _udp("UDP, forged address: methods that do not exist", [FORGED], [near]),
        _udp("UDP, forged address: arrays of 1,000", [FORGED], [_message("gateway", "letters", array=1000)]),
        _udp(
            "UDP, forged address: deep nesting", [FORGED], [_message("calls", "levels of arrays"), b"[" * 65_000]
        ),
        _udp(
            "UDP, forged address: huge ids", [FORGED], [_message("id", "letters"), _packed("id", "empty arrays")]
        ),
        _udp(
            "UDP, forged address: lengths that promise 4 GB",
            [FORGED],
            [
                _packed("calls", filler)
                for filler in ("an array that promises 4 billion items", "a text that promises 4 GB")
            ],
        ),
        _udp("UDP, a switch with its token: explain, 16 at once", [OWNED], [_explains()]),
        _connects("TCP, unknown address: connections", (_SWITCH, _CONNECT), "tcp", [UNKNOWN], b"", 5_000),
        _connects("TCP, address of a switch: connections", (_SWITCH, _CONNECT), "tcp", [FORGED], b"", 5_000),
        _holds(
            "TCP, address of a switch: half messages",
            (_SWITCH, _CONNECT),
            "tcp",
            [FORGED],
            200,
            b'{"a":"' + b"b" * 60_000,
        ),
        _trickles(
            "TCP, address of a switch: messages {}", (_SWITCH, _CONNECT), "tcp", FORGED, 20, b"{}" * 8192, 200
        ),
        _trickles("TCP, address of a switch: nesting", (_SWITCH, _CONNECT), "tcp", FORGED, 20, _nested(), 80),
        _holds("TLS, address of a switch: slow handshakes", (_SWITCH,), "tls", [FORGED], 200, hello[:200]),
        _connects("TLS, address of a switch: handshakes", (_SWITCH,), "tls", [FORGED], hello, 1_000),
        _holds("HTTP, 5 addresses: idle connections", (_HTTP, _SWITCH), "http", http, 1_000, b""),
        _holds("HTTP, 5 addresses: half requests", (_HTTP, _SWITCH), "http", http, 1_000, request),
        _connects(
            "HTTP: many tiny headers", (_HTTP, _SWITCH), "http", http, request + b"a:b\r\n" * 12_000 + b"\r\n", 50
        ),
        _connects(
            "HTTP: chunks of 1 byte",
            (_HTTP, _SWITCH),
            "http",
            http,
            request + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10_000,
            50,
        ),
        _connects("HTTP: garbage", (_HTTP, _SWITCH), "http", http, _garbage(1400)[0] + b"\r\n\r\n", 1_000),
        _connects("HTTP: requests without token", (_HTTP, _SWITCH), "http", http, request + b"\r\n", 1_000),
    ]


def _surrogate() -> bytes:
    """Return a message that needs a repair, and is full of other escapes."""
    whole = _message("unknown parameter", "backslashes", size=64_900)
    return whole.replace(b'"dst_number":', rb'"gateway":"\ud800","dst_number":')


def _nested() -> bytes:
    """Return messages of a connection that the framer has to walk through, token by token."""
    one = _message("calls", "empty arrays", array=2, size=32_000)
    return one * 2
