"""Rows that are not in a book: which are disabled or removed, and which imports need yes (engine.md 1.5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.book.importing import ACCOUNTS, DIDS, Import, accounts_of, dids_of, said, ten_accounts, whole

from identengine.book import importer
from identengine.errors import LoadError
from identengine.store.vault import Vault
from identengine.store.versions import Store


def test_an_account_that_is_not_in_the_book_is_disabled(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4)})
    assert report.needs_yes is None  # one of ten is not more than a tenth
    assert report.accounts is not None
    assert report.accounts.disabled.first == (4,)
    assert [account.id for account in accounts_of(store) if account.disabled] == [4]
    again = load({"accounts": ten_accounts(4)})
    assert again.version is None
    assert again.accounts is not None
    assert again.accounts.kept.first == (4,)


def test_missing_keep_and_remove(load: Import, store: Store) -> None:
    load(whole())
    kept = load({"accounts": ten_accounts(4)}, missing="keep")
    assert kept.version is None
    assert kept.accounts is not None
    assert kept.accounts.kept.first == (4,)
    removed = load({"accounts": ten_accounts(4)}, missing="remove")
    assert removed.version == 2
    assert removed.accounts is not None
    assert removed.dids is not None
    assert (removed.accounts.removed.first, removed.dids.removed.first) == ((4,), ("44200004",))
    assert len(accounts_of(store)) == len(dids_of(store)) == 9


def test_a_did_of_a_removed_account_may_move_and_not_stay(load: Import, store: Store) -> None:
    load(whole())
    moved = [DIDS, *(f"4420{n:04d},{n if n != 4 else 5}" for n in range(1, 11))]
    assert load({"accounts": ten_accounts(4), "dids": moved}, missing="remove", dry_run=True).needs_yes is None
    with pytest.raises(LoadError) as caught:
        load({"accounts": ten_accounts(4), "dids": whole()["dids"]}, missing="remove")
    [problem] = said(caught.value)
    assert problem == "dids.csv:5: account_id: account 4 is not in this book, so --missing remove removes it"
    assert store.head() == 1


def test_a_did_of_an_account_that_never_was_is_told_from_one_of_a_removed_account(load: Import) -> None:
    load(whole())
    dids = [DIDS, "44200004,4", "44200005,5", "44209999,99"]
    report = load({"accounts": ten_accounts(4), "dids": dids}, missing="remove", skip_bad=True, dry_run=True)
    assert [problem.expected for problem in report.problems] == [
        "account 4 is not in this book, so --missing remove removes it",
        "no account 99 in this book or in the store",
    ]


def test_a_did_moves_freely_and_an_absent_did_is_removed(load: Import, store: Store) -> None:
    load(whole())
    report = load({"dids": [DIDS, "44200001,2", *(f"4420{n:04d},{n}" for n in range(2, 10))]})
    assert report.version == 2
    assert report.dids is not None
    assert (report.dids.changed.first, report.dids.removed.first) == (("44200001",), ("44200010",))
    assert dids_of(store)[0].account_id == 2


def test_disabling_more_than_a_tenth_needs_yes(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4, 5)})
    assert report.needs_yes == "This would disable 2 of 10 enabled accounts (20 %: 4, 5)."
    assert (report.version, store.head()) == (None, 1)
    assert report.accounts is not None
    assert report.accounts.disabled.total == 2
    tried = load({"accounts": ten_accounts(4, 5)}, dry_run=True)
    assert (tried.needs_yes, tried.dry_run, tried.version, store.head()) == (report.needs_yes, True, None, 1)
    tried = load({"accounts": ten_accounts(4, 5)}, dry_run=True, yes=True)
    assert (tried.needs_yes, tried.dry_run, tried.version, store.head()) == (None, True, None, 1)
    done = load({"accounts": ten_accounts(4, 5)}, yes=True)
    assert (done.needs_yes, done.version) == (None, 2)


def test_a_book_that_switches_accounts_off_itself_counts_too(load: Import, store: Store) -> None:
    load(whole())
    off = [
        ACCOUNTS + ",orig_enabled",
        *(f"{n},1,a{n},ip,10.0.0.{n},{'no' if n < 3 else ''}" for n in range(1, 11)),
    ]
    report = load({"accounts": off})
    assert report.needs_yes == "This would disable 2 of 10 enabled accounts (20 %: 1, 2)."
    assert report.accounts is not None
    assert report.accounts.switched_off.first == (1, 2)
    assert load({"accounts": off}, yes=True).version == 2
    assert load({"accounts": off}).version is None


def test_only_accounts_that_were_on_count(load: Import) -> None:
    load(whole())
    load({"accounts": ten_accounts(1)})
    report = load({"accounts": ten_accounts(1, 2)})
    assert report.needs_yes == "This would disable 1 of 9 enabled accounts (11 %: 2)."


def test_removing_more_than_a_tenth_needs_yes(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4, 5), "dids": [DIDS]}, missing="remove")
    assert report.needs_yes == (
        "This would remove 2 of 10 enabled accounts (20 %: 4, 5) and remove all 10 DIDs"
        " (44200001, 44200002, 44200003, 44200004, 44200005, …)."
    )
    assert store.head() == 1


def test_the_dids_of_removed_accounts_count_as_removed(load: Import, store: Store) -> None:
    tables = whole()
    tables["dids"] = [DIDS, *(f"4420{n:04d},4" for n in range(10))]
    load(tables)
    report = load({"accounts": ten_accounts(4)}, missing="remove")
    assert report.needs_yes is not None
    assert report.needs_yes.startswith("This would remove all 10 DIDs (")
    assert store.head() == 1


def test_a_bad_row_protects_what_it_stands_for(load: Import, store: Store) -> None:
    load(whole())
    accounts = [*ten_accounts(4, 5), "4,1,a4,ip,10.1", "5,1"]
    dids = [DIDS, "44200001,1,", *(f"4420{n:04d},{n}" for n in range(2, 10)), "4420-0010,77"]
    report = load({"accounts": accounts, "dids": dids}, skip_bad=True)
    assert (report.version, report.changes, report.problem_count) == (None, 0, 4)
    assert report.accounts is not None
    assert report.dids is not None
    assert (report.accounts.skipped, report.accounts.disabled.total) == (2, 0)
    assert (report.dids.skipped, report.dids.removed.total) == (2, 0)
    assert not any(account.disabled for account in accounts_of(store))


def test_a_row_with_an_unreadable_key_protects_all_absent_rows(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": [*ten_accounts(4), "x,1,a4,ip,10.0.0.4"]}, skip_bad=True)
    assert report.version is None
    assert report.accounts is not None
    assert (report.accounts.kept.first, report.accounts.disabled.total) == ((4,), 0)
    [warning] = report.warnings
    assert (warning.line, warning.expected) == (
        11,
        "this id cannot be read. The row may be any of the accounts that are not in the file, so they are kept "
        "(1).",
    )


@pytest.mark.parametrize("first_is_bad", [False, True])
def test_of_two_rows_with_one_id_the_second_is_never_taken(load: Import, store: Store, first_is_bad: bool) -> None:
    first = "1,1,first,ip,10.1" if first_is_bad else "1,1,first,ip,10.0.0.1"
    tables = {"clients": ["id,name", "1,A"], "accounts": [ACCOUNTS, first, "1,1,second,ip,10.0.0.2"]}
    report = load(tables, skip_bad=True)
    assert [account.name for account in accounts_of(store)] == ([] if first_is_bad else ["first"])
    assert "1 is already on line 2" in [problem.expected for problem in report.problems]


def test_removing_many_disabled_accounts_needs_yes(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name\n1,c\n")
    header = "id,client_id,name,ident_by,ident,orig_enabled\n"
    every = [f"{n},1,a,ip,10.0.0.{n},{'true' if n <= 10 else 'false'}\n" for n in range(1, 21)]
    (book / "accounts.csv").write_text(header + "".join(every))
    with Store.open(tmp_path / "store", create=True) as store:
        importer.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test")
        (book / "accounts.csv").write_text(header + "".join(every[:10]))
        report = importer.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test", missing="remove")
        assert report.needs_yes is not None
        assert "remove 10 of 20 accounts" in report.needs_yes
        assert store.head() == 1
