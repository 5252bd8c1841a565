"""Edits and lists without a command line: one version for each edit, and mistakes like those of an import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from identengine.book.mistakes import Mistake, RowError
from identengine.errors import IdentengineError
from identengine.model.records import Account, ClientStatus, DidStatus, IdentBy
from identengine.provisioning import edits, filters, listing, search
from identengine.provisioning.edits import Applied, Edit
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, DIDS
from identengine.store.vault import Vault
from identengine.store.versions import Store

TRUNK = {"client_id": "1", "name": "Trunk", "ident_by": "ip", "ident": "192.0.2.0/24"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        made = [
            edits.add(CLIENTS, {"name": "Reseller", "rate_table": "retail"}),
            edits.add(CLIENTS, {"name": "Customer", "parent_id": "1"}),
            edits.add(ACCOUNTS, {**TRUNK, "client_id": "2"}),
            edits.add(DIDS, {"number": "+44 20 7946 0001", "account_id": "1"}),
        ]
        for edit in made:
            apply(opened, edit)
        yield opened


def apply(store: Store, edit: Edit, *, dry_run: bool = False) -> Applied:
    return edits.apply(store, "tester", "test", edit, dry_run=dry_run)


def mistake(store: Store, edit: Edit) -> Mistake:
    head = store.head()
    with pytest.raises(RowError) as caught:
        apply(store, edit)
    assert store.head() == head
    (only,) = caught.value.mistakes
    return only


def test_each_edit_is_one_version_with_its_changes(store: Store) -> None:
    assert store.head() == 4
    done = apply(store, edits.set_columns(ACCOUNTS, "trunk", {"orig_tag": "gold"}))
    assert done.version == 5
    (change,) = done.changes
    assert (change.table, change.key) == ("account", 1)
    assert isinstance(change.after, Account)
    assert (change.after.orig_tag, change.after.ident_by) == ("gold", IdentBy.IP)


def test_an_edit_that_changes_nothing_makes_no_version(store: Store) -> None:
    assert apply(store, edits.set_columns(CLIENTS, "1", {"name": "Reseller"})) == Applied(None, (), ())
    assert store.head() == 4


def test_a_dry_run_returns_the_changes_and_makes_no_version(store: Store) -> None:
    done = apply(store, edits.remove(ACCOUNTS, "1"), dry_run=True)
    assert done.version is None
    assert [(change.table, change.after) for change in done.changes] == [("account", None), ("did", None)]
    assert store.head() == 4


def test_a_row_without_a_key_gets_the_next_free_one(store: Store) -> None:
    done = apply(store, edits.add(ACCOUNTS, {**TRUNK, "id": ""}))
    assert [change.key for change in done.changes] == [2]
    apply(store, edits.remove(ACCOUNTS, "2"))
    assert [change.key for change in apply(store, edits.add(ACCOUNTS, TRUNK)).changes] == [
        3
    ]  # an id is never reused


def test_warnings_come_with_the_edit(store: Store) -> None:
    done = apply(store, edits.add(ACCOUNTS, {**TRUNK, "ident": "10.0.0.1/8"}))
    assert [(one.column, one.value) for one in done.warnings] == [("ident", "10.0.0.1/8")]


@pytest.mark.parametrize(
    ("edit", "column", "value", "expected"),
    [
        (edits.add(ACCOUNTS, TRUNK | {"id": "1"}), "id", "1", "account 1 exists"),
        (edits.add(CLIENTS, {"id": "2", "name": "x"}), "id", "2", "client 2 exists"),
        (
            edits.add(DIDS, {"number": "442079460001", "account_id": "1"}),
            "number",
            "442079460001",
            "DID 442079460001 already belongs to account 1",
        ),
        (edits.add(ACCOUNTS, TRUNK | {"client_id": "9"}), "client_id", "9", "no client 9 in the book"),
        (edits.add(CLIENTS, {"name": "x", "parent_id": "9"}), "parent_id", "9", "no client 9 in the book"),
        (edits.add(DIDS, {"number": "1", "account_id": "9"}), "account_id", "9", "no account 9 in the book"),
        (edits.set_columns(CLIENTS, "1", {"parent_id": "2"}), "parent_id", "2", "reseller loop: 1 → 2 → 1"),
        (edits.set_columns(ACCOUNTS, "1", {"id": "5"}), "id", "5", "the id cannot be changed"),
        (edits.remove(DIDS, "()"), "number", "()", 'expected a number, got "()"'),
    ],
)
def test_a_mistake_names_its_column_and_changes_nothing(
    store: Store, edit: Edit, column: str, value: str, expected: str
) -> None:
    found = mistake(store, edit)
    assert (found.column, found.value) == (column, value)
    assert found.expected.startswith(expected)


@pytest.mark.parametrize(("wanted", "said"), [("1", "is the reseller of 1 client: 2 Customer"), ("2", "1 Trunk")])
def test_a_client_that_others_need_stays(store: Store, wanted: str, said: str) -> None:
    with pytest.raises(IdentengineError, match=said):
        apply(store, edits.remove(CLIENTS, wanted))
    assert store.head() == 4


def test_parts_come_back_as_they_were_before_the_account_was_disabled(store: Store) -> None:
    apply(store, edits.switch_parts("1", orig=False, term=True, on=True))
    apply(store, edits.switch_parts("1", orig=True, term=False, on=False))
    apply(store, edits.switch_parts("1", orig=True, term=True, on=False))
    with store.read() as book:
        assert listing.find_account(book, "1").disabled
    apply(store, edits.enable("1"))
    with store.read() as book:
        account = listing.find_account(book, "1")
    assert (account.orig_enabled, account.term_enabled) == (False, True)


def test_a_password_is_stored_encrypted_and_cleared(store: Store, tmp_path: Path) -> None:
    vault = Vault.new(tmp_path / "key")
    apply(store, edits.set_password("1", "secret", vault))
    assert (tmp_path / "key").exists()  # a new key is stored with the first password
    with store.read() as book:
        token = listing.find_account(book, "1").password
    assert token is not None
    assert vault.decrypt(token) == "secret"
    (change,) = apply(store, edits.clear_password("1")).changes
    assert isinstance(change.after, Account)
    assert change.after.password is None


def test_lists_show_what_is_inherited_and_who_is_blocked(store: Store) -> None:
    apply(store, edits.set_status("reseller", ClientStatus.BLOCKED))
    with store.read() as book:
        clients = listing.Clients(book)
        (account,) = book.accounts()
        shown = listing.account_object(account, clients)
        assert shown[filters.Status.BLOCKED] is True
        assert shown["client_name"] == "Customer"
        assert shown["inherited"] == {
            "rate_table": {"value": "retail", "client_id": 1},
            "routing_plan": None,
            "term_rate_table": None,
        }
        assert filters.has_status([filters.Status.BLOCKED], clients)(account)
        assert search.has_words(["trunk", "CUSTOMER"], clients, book)(account)
        assert not search.has_words(["trunk", "reseller"], clients, book)(account)
        assert [one.id for one in listing.clients_below(book, 1)] == [2]
        assert listing.accounts_of(book, 2) == [(1, "Trunk")]
        (did,), count = listing.owned_dids(book, 1)
        assert (did.status, count) == (DidStatus.ACTIVE, 1)


def test_the_last_change_of_a_row_is_its_own(store: Store) -> None:
    assert getattr(listing.last_change_of_account(store, 1), "version", None) == 4  # a change of its DID
    assert getattr(listing.last_change_of_client(store, 2), "version", None) == 2
    assert listing.last_change_of_client(store, 9) is None
