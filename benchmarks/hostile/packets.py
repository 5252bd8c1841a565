"""Packets of RADIUS: those of a good gateway, and hostile ones of each kind.

Anybody can send the forged ones. Only a switch with its secret can send the authentic ones.
"""

from __future__ import annotations

import struct
from random import Random
from typing import NamedTuple

from benchmarks import switches
from benchmarks.hostile.inputs import TOKEN
from benchmarks.hostile.subject import TIED
from benchmarks.switches import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    CALLED,
    SESSION_ID,
    SIGNED,
    STATUS_TYPE,
    USER_NAME,
    attribute,
    cisco,
    packet,
)

SECRET = f"{TOKEN}-of-radius"
"""The secret of every switch under attack. No attacker knows it, except one that controls a switch."""
LARGEST = 4096
"""Largest packet, in bytes."""
MOST_ATTRIBUTES = 200
"""Largest number of attributes that the engine reads in a packet."""
_HEAD = 20
_PROXY_STATE, _USER_PASSWORD, _DIGEST = 33, 2, 207
_VENDOR_SPECIFIC, _SOME_VENDOR = 26, 64999
_STOP = 2
_CALL_IDS = 1_000


class Hostile(NamedTuple):
    """A packet of a kind."""

    name: str
    raw: bytes
    accounting: bool = False
    """True if it is sent to the port of accounting."""


def request(number: int, address: str = "10.0.0.1") -> bytes:
    """Return an authentic Access-Request. Its identifier and authenticator are those of a number.

    The calls repeat after a while, so that not all slots are in use in the end.
    """
    attributes = SIGNED + attribute(CALLED, b"44171") + attribute(USER_NAME, address.encode())
    attributes += attribute(SESSION_ID, b"call %d" % (number % _CALL_IDS))
    return signed(packet(ACCESS_REQUEST, attributes), number)


def signed(raw: bytes, number: int) -> bytes:
    """Return a packet with the identifier and the authenticator of a number, signed."""
    head = raw[:1] + bytes((number & 0xFF,)) + raw[2:4] + number.to_bytes(16)
    return switches.signed(head + raw[_HEAD:], SECRET)


def access(fill: bytes, *, size: int = LARGEST, most: int = MOST_ATTRIBUTES - 1, first: bytes = SIGNED) -> bytes:
    """Return an Access-Request that repeats an attribute until it has a size or a number of attributes."""
    count = min((size - _HEAD - len(first)) // len(fill), most)
    return packet(ACCESS_REQUEST, first + fill * count)


def accounting(fill: bytes) -> bytes:
    """Return a stop that repeats an attribute until it is as large as it can be."""
    first = attribute(STATUS_TYPE, struct.pack(">I", _STOP)) + attribute(SESSION_ID, b"a call")
    count = min((LARGEST - _HEAD - len(first)) // len(fill), MOST_ATTRIBUTES - 2)
    return packet(ACCOUNTING_REQUEST, first + fill * count)


def forged() -> list[Hostile]:
    """Return packets that anybody can forge."""
    call = attribute(USER_NAME, b"10.0.0.1") + attribute(CALLED, b"44171") + attribute(SESSION_ID, b"a call")
    inner = attribute(9, b"a=b")
    opened = attribute(_VENDOR_SPECIFIC, struct.pack(">I", _SOME_VENDOR) + inner * (249 // len(inner)))
    return [
        Hostile("right length, garbage", _garbage()),
        Hostile("wrong Message-Authenticator", packet(ACCESS_REQUEST, SIGNED + call)),
        Hostile("no Message-Authenticator", packet(ACCESS_REQUEST, call)),
        Hostile("200 attributes", access(cisco(1, "xpgk-src-number"))),
        Hostile("4,096 bytes of Proxy-State", access(attribute(_PROXY_STATE, bytes(18)))),
        Hostile("vendors' attributes, 200 in all", access(opened, most=4)),
        Hostile("4,096 bytes of accounting", accounting(attribute(_PROXY_STATE, bytes(18))), accounting=True),
    ]


def authentic() -> list[Hostile]:
    """Return packets that only a switch with its secret can send."""
    name = attribute(USER_NAME, TIED.encode())
    call = name + attribute(CALLED, b"44171")
    password = attribute(_USER_PASSWORD, bytes(128))
    inner = attribute(1, b"a" * 18)
    return [
        Hostile("a call", request(0)),
        Hostile("a call, its address shared by others", packet(ACCESS_REQUEST, SIGNED + call)),
        Hostile("200 pairs", access(cisco(1, "call-id=abcdefg"), first=SIGNED + call)),
        Hostile("4,096 bytes of Proxy-State", access(attribute(_PROXY_STATE, bytes(18)), first=SIGNED + call)),
        Hostile("200 parts of a digest", access(attribute(_DIGEST, inner), first=SIGNED + call)),
        Hostile("31 passwords", access(password, first=SIGNED + call)),
        Hostile("200 session ids", accounting(attribute(SESSION_ID, b"a" * 18)), accounting=True),
    ]


def _garbage() -> bytes:
    raw = Random(13).randbytes(1400 - 4)
    return struct.pack(">BBH", ACCESS_REQUEST, 0, 1400) + raw
