"""Rows for the tests of columns."""

from __future__ import annotations

import pytest

from identengine.book.mistakes import RowError
from identengine.book.records import account_from
from identengine.model.records import Account
from identengine.store.vault import Vault

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


CLIENT = {"id": "1", "name": "Alpha"}


ACCOUNT = {"id": "7", "client_id": "1", "name": "trunk", "ident_by": "ip", "ident": "10.0.0.5"}


DID = {"number": "442070001", "account_id": "7"}


def account(**cells: object) -> Account:
    return account_from(ACCOUNT | cells, None, Vault.from_text(KEY))


def mistakes(**cells: object) -> list[tuple[str | None, str | None, str]]:
    with pytest.raises(RowError) as caught:
        account(**cells)
    return [(mistake.column, mistake.value, mistake.expected) for mistake in caught.value.mistakes]


def one_mistake(**cells: object) -> str:
    [(column, _, expected)] = mistakes(**cells)
    assert column == next(iter(cells))
    return expected
