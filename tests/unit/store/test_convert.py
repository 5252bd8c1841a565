"""Stores of format 1, without checksums: read as they are, and converted by the first edit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.oldstores import KEY, rows_of, store_of_format_1
from unit.store.rows import account, client, put

from identengine.store import file as storefile
from identengine.store.format import FORMAT, META_FORMAT
from identengine.store.transaction import Txn
from identengine.store.vault import Vault
from identengine.store.verify import check_store
from identengine.store.versions import Store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return store_of_format_1(tmp_path / "store")


def content(store: Store) -> list[Any]:
    """Return everything that the first four versions of a store hold."""
    found: list[Any] = [store.versions()[:4], store.hash_key]
    for version in range(5):
        with store.read(version) as book:
            found += [list(book.clients()), list(book.accounts()), list(book.dids()), list(book.active_numbers())]
        found += [list(store.diff(version, 4)), list(store.diff(version, max(0, version - 1)))]
    found += [entry for entry in store.audit() if entry.version is None or entry.version <= 4]
    found += [list(store.audit(account=1))[:2], list(store.audit(client=2))[:2]]
    return found


def test_an_old_store_is_readable_and_reading_does_not_convert_it(old: Path) -> None:
    before = rows_of(old)
    with Store.open(old, readonly=True) as store:
        assert (store.info().format, store.head(), store.info().events) == (1, 4, 1)
        with store.read() as book:
            assert [one.name for one in book.accounts()] == ["one, moved", "two", "three"]
            assert [one.number for one in book.account_dids(3)] == ["442079460123"]
            book.verify()
        content(store)
        assert store.copy(old.parent / "copy").total == 0
    report = check_store(old)
    assert (report.format, report.version, report.total) == (1, 4, 0)
    assert rows_of(old) == before == rows_of(old.parent / "copy")


def test_the_first_edit_converts_all_versions(old: Path) -> None:
    vault = Vault.from_text(KEY)
    with Store.open(old) as store:
        before = content(store)
        store.change("eve", "5", put(client(9)))
        assert content(store) == before
        assert (store.head(), store.info().format) == (5, 2)
        assert store.rekey(Vault((bytes(32), *vault._keys))) == 1
        with store.read() as book:
            assert book.client(9) == client(9)
            row = book.account(2)
            assert row is not None
            assert Vault((bytes(32),)).decrypt(row.password or "") == "secret"
    report = check_store(old)
    assert (report.format, report.version, report.newest_sound, report.total) == (2, 5, 5, 0)


@pytest.mark.parametrize("work", ["note", "rollback", "rekey"])
def test_every_kind_of_write_converts(old: Path, work: str) -> None:
    with Store.open(old) as store:
        if work == "note":
            store.note("eve", "password shown", 2)
        elif work == "rollback":
            store.rollback(1, "eve")
        else:
            store.rekey(Vault((bytes(32), *Vault.from_text(KEY)._keys)))
        assert store.info().format == 2
    assert check_store(old).total == 0


def test_an_edit_that_changes_or_commits_nothing_does_not_convert(old: Path) -> None:
    before = rows_of(old)
    with Store.open(old) as store:
        store.change("eve", "x", put(client(9)), dry_run=True)
        store.change("eve", "x", lambda draft: draft.delete_client(77) and None)
        with pytest.raises(ZeroDivisionError):
            store.change("eve", "x", lambda draft: draft.delete_client(1) and 1 // 0)
        assert store.rollback(4, "eve").version == 4
    assert rows_of(old) == before


def test_a_conversion_grows_the_map(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = 0
    grow = storefile.StoreFile.grow

    def counted(file: storefile.StoreFile) -> None:
        nonlocal grown
        grown += 1
        grow(file)

    monkeypatch.setattr(storefile.StoreFile, "grow", counted)
    with Store.open(old) as store:
        assert store._file is not None
        store._file._env.set_mapsize(64 << 10)
        store.change("eve", "x", put(*(account(n) for n in range(10, 250))))
        assert grown
    assert check_store(old).total == 0


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(put_number: int) -> Callable[[Txn, bytes, bytes], None]:
    """Return a ``Txn.put`` that kills the process at its call of this number."""
    put_row = Txn.put
    left = put_number

    def put_or_die(txn: Txn, key: bytes, value: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            die()
        put_row(txn, key, value)

    return put_or_die


def test_a_conversion_that_is_killed_leaves_the_old_store(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows_of(old)
    with Store.open(old, readonly=True) as store:
        held = content(store)
    for moment in (*range(1, 40, 7), None):
        child = os.fork()
        if child == 0:
            if moment is None:
                monkeypatch.setattr(storefile.Writer, "commit", die)
            else:
                monkeypatch.setattr(Txn, "put", dying_at(moment))
            with Store.open(old) as store:
                store.change("eve", "5", put(client(9)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert rows_of(old) == before
    with Store.open(old) as store:
        store.change("eve", "5", put(client(9)))
        assert content(store) == held
    assert check_store(old).total == 0


def test_a_program_of_format_1_rejects_a_converted_store(old: Path) -> None:
    with Store.open(old) as store:
        store.note("eve", "x")
    assert dict(rows_of(old))[META_FORMAT] == FORMAT == b"2"  # format 1 compares the bare value
