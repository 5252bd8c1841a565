"""Spells messages as bytes in JSON or MessagePack: as real clients do, in odd but valid forms, or damaged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fuzz.mutation import mutated
from fuzz.rounds import Case as Chance
from fuzz.values import to_json, to_messagepack
from property.books import Seeded

from identengine.wire.jsonrpc.codec import JSON, Codec

ORDERS = (
    ("method", "id", "params", "jsonrpc"),
    ("jsonrpc", "id", "method", "params"),
    ("jsonrpc", "method", "params", "id"),
    ("id", "jsonrpc", "params", "method"),
)
"""Orders of the members as clients write them. The first is that of our own client."""
GARBAGE = (
    b"",
    b" ",
    b"\0",
    b"{",
    b"[",
    b"[]",
    b"{}",
    b"garbage",
    b"\x80",
    b"\x90",
    b"\xc1",
    b"null",
    b"\r\n",
    b'"x"',
)


def spelled(source: Seeded, chance: Chance, codec: Codec, members: dict[str, Any], *, odd: bool) -> bytes:
    """Return a message in an encoding. ``odd`` allows forms that no usual client writes."""
    order = source.pick(ORDERS)
    ordered = {name: members[name] for name in order if name in members} | members
    if odd:
        return to_json(chance, ordered) if codec is JSON else to_messagepack(chance, ordered)
    try:
        if codec is JSON:
            return json.dumps(ordered).encode() if source.chance(30) else msgspec.json.encode(ordered)
        return msgspec.msgpack.encode(ordered)
    except (
        TypeError,
        ValueError,
        OverflowError,
        msgspec.MsgspecError,
    ):  # half a surrogate pair, or a long integer
        return spelled(source, chance, codec, members, odd=True)


def array_of(codec: Codec, items: list[bytes]) -> bytes:
    """Return encoded messages as one array."""
    if codec is JSON:
        return b"[" + b",".join(items) + b"]"
    count = len(items)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(items)


def damaged(source: Seeded, chance: Chance, raw: bytes) -> bytes:
    """Return bytes that are usually not a message."""
    return source.pick(GARBAGE) if source.chance(30) else mutated(chance, raw)
