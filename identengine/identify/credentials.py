"""Credentials: the proof that a caller knows the password of an account (engine.md 3.6), by PAP, CHAP or digest.

Rule: the time of a comparison does not depend on the position of a difference.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import final

import msgspec

from identengine.model.records import Chap, Digest


@final
class Credentials(msgspec.Struct, frozen=True, gc=False):
    """The credentials that a caller brings: a password, a CHAP response, a digest, or several of these."""

    password: str | None
    digest: Digest | None
    name: str | None
    """The name of the request in normal form."""
    chap: Chap | None = None


def verifies(
    password: str, given: str | None, digest: Digest | None, name: str | None, chap: Chap | None = None
) -> bool:
    """Return True if all credentials of the request verify against ``password`` (in clear).

    ``given`` is the password that the caller sent, and ``chap`` its CHAP response. ``digest`` holds its digest
    fields, none of them blank. ``name`` is the name of the request in normal form. If several are there, all must
    verify.
    """
    if given is not None and not compare_digest(_bytes(given), _bytes(password)):
        return False
    if chap is not None and not chap_verifies(password, chap):
        return False
    return digest is None or _digest_verifies(password, digest, name)


def chap_verifies(password: str, chap: Chap) -> bool:
    """Return True if a CHAP response verifies by RFC 1994, section 4.1."""
    signed = bytes((chap.identifier,)) + _bytes(password) + chap.challenge
    return compare_digest(hashlib.md5(signed, usedforsecurity=False).digest(), chap.response)


def _digest_verifies(password: str, digest: Digest, name: str | None) -> bool:
    """Return True if a digest verifies by RFC 7616 with MD5 (the default) or SHA-256 (RFC 8760).

    The qop is ``auth`` or absent. Any other digest does not verify. The switch that made the nonce also checks its
    age and origin. Here it is only text.
    """
    needed = (digest.username, digest.realm, digest.nonce, digest.method, digest.uri, digest.response)
    if None in needed or (digest.username or "").strip() != name:
        return False
    match (digest.algorithm or "MD5").strip().upper():
        case "MD5":
            hashed = _md5
        case "SHA-256":
            hashed = _sha256
        case _:
            return False
    secret = hashed(f"{digest.username}:{digest.realm}:{password}")
    asked = hashed(f"{digest.method}:{digest.uri}")
    match (digest.qop or "").strip().lower():
        case "":
            expected = hashed(f"{secret}:{digest.nonce}:{asked}")
        case "auth" if digest.nc is not None and digest.cnonce is not None:
            expected = hashed(f"{secret}:{digest.nonce}:{digest.nc}:{digest.cnonce}:{digest.qop}:{asked}")
        case _:
            return False
    return compare_digest(_bytes(expected), _bytes((digest.response or "").lower()))


def _md5(text: str) -> str:
    # The switch chose the algorithm; phones by RFC 3261 only know MD5.
    return hashlib.md5(_bytes(text), usedforsecurity=False).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    # compare_digest rejects a str that is not ASCII, and half of a surrogate pair must not be an error.
    return text.encode("utf-8", "surrogatepass")
