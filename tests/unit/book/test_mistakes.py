"""A book with every kind of mistake. An import reports each with its location, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from identengine.book.importer import import_book
from identengine.errors import LoadError
from identengine.store.vault import Vault
from identengine.store.versions import Store

BOOKS = Path(__file__).parent
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def test_every_mistake_is_reported_and_nothing_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BOOKS)
    expected = Path("mistakes.txt").read_text(encoding="utf-8").splitlines()
    with Store.open(tmp_path / "store", create=True) as store:
        with pytest.raises(LoadError) as caught:
            import_book(store, Vault.from_text(KEY), Path("mistakes"), who="test")
        assert store.head() == 0
        assert store.versions() == []
    assert [str(problem) for problem in caught.value.problems] == expected
    assert caught.value.total == len(expected)
    kinds = {(problem.column, problem.expected) for problem in caught.value.problems}
    assert len(kinds) >= 30


def test_skip_bad_imports_the_good_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BOOKS)
    with Store.open(tmp_path / "store", create=True) as store:
        report = import_book(store, Vault.from_text(KEY), Path("mistakes"), who="test", skip_bad=True)
        assert report.version == store.head() == 1
        with store.read() as snapshot:
            assert [client.id for client in snapshot.clients()] == [1, 21]
            assert [account.id for account in snapshot.accounts()] == [1]
            assert [did.number for did in snapshot.dids()] == ["442070001"]


def test_no_message_shows_a_password() -> None:
    text = (BOOKS / "mistakes.txt").read_text(encoding="utf-8")
    assert "hush" not in text
    assert "enc:" not in text.replace('after "enc:"', "")
