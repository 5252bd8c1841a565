"""Src Policy: which calling number an account may show (engine.md 4)."""

from __future__ import annotations

from hashlib import blake2b
from random import randrange

from identengine.identify.dids import DidTable
from identengine.model.reasons import Reason
from identengine.model.records import Account, SrcPolicy

_ALLOW_ANY, _REJECT = SrcPolicy.ALLOW_ANY, SrcPolicy.REJECT  # a look at a member of an enum is dear


def shown_number(
    account: Account, src_number: str | None, call_id: str | None, dids: DidTable, hash_key: bytes
) -> tuple[str | None, bool] | Reason:
    """Return the number to show and whether it replaces the caller's, or the reason of a reject.

    ``src_number`` is in normal form without international prefix; None (absent, anonymous, invalid) matches
    no DID. ``hash_key`` is the store's (32 bytes): with it a call id chooses the same DID on every node.
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
    """Choose one of ``count`` evenly: by the keyed hash of the call id, at random without one (engine.md 4.3)."""
    if call_id is None:
        return randrange(count)  # noqa: S311 - an even spread is wanted, not a secret
    digest = blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=8, key=hash_key).digest()
    return int.from_bytes(digest, "big") % count
