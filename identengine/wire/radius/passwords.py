"""Passwords of an Access-Request: User-Password and CHAP-Password (RFC 2865, sections 5.2, 5.3 and 5.40)."""

from __future__ import annotations

from typing import Final

from identengine.model.records import Chap
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.hashing import md5_of
from identengine.wire.radius.packet import Packet, values

USER_PASSWORD: Final = 2
CHAP_PASSWORD: Final = 3
CHAP_CHALLENGE: Final = 60

LONGEST_PASSWORD = 128
"""Largest User-Password, in bytes."""
CHAP_BYTES = 17
"""Size of a CHAP-Password: the identifier and the response, in bytes."""
_BLOCK_BYTES = 16


def revealed(hidden: bytes, secret: SharedSecret, authenticator: bytes) -> bytes:
    """Return the password that a User-Password hides, without its padding.

    A value of a wrong length hides no password. It is ``b""``, which no account has (engine.md 2.3).
    """
    if not 0 < len(hidden) <= LONGEST_PASSWORD or len(hidden) % _BLOCK_BYTES:
        return b""
    plain, before = b"", authenticator
    for at in range(0, len(hidden), _BLOCK_BYTES):
        block = hidden[at : at + _BLOCK_BYTES]
        plain += _xor(block, secret.secret + before)
        before = block
    return plain.rstrip(b"\0")


def hidden(password: bytes, secret: SharedSecret, authenticator: bytes) -> bytes:
    """Return the User-Password that hides ``password``. Raise ValueError if it is too long."""
    if len(password) > LONGEST_PASSWORD:
        raise ValueError(f"a password of {len(password)} bytes")
    padded = password + bytes(-len(password) % _BLOCK_BYTES or (0 if password else _BLOCK_BYTES))
    found, before = b"", authenticator
    for at in range(0, len(padded), _BLOCK_BYTES):
        before = _xor(padded[at : at + _BLOCK_BYTES], secret.secret + before)
        found += before
    return found


def chap_of(packet: Packet) -> Chap | None:
    """Return the CHAP response of an Access-Request, or None if it has none.

    Without a CHAP-Challenge the authenticator of the request is the challenge. A response of a wrong length
    verifies for no password.
    """
    for value in values(packet, CHAP_PASSWORD):
        challenge = next(iter(values(packet, CHAP_CHALLENGE)), packet.authenticator)
        return Chap(identifier=value[0] if value else 0, challenge=challenge, response=value[1:])
    return None


def chap_response(identifier: int, password: bytes, challenge: bytes) -> bytes:
    """Return the CHAP-Password of a caller that has ``password`` (RFC 1994, section 4.1)."""
    first = bytes((identifier,))
    return first + md5_of(first + password + challenge)


def _xor(block: bytes, key: bytes) -> bytes:
    mask = md5_of(key)
    return (int.from_bytes(block, "big") ^ int.from_bytes(mask, "big")).to_bytes(_BLOCK_BYTES, "big")
