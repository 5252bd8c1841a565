"""No other account gets the id of a removed one without ``--reuse-id`` (engine.md 9.5)."""

from __future__ import annotations

import pytest
from unit.book.importing import ACCOUNTS, Import, accounts_of, said, ten_accounts, whole

from identengine.book.mistakes import RowError
from identengine.errors import LoadError
from identengine.provisioning.edits import add, apply, remove
from identengine.provisioning.rows import ACCOUNTS as ROWS
from identengine.store.versions import Store

TAKEN = '10 was the id of the removed account "a10" of client 1. Choose another id, or repeat with --reuse-id.'
OTHER = {"id": "10", "client_id": "1", "name": "other", "ident_by": "ip", "ident": "::1"}


def without_account_10(load: Import) -> None:
    load(whole())
    load({"accounts": ten_accounts(10)}, missing="remove", yes=True)


def test_another_account_in_a_book(load: Import, store: Store) -> None:
    without_account_10(load)
    other = {"accounts": [ACCOUNTS, "10,1,other,ip,::1"]}
    with pytest.raises(LoadError) as caught:
        load(other, missing="keep")
    assert said(caught.value) == [f"accounts.csv:2: id: {TAKEN}"]
    load(other, missing="keep", reuse_id=True)
    assert accounts_of(store)[-1].name == "other"


def test_the_same_account_comes_back(load: Import) -> None:
    without_account_10(load)
    report = load({"accounts": [ACCOUNTS, "10,1,a10,name,u"]}, missing="keep")
    assert report.accounts is not None
    assert report.accounts.added == 1


def test_an_id_that_no_account_had(load: Import) -> None:
    without_account_10(load)
    assert load({"accounts": [ACCOUNTS, "11,1,new,ip,::1"]}, missing="keep").changes == 1


def test_an_edit(load: Import, store: Store) -> None:
    load(whole())
    apply(store, "ann", "x", remove(ROWS, "10"))
    with pytest.raises(RowError) as caught:
        apply(store, "ann", "x", add(ROWS, OTHER))
    assert [mistake.expected for mistake in caught.value.mistakes] == [TAKEN]
    assert apply(store, "ann", "x", add(ROWS, OTHER, reuse_id=True)).version == 3
    assert apply(store, "ann", "x", remove(ROWS, "10")).version == 4
    assert apply(store, "ann", "x", add(ROWS, OTHER)).version == 5
