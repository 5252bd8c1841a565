"""``revert`` and ``rollback`` undo changes field by field (engine.md 8.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from identengine.book.mistakes import RowError
from identengine.model.records import ClientStatus
from identengine.provisioning.edits import (
    Edit,
    add,
    apply,
    clear_password,
    remove,
    set_columns,
    set_password,
    set_status,
)
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, DIDS
from identengine.provisioning.undo import Undoing, Undone, revert, roll_back
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault
from identengine.store.versions import Store

VAULT = Vault.from_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
ACCOUNT = {"id": "10", "client_id": "1", "name": "a", "ident_by": "ip", "ident": "192.0.2.1"}
DID = {"number": "441", "account_id": "10"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.filled(tmp_path / "store") as opened:
        for edit in (add(CLIENTS, {"id": "1", "name": "A"}), add(ACCOUNTS, ACCOUNT), add(DIDS, DID)):
            apply(opened, "ann", "x", edit)
        yield opened


def made(store: Store, edit: Edit) -> int:
    version = apply(store, "ann", "x", edit).version
    assert version is not None
    return version


def reverted(store: Store, version: int, **allowed: Any) -> Undone:
    undone = Undone()
    revert(store, version, "ann", Undoing(**{"yes": True} | allowed), undone)
    return undone


def rolled_back(store: Store, version: int, **allowed: Any) -> Undone:
    undone = Undone()
    roll_back(store, version, "ann", Undoing(**{"yes": True} | allowed), undone)
    return undone


def rows(book: Snapshot) -> list[object]:
    return [*book.clients(), *book.accounts(), *book.dids()]


def same(store: Store, a: int, b: int) -> bool:
    with store.read(a) as one, store.read(b) as other:
        return rows(one) == rows(other)


@pytest.mark.parametrize(
    "edit",
    [
        set_columns(
            ACCOUNTS, "10", {"name": "b", "tech_prefix": "7#", "ident": "192.0.2.2", "orig_capacity": "5"}
        ),
        set_columns(CLIENTS, "1", {"name": "B", "capacity": "3"}),
        set_status("1", ClientStatus.BLOCKED),
        set_columns(DIDS, "441", {"status": "on_hold"}),
        remove(ACCOUNTS, "10"),
        remove(DIDS, "441"),
        add(DIDS, DID | {"number": "442"}),
    ],
)
def test_a_version_is_undone(store: Store, edit: Edit) -> None:
    version = made(store, edit)
    assert reverted(store, version).left.done() == ()
    assert same(store, version - 1, store.head())


def test_an_account_that_was_added_is_disabled_or_removed(store: Store) -> None:
    version = made(store, add(ACCOUNTS, ACCOUNT | {"id": "11"}))
    reverted(store, version)
    with store.read() as book:
        account = book.account(11)
    assert account is not None
    assert account.disabled
    reverted(store, version, remove=True)
    assert same(store, version - 1, store.head())


def test_a_client_that_was_added_is_kept(store: Store) -> None:
    version = made(store, add(CLIENTS, {"id": "2", "name": "B"}))
    reverted(store, version)
    assert store.head() == version


def test_a_field_that_changed_again_is_left_and_named(store: Store) -> None:
    version = made(store, set_columns(ACCOUNTS, "10", {"name": "b", "notes": "n"}))
    made(store, set_columns(ACCOUNTS, "10", {"name": "c"}))
    undo = reverted(store, version)
    assert [(one.table, one.key, one.field, one.before, one.after) for one in undo.left.done()] == [
        ("account", 10, "name", "c", "a")
    ]
    with store.read() as book:
        account = book.account(10)
    assert account is not None
    assert (account.name, account.notes) == ("c", None)


def test_passwords_stay_unless_asked_for(store: Store) -> None:
    made(store, set_password("10", "old", VAULT))
    version = made(store, clear_password("10"))
    reverted(store, version)
    assert store.head() == version
    reverted(store, version, passwords=True)
    assert same(store, version - 1, store.head())


def test_a_row_that_was_removed_since_is_left(store: Store) -> None:
    version = made(store, set_columns(DIDS, "441", {"status": "on_hold"}))
    made(store, remove(DIDS, "441"))
    head = store.head()
    assert {one.field for one in reverted(store, version).left.done()} == {"number", "account_id", "status"}
    assert store.head() == head


def test_a_row_whose_account_is_gone_cannot_be_restored(store: Store) -> None:
    version = made(store, remove(DIDS, "441"))
    made(store, remove(ACCOUNTS, "10"))
    with pytest.raises(RowError, match="no account 10 in the book"):
        reverted(store, version)


def test_removing_and_loosening_needs_yes(store: Store) -> None:
    version = made(store, set_status("1", ClientStatus.BLOCKED))
    found = reverted(store, version, yes=False)
    assert ([one.field for one in found.loosens.done()], found.removed.total) == (["status"], 0)
    assert (found.refused, found.info, store.head()) == (True, None, version)
    found = reverted(store, 3, yes=False)
    assert found.removed.done().first == ("did 441",)
    found = reverted(store, version, yes=False, dry_run=True)
    assert (found.refused, found.info, store.head()) == (True, None, version)
