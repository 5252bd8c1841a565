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

from benchmarks.hostile import commands, packets
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
_AUTHENTIC = 3_000
"""Number of different packets in a flood of authentic ones. A repeat is answered from the stored replies."""
_SWITCH, _CONNECT, _HTTP = "switch, UDP", "switch that connects, TCP", "HTTP client"
_GATEWAY, _CLIENT = "gateway, RADIUS", "client, RESP"


class Attack(NamedTuple):
    """An attack and the peers that it may harm."""

    name: str
    victims: tuple[str, ...]
    run: Run


def _udp(
    name: str,
    sources: Sequence[str],
    messages: Sequence[bytes],
    port: str = "udp",
    victims: tuple[str, ...] = (_SWITCH,),
) -> Attack:
    """Return a flood of datagrams to a port of the server."""
    size = sum(map(len, messages)) / len(messages)
    rate = min(FLOOD_DATAGRAMS, FLOOD_BYTES / max(size, 1))

    def run(target: Target, until: float, sent: Sent) -> None:
        datagrams(getattr(target, port), sources, messages, rate, until, sent)

    return Attack(name, victims, run)


def _message(place: str, filler: str, *, array: int = 0, method: str = "identify", size: int = 65_000) -> bytes:
    return build(Genes(method, "none", place, filler, array), "json", size, None)


def _packed(place: str, filler: str) -> bytes:
    return build(Genes("identify", "none", place, filler, 0), "msgpack", 65_000, None)


def _explains() -> bytes:
    one = build(Genes("explain", "none", "unknown parameter", "letters", 0), "json", 200, f"{TOKEN}-too")
    return b"[" + b",".join([one.replace(b"10.0.0.1", TIED.encode())] * 16) + b"]"


def _auth() -> bytes:
    return build(Genes("auth", "none", "unknown parameter", "letters", 0), "json", 200, f"{TOKEN}-too")


def _garbage(size: int) -> list[bytes]:
    random = Random(13)
    return [random.randbytes(random.randrange(1, size)) for _ in range(500)]


def tls_hello() -> bytes:
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
    name: str,
    victims: tuple[str, ...],
    port: str,
    source: str,
    count: int,
    block: bytes,
    rate: float,
    first: bytes = b"",
) -> Attack:
    """Return an attack that sends ``first`` once, then blocks on connections, ``rate`` blocks a second in all."""

    def run(target: Target, until: float, sent: Sent) -> None:
        trickle(getattr(target, port), source, count, first, block, rate, until, sent)

    return Attack(name, victims, run)


def attacks() -> list[Attack]:
    """Return all attacks."""
    return [*_floods(), *_forged_floods(), *_radius(), *_streams(), *_resp(), *_handshakes(), *_http()]


def _floods() -> list[Attack]:
    """Return floods of datagrams from unknown addresses, and from a switch with its token."""
    many = [f"127.1.{number}.7" for number in range(250)]
    return [
        _udp("UDP, unknown address: garbage", [UNKNOWN], _garbage(1400)),
        _udp("UDP, 250 unknown addresses: garbage", many, _garbage(200)),
        _udp("UDP, unknown address: 64 KB each", [UNKNOWN], [bytes(DATAGRAM_BYTES)]),
        _udp("UDP, a switch with its token: explain, 16 at once", [OWNED], [_explains()]),
    ]


def _forged_floods() -> list[Attack]:
    """Return floods of datagrams from the address of a switch, without its token."""
    near = build(Genes("authorize", "unknown method", "unknown member", "letters", 16), "json", 1400, None)
    promises = ("an array that promises 4 billion items", "a text that promises 4 GB")
    auth = build(Genes("auth", "wrong token", "token", "numbers", 1000), "msgpack", 62_000, None)
    messages = {
        "empty datagrams": [b""],
        "right requests without token": [_message("gateway", "letters", size=150)],
        "garbage": _garbage(1400),
        "backslashes that do not decode": [_message("account_id", "backslashes")[:-1]],
        "half of a surrogate pair and backslashes": [_surrogate()],
        "methods that do not exist": [near],
        "arrays of 1,000": [_message("gateway", "letters", array=1000)],
        "arrays of 1,000 auth": [auth],
        "deep nesting": [_message("calls", "levels of arrays"), b"[" * 65_000],
        "huge ids": [_message("id", "letters"), _packed("id", "empty arrays")],
        "lengths that promise 4 GB": [_packed("calls", filler) for filler in promises],
    }
    return [_udp(f"UDP, forged address: {name}", [FORGED], each) for name, each in messages.items()]


def _radius() -> list[Attack]:
    """Return floods of packets of RADIUS. Authentic packets are from a gateway that the attacker controls."""
    victims = (_GATEWAY, _SWITCH)
    calls = [packets.request(number) for number in range(1_000)]
    found = [_udp("RADIUS, unknown address: right packets", [UNKNOWN], calls, "radius", victims)]
    for one in filter(_floods_with, packets.forged()):
        port = "accounting" if one.accounting else "radius"
        found.append(_udp(f"RADIUS, forged address: {one.name}", [FORGED], [one.raw], port, victims))
    for one in filter(_floods_with, packets.authentic()):
        many = [packets.signed(one.raw, number) for number in range(_AUTHENTIC)]
        port = "accounting" if one.accounting else "radius"
        found.append(_udp(f"RADIUS, a switch with its secret: {one.name}", [OWNED], many, port, victims))
    return found


def _floods_with(one: packets.Hostile | commands.Stream) -> bool:
    return one.floods


def _streams() -> list[Attack]:
    """Return attacks with connections to the TCP port."""
    both, known = (_SWITCH, _CONNECT), [FORGED]
    half = b'{"a":"' + b"b" * 60_000
    return [
        _connects("TCP, unknown address: connections", both, "tcp", [UNKNOWN], b"", 5_000),
        _connects("TCP, address of a switch: connections", both, "tcp", known, b"", 5_000),
        _holds("TCP, address of a switch: half messages", both, "tcp", known, 200, half),
        _trickles("TCP, address of a switch: messages {}", both, "tcp", FORGED, 20, b"{}" * 8192, 200),
        _trickles("TCP, address of a switch: nesting", both, "tcp", FORGED, 20, _nested(), 80),
        _trickles("TCP, a switch with its token: messages {}", both, "tcp", OWNED, 20, b"{}" * 8192, 200, _auth()),
    ]


def _resp() -> list[Attack]:
    """Return attacks with connections that speak RESP."""
    victims = (_CLIENT, _SWITCH)
    dribble = commands.IDENTIFY[:-1]
    return [
        *(
            _trickles(f"RESP, address of a switch: {one.name}", victims, "tcp", FORGED, 20, one.block, 80)
            for one in filter(_floods_with, commands.anybody())
        ),
        _trickles("RESP, address of a switch: a byte at a time", victims, "tcp", FORGED, 200, b"a", 5_000),
        _holds("RESP, address of a switch: half commands", victims, "tcp", [FORGED], 200, dribble),
        *(
            _trickles(
                f"RESP, a switch with its token: {one.name}",
                victims,
                "tcp",
                OWNED,
                20,
                one.block,
                80,
                commands.AUTH,
            )
            for one in filter(_floods_with, commands.authenticated())
        ),
    ]


def _handshakes() -> list[Attack]:
    """Return attacks with TLS handshakes."""
    hello = tls_hello()
    return [
        _holds("TLS, address of a switch: slow handshakes", (_SWITCH,), "tls", [FORGED], 200, hello[:200]),
        _connects("TLS, address of a switch: handshakes", (_SWITCH,), "tls", [FORGED], hello, 1_000),
    ]


def _http() -> list[Attack]:
    """Return attacks on the HTTP port."""
    both = (_HTTP, _SWITCH)
    sources = [f"127.2.0.{number}" for number in range(1, 6)]
    post = b"POST /v1/identify HTTP/1.1\r\nHost: a\r\n"
    headers = post + b"a:b\r\n" * 12_000 + b"\r\n"
    chunks = post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10_000
    garbage = _garbage(1400)[0] + b"\r\n\r\n"
    return [
        _holds("HTTP, 5 addresses: idle connections", both, "http", sources, 1_000, b""),
        _holds("HTTP, 5 addresses: half requests", both, "http", sources, 1_000, post),
        _connects("HTTP: many tiny headers", both, "http", sources, headers, 50),
        _connects("HTTP: chunks of 1 byte", both, "http", sources, chunks, 50),
        _connects("HTTP: garbage", both, "http", sources, garbage, 1_000),
        _connects("HTTP: requests without token", both, "http", sources, post + b"\r\n", 1_000),
    ]


def _surrogate() -> bytes:
    """Return a message that needs a repair, and is full of other escapes."""
    whole = _message("unknown parameter", "backslashes", size=64_900)
    return whole.replace(b'"dst_number":', rb'"gateway":"\ud800","dst_number":')


def _nested() -> bytes:
    """Return messages of a connection that the framer has to walk through, token by token."""
    one = _message("calls", "empty arrays", array=2, size=32_000)
    return one * 2
