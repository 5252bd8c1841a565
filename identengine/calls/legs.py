"""How a leg of a call is named, and its states (engine.md 5.1, 5.4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from identengine.model.records import Direction, Request

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


def request_fingerprint(request: Request, key: bytes) -> bytes:
    """Return what makes a request the same as another (engine.md 5.3).

    Values alone, since it is kept with the leg, and without the ids, by which that is found: credentials as a hash
    only, and so what is long.
    """
    content = _encode(msgspec.structs.astuple(request)[_IDS:])
    if request.password is None and request.digest is None and len(content) <= _LONGEST_CONTENT:
        return content
    return blake2b(content, digest_size=16, key=key).digest()


_encode = msgspec.msgpack.Encoder().encode
_IDS = 2
"""Of the fields of a request the first are the ids of call and leg."""
_LONGEST_CONTENT = 256
"""Bytes of a request that are kept as they are."""


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
