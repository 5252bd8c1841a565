"""Encryption of all stored passwords under another key (engine.md 1.7)."""

from __future__ import annotations

import contextlib

import msgspec

from identengine.errors import DamagedError, KeyFileError
from identengine.store.format import ACCOUNTS, META_RETIRED, account_row, encode
from identengine.store.keys import lifetimes, newest, retired_keys, stored_rows_while_writing
from identengine.store.sums import History, put_sums, row_hash, sums_of
from identengine.store.transaction import Txn
from identengine.store.vault import Vault, key_id

_NAMED = 10
"""Maximum number of accounts that a message names."""


def encrypt_again(txn: Txn, vault: Vault, hash_key: bytes) -> int:
    """Encrypt every password of every version under the vault's first key. Return their number.

    Raise KeyFileError if the vault does not have the key of a current password, or DamagedError.
    """
    retired = {*retired_keys(txn), *vault.key_ids}
    history, of = History(), row_hash(hash_key)
    count = 0
    lost: list[int] = []
    owner = b""
    renewed: dict[str, str | None] = {}  # per account, so that an unchanged token does not look changed
    for row_key, since, until, key, stored in lifetimes(stored_rows_while_writing(txn, ACCOUNTS)):
        if row_key != owner:
            owner, renewed = row_key, {}
        try:
            value = txn.opened(key, stored)
        except DamagedError:
            if until is None:
                raise
            value = b""  # a row of earlier versions only, which stay damaged
        row = account_row(value) if value else None
        if row is None or row.password is None:
            continue
        if row.password not in renewed:
            renewed[row.password] = _renewed(row.password, vault)
        token = renewed[row.password]
        if token is None:
            if until is None:
                lost.append(row.id)
        elif token != row.password:
            retired.add(key_id(row.password))
            new = encode(msgspec.structs.replace(row, password=token))
            txn.put(key, new)
            history.add(ACCOUNTS, since, until, of(row_key, new) - of(row_key, value))
            count += 1
    if lost:
        raise KeyFileError(_lost(lost))
    _put_sums(txn, history)
    txn.put(META_RETIRED, " ".join(sorted(retired - {vault.key_ids[0]})).encode())
    return count


def _put_sums(txn: Txn, history: History) -> None:
    """Add the changes to the sums of all versions."""
    for version, changes in history.each(newest(txn).version):
        with contextlib.suppress(DamagedError):  # a version without sums stays damaged
            sums = sums_of(txn, version)
            assert sums is not None  # noqa: S101 - a write transaction has the present format
            put_sums(txn, version, {table: total + changes[table] for table, total in sums.items()})


def _renewed(token: str, vault: Vault) -> str | None:
    """Return a token of the same password under the vault's first key, or None if no key decrypts it."""
    try:
        return token if key_id(token) == vault.key_ids[0] else vault.encrypt(vault.decrypt(token))
    except (KeyFileError, ValueError):
        return None


def _lost(accounts: list[int]) -> str:
    named = ", ".join(map(str, accounts[:_NAMED])) + (", …" if len(accounts) > _NAMED else "")
    return (
        f"passwords that cannot be decrypted, since their key is missing: {len(accounts)} (of the accounts "
        f"{named}). Nothing was changed. Add that key to the key file on a line of its own, or set these "
        "passwords again (`identengine accounts password set ID`), and repeat."
    )
