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
KNOWN = "10.0.0.1"
"""Address of the only account that is alone at its address."""
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
    floods: bool = True
    """True if the server is flooded with it. The cost of the others is measured in this process alone."""


def request(number: int, address: str = KNOWN) -> bytes:
    """Return an authentic Access-Request. Its identifier and authenticator are those of a number.

    The calls repeat after a while, so that not all slots are in use in the end.
    """
    return signed(packet(ACCESS_REQUEST, SIGNED + _call(address, number % _CALL_IDS)), number)


def _call(address: str, number: int) -> bytes:
    """Return the attributes of a call."""
    attributes = attribute(CALLED, b"44171") + attribute(USER_NAME, address.encode())
    return attributes + attribute(SESSION_ID, b"call %d" % number)


def signed(raw: bytes, number: int) -> bytes:
    """Return a packet with the identifier and the authenticator of a number, signed."""
    head = raw[:1] + bytes((number & 0xFF,)) + raw[2:4] + number.to_bytes(16)
    return switches.signed(head + raw[_HEAD:], SECRET)


def access(fill: bytes, *, most: int = MOST_ATTRIBUTES - 4, first: bytes = SIGNED) -> bytes:
    """Return an Access-Request that repeats an attribute, so often that it is as large as it can be."""
    count = min((LARGEST - _HEAD - len(first)) // len(fill), most)
    return packet(ACCESS_REQUEST, first + fill * count)


def accounting(fill: bytes) -> bytes:
    """Return a stop that repeats an attribute until it is as large as it can be."""
    first = attribute(STATUS_TYPE, struct.pack(">I", _STOP)) + attribute(SESSION_ID, b"a call")
    count = min((LARGEST - _HEAD - len(first)) // len(fill), MOST_ATTRIBUTES - 4)
    return packet(ACCOUNTING_REQUEST, first + fill * count)


def forged() -> list[Hostile]:
    """Return packets that anybody can forge."""
    call = _call(KNOWN, 0)
    inner = attribute(9, b"a=b")
    opened = attribute(_VENDOR_SPECIFIC, struct.pack(">I", _SOME_VENDOR) + inner * (249 // len(inner)))
    return [
        Hostile("right length, garbage", _garbage(), floods=False),
        Hostile("wrong Message-Authenticator", packet(ACCESS_REQUEST, SIGNED + call)),
        Hostile("no Message-Authenticator", packet(ACCESS_REQUEST, call)),
        Hostile("200 attributes", access(cisco(1, "xpgk-src-number"))),
        Hostile("4,096 bytes of Proxy-State", access(attribute(_PROXY_STATE, bytes(38))), floods=False),
        Hostile("vendors' attributes, 200 in all", access(opened, most=4), floods=False),
        Hostile("4,096 bytes of accounting", accounting(attribute(_PROXY_STATE, bytes(38))), accounting=True),
    ]


def authentic() -> list[Hostile]:
    """Return packets that only a switch with its secret can send."""
    call, tied = _call(KNOWN, 0), _call(TIED, 1)
    password = attribute(_USER_PASSWORD, bytes(128))
    inner = attribute(1, b"a" * 18)
    return [
        Hostile("a call", packet(ACCESS_REQUEST, SIGNED + call)),
        Hostile("a call, its address shared by others", packet(ACCESS_REQUEST, SIGNED + tied), floods=False),
        Hostile("200 pairs", access(cisco(1, "call-id=abcdefg"), first=SIGNED + call), floods=False),
        Hostile("4,096 bytes of Proxy-State", access(attribute(_PROXY_STATE, bytes(38)), first=SIGNED + call)),
        Hostile("200 parts of a digest", access(attribute(_DIGEST, inner), first=SIGNED + call)),
        Hostile("31 passwords", access(password, first=SIGNED + call), floods=False),
        Hostile("200 session ids", accounting(attribute(SESSION_ID, b"a" * 18)), accounting=True, floods=False),
    ]


def _garbage() -> bytes:
    raw = Random(13).randbytes(1400 - 4)
    return struct.pack(">BBH", ACCESS_REQUEST, 0, 1400) + raw
