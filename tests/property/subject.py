"""The engine under test: a random case with encrypted passwords, in a real index and engine."""

from __future__ import annotations

import base64
from typing import Any
from unittest import mock

import msgspec
from property.books import Case
from property.oracle import CODES, Rows

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.identify import builder, chains
from identengine.model.reasons import STANDARD, Codes, Reason, ReasonTable
from identengine.model.records import Account
from identengine.store.vault import Vault

HASH_KEY = bytes(range(32))
VAULT = Vault.from_text(base64.b64encode(bytes(32)).decode())
_tokens: dict[str, str] = {}


def sealed(account: Account) -> Account:
    """Return the account as the store keeps it."""
    if account.password is None:
        return account
    if account.password not in _tokens:
        _tokens[account.password] = VAULT.encrypt(account.password)
    return msgspec.structs.replace(account, password=_tokens[account.password])


def engine_of(
    case: Case, rows: Rows | None = None, hash_key: bytes = HASH_KEY, crowded: int = chains.INDEXED_FROM
) -> Engine:
    """Return an engine that serves the case. ``rows`` replaces the rows of the case, for example in another order.

    With a small ``crowded``, a few accounts on one ident value are indexed like thousands of accounts.
    """
    rows = rows or case.rows
    for_all: dict[Reason, Codes] = {}
    for_account: dict[int, dict[Reason, Codes]] = {}
    for (name, account_id), (sip_code, q850) in case.overrides.items():
        reason = Reason(name)
        codes = for_all if account_id is None else for_account.setdefault(account_id, {})
        codes[reason] = Codes(sip_code, q850, STANDARD[reason].h323)
    engine = Engine(EngineSettings(reasons=ReasonTable(for_all, for_account), vault=VAULT))
    accounts = [sealed(account) for account in rows.accounts]
    with mock.patch.object(chains, "INDEXED_FROM", crowded):
        engine.take_up(builder.build(case.options, rows.version, hash_key, rows.clients, accounts, rows.dids))
    return engine


def fields(answer: object) -> dict[str, Any]:
    """Return all fields of an answer, as the engine sends them."""
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


assert set(CODES) <= set(Reason), "the oracle uses only reasons of the engine"
