"""Src Policy: the calling numbers that an account may show (engine.md 4)."""

from __future__ import annotations

from hashlib import blake2b
from random import randrange

from identengine.identify.dids import DidTable
from identengine.model.reasons import Reason
from identengine.model.records import Account, SrcPolicy

_ALLOW_ANY, _REJECT = SrcPolicy.ALLOW_ANY, SrcPolicy.REJECT  # access to a member of an enum is slow


def shown_number(
    account: Account, src_number: str | None, call_id: str | None, dids: DidTable, hash_key: bytes
) -> tuple[str | None, bool] | Reason:
    """Return the number to show, and True if it replaces the caller's number. For a reject return the reason.

    ``src_number`` is in normal form without international prefix. None (absent, anonymous or invalid) matches no
    DID. ``hash_key`` is the key of the store (32 bytes), with which a call id chooses the same DID on every node.
    """
    if account.src_policy is _ALLOW_ANY:
        return src_number, False
    owned = dids.of(account.id)
    if src_number is not None and owned.has(src_number):
        return src_number, False
    if account.src_policy is _REJECT:
        return Reason.SRC_NOT_ALLOWED
    if not owned:
        return Reason.NO_DID
    return owned.nth(_choice(call_id, len(owned), hash_key)), True


def _choice(call_id: str | None, count: int, hash_key: bytes) -> int:
    """Return one of ``count`` places, evenly: by a keyed hash of the call id, or at random (engine.md 4.3)."""
    if call_id is None:
        return randrange(count)  # noqa: S311 - an even spread, no secret
    digest = blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=8, key=hash_key).digest()
    return int.from_bytes(digest, "big") % count
