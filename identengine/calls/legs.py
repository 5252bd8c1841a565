"""How a leg of a call is named, and its states (engine.md 5.1, 5.4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from identengine.model.records import Direction

LONGEST_ID = 256
"""Of a call or leg id, in bytes; of a longer one the beginning and a hash are kept: room is bounded."""

_ORIGINATION, _TERMINATION = Direction  # a look at a member of an enum is dear

State: TypeAlias = Literal[1, 2, 3]
"""Where a leg stands. No enum: to encode one takes longer than all the rest of a leg."""
RESERVED: Final = 1
ACTIVE: Final = 2
LAPSED: Final = 3
"""Remembered (engine.md 5.4); the others are held."""


def call_key(scope: str, call_id: str) -> str:
    """Return the key of a call: ids of different scopes never meet."""
    if len(call_id) > LONGEST_ID or not call_id.isascii():
        call_id = shortened(call_id)
    return f"{scope}\0{call_id}"


def leg_key(direction: Direction, leg_id: str | None) -> str:
    """Return the key of a leg within its call; an absent leg id is one value (engine.md 5.1)."""
    way = "o" if direction is _ORIGINATION else "t"
    return way + shortened(leg_id) if leg_id else way


def direction_of(leg: str) -> Direction:
    """Return the direction that a leg's key was made of."""
    return _ORIGINATION if leg[0] == "o" else _TERMINATION


def call_id_of(call: str) -> str:
    """Return the call id that a key was made of."""
    return call.partition("\0")[2]


def scope_of(call: str) -> str:
    """Return the scope that a key was made of."""
    return call.partition("\0")[0]


def shortened(text: str) -> str:
    """Return an id as it is kept: whole, or of a long one the beginning and a hash."""
    if len(text) <= LONGEST_ID and text.isascii():
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= LONGEST_ID:
        return text
    digest = blake2b(encoded, digest_size=16).hexdigest()
    return f"{encoded[: LONGEST_ID - 35].decode('utf-8', 'ignore')}…{digest}"
