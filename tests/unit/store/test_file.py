"""The file of a store: copies, its size, reads and threads."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from unit.store.rows import account, client, history, put

from identengine.errors import StoreError
from identengine.store import file as storefile
from identengine.store.draft import Draft
from identengine.store.versions import Store


@pytest.mark.parametrize("name", ["copy", "copy.mdb"])
def test_a_copy_is_a_store_of_its_own(store: Store, tmp_path: Path, name: str) -> None:
    history(store)
    target = tmp_path / "elsewhere" / name
    store.copy(target)
    assert target.is_file() == (name == "copy.mdb")
    store.change("ann", "5", put(account(9)))
    with Store.open(target) as copy:
        assert copy.head() == 4
        assert copy.hash_key == store.hash_key
        assert list(copy.audit())[:10] == list(store.audit())[:10]
        copy.change("ann", "own", put(account(10)))
        with copy.read() as snapshot:
            assert snapshot.account(10) == account(10)
            assert snapshot.account(9) is None
    with pytest.raises(StoreError, match="exists already"):
        store.copy(target)
    assert not list((tmp_path / "elsewhere").glob(".copy*"))


def test_a_copy_does_not_overwrite(store: Store, tmp_path: Path) -> None:
    history(store)
    (tmp_path / "empty").mkdir()
    store.copy(tmp_path / "empty")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("")
    with pytest.raises(StoreError, match=r"used is not empty \(it holds letter.txt\)\. Nothing was changed"):
        store.copy(tmp_path / "used")
    assert [found.name for found in (tmp_path / "used").iterdir()] == ["letter.txt"]
    store.copy(tmp_path / "used" / "one.mdb")


def test_a_full_map_grows_and_the_edit_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storefile, "INITIAL_MAP", 64 << 10)
    runs = 0

    def edit(draft: Draft) -> None:
        nonlocal runs
        runs += 1
        for n in range(1, 3000):
            draft.put_account(account(n, name="x" * 200))
            draft.scratch.add(b"%d" % n)

    with Store.open(tmp_path / "s", create=True) as store:
        info, _ = store.change("ann", "x", edit)
        assert runs > 1
        assert (info.version, info.accounts) == (1, 2999)
        assert store.rollback(1, "ann") == info
        store.change("ann", "y", lambda draft: [draft.delete_account(n) for n in range(1, 3000)] and None)
        store.rollback(1, "ann")
        for _ in range(300):
            store.note("ann", "x" * 5000)
        with store.read() as snapshot:
            assert snapshot.counts.accounts == 2999 == sum(1 for _ in snapshot.accounts())
    with Store.open(tmp_path / "s") as store:
        assert store.head() == 3


def test_a_map_cannot_grow_during_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storefile, "INITIAL_MAP", 64 << 10)
    many = put(*(account(n, name="x" * 200) for n in range(1, 1000)))
    with Store.open(tmp_path / "s", create=True) as store:
        with store.read() as snapshot:
            with pytest.raises(StoreError, match="has to grow, but this process is still reading it"):
                store.change("ann", "x", many)
            assert list(snapshot.accounts()) == []
        assert store.change("ann", "x", many)[0].accounts == 999


def test_a_read_sees_no_later_changes(store: Store) -> None:
    store.change("ann", "1", put(account(1)))
    with store.read() as snapshot:
        store.change("ann", "2", put(account(1, name="new"), account(2)))
        assert list(snapshot.accounts()) == [account(1)]
        assert snapshot.version == 1
    assert store.head() == 2


def test_a_closed_store_cannot_be_used(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    store.change("ann", "1", put(account(1)))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.head()


def test_a_store_may_be_open_twice_in_a_process(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as one:
        with Store.open(tmp_path / "s" / ".." / "s") as two:
            one.change("ann", "1", put(account(1)))
            assert two.head() == 1
        assert one.head() == 1
    with Store.open(tmp_path / "s") as again:
        assert again.head() == 1


def test_a_readonly_store_cannot_be_written(tmp_path: Path) -> None:
    Store.open(tmp_path / "s", create=True).close()
    with Store.open(tmp_path / "s", readonly=True) as store:
        for write in (lambda: store.change("ann", "x", put(account(1))), lambda: store.note("ann", "x")):
            with pytest.raises(StoreError, match=r"opened for reading only. Nothing was changed"):
                write()
        assert store.head() == 0


def test_a_store_open_for_reading_can_also_be_opened_for_writing(tmp_path: Path) -> None:
    Store.open(tmp_path / "s", create=True).close()
    with Store.open(tmp_path / "s", readonly=True) as reader:
        with reader.read(), pytest.raises(StoreError, match="this process is reading it"):
            Store.open(tmp_path / "s")
        with Store.open(tmp_path / "s") as writer:
            writer.change("ann", "1", put(account(1)))
            assert reader.head() == 1
            with pytest.raises(StoreError, match="for reading only"):
                reader.change("ann", "2", put(account(2)))


def test_an_edit_cannot_start_another(store: Store) -> None:
    for inner in (
        lambda: store.note("ann", "x"),
        lambda: store.change("ann", "x", put(account(1))),
        lambda: store.rollback(1, "ann"),
    ):
        with pytest.raises(StoreError, match="cannot start another"):
            store.change("ann", "x", lambda draft, inner=inner: inner())  # type: ignore[misc]
    assert store.change("ann", "x", put(account(1)))[0].version == 1


def test_threads_take_turns(store: Store) -> None:
    store.change("ann", "0", put(client(1, capacity=0)))

    def add_one(draft: Draft) -> None:
        row = draft.client(1)
        assert row is not None
        draft.put_client(msgspec.structs.replace(row, capacity=(row.capacity or 0) + 1))

    def work() -> None:
        for _ in range(20):
            store.change("ann", "x", add_one)
            with store.read() as snapshot:
                row = snapshot.client(1)
                assert row is not None
                assert row.capacity == snapshot.version - 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as snapshot:
        row = snapshot.client(1)
        assert row is not None
        assert row.capacity == 80
