"""The keys of calls and legs, and the states of a leg (engine.md 5.1, 5.4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from identengine.model.records import ChapRequest, Direction, Request
from identengine.model.usual import LONGEST_ID, UsualRequest

_ORIGINATION, _TERMINATION = Direction  # looking up an enum member is slow

State: TypeAlias = Literal[1, 2, 3]
"""The state of a leg. It is not an enum, since encoding an enum takes longer than encoding the rest of a leg."""
RESERVED: Final = 1
ACTIVE: Final = 2
LAPSED: Final = 3
"""The leg's lease expired. It holds no slot, but can be revived (engine.md 5.4)."""


def call_key(scope: str, call_id: str) -> str:
    """Return the key of a call. Equal call ids of different scopes have different keys."""
    if len(call_id) > LONGEST_ID or not call_id.isascii():
        call_id = shortened(call_id)
    return f"{scope}\0{call_id}"


def leg_key(direction: Direction, leg_id: str | None) -> str:
    """Return the key of a leg within its call. An absent leg id is a value of its own (engine.md 5.1)."""
    way = "o" if direction is _ORIGINATION else "t"
    return way + shortened(leg_id) if leg_id else way


def direction_of(leg: str) -> Direction:
    """Return the direction of a leg, by its key."""
    return _ORIGINATION if leg[0] == "o" else _TERMINATION


def request_fingerprint(request: Request, key: bytes) -> bytes:
    """Return a fingerprint that is equal for equal requests (engine.md 5.3).

    It leaves out the ids of call and leg, by which the leg is found. Because the fingerprint is kept with the leg,
    it holds values without field names. Requests with credentials are hashed with ``key``, long ones without.
    """
    fields = msgspec.structs.astuple(request)[_IDS:]
    try:
        content = _encode(fields)
    except OverflowError:  # MessagePack has 64 bits; a field that is not read can hold a longer integer
        content = _encode([str(field) if isinstance(field, int) else field for field in fields])
    if request.password is not None or request.digest is not None or type(request) is ChapRequest:
        return blake2b(content, digest_size=16, key=key).digest()
    return content if len(content) <= _LONGEST_CONTENT else blake2b(content, digest_size=16).digest()


Content: TypeAlias = UsualRequest | bytes
"""The part of a request that a retransmission repeats: the request itself, or its fingerprint."""


def content_of(request: Request, key: bytes) -> Content:
    """Return the content of a request: the request itself, or the fingerprint of a request with credentials."""
    if type(request) is UsualRequest and request.password is None and request.digest is None:
        return request
    return request_fingerprint(request, key)


def is_same(kept: Content, content: Content) -> bool:
    """Return True if two contents are those of equal requests (engine.md 5.3)."""
    return kept == content or fingerprint_of(kept) == fingerprint_of(content)


def fingerprint_of(content: Content) -> bytes:
    """Return a content as a fingerprint, the form in which a leg keeps it beyond its batch."""
    return content if isinstance(content, bytes) else request_fingerprint(content, b"")


_encode = msgspec.msgpack.Encoder().encode
_IDS = 2
"""Number of leading request fields that are ids: call id and leg id."""
_LONGEST_CONTENT = 256
"""Longest encoded request that is stored without hashing, in bytes."""


def call_id_of(call: str) -> str:
    """Return the call id that a call key contains."""
    return call.partition("\0")[2]


def scope_of(call: str) -> str:
    """Return the scope that a call key contains."""
    return call.partition("\0")[0]


def shortened(text: str) -> str:
    """Return an id in its stored form: unchanged, or for a long id its beginning and a hash."""
    if len(text) <= LONGEST_ID and text.isascii():
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= LONGEST_ID:
        return text
    digest = blake2b(encoded, digest_size=16).hexdigest()
    return f"{encoded[: LONGEST_ID - 35].decode('utf-8', 'ignore')}…{digest}"
