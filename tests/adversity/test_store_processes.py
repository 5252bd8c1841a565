"""Several processes that use one store, and forks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from identengine.errors import StoreError
from identengine.model.records import Account, Client, IdentBy
from identengine.store import file as storefile
from identengine.store.draft import Draft
from identengine.store.versions import Store


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended_well(*children: int) -> bool:
    return all(os.waitpid(child, 0)[1] == 0 for child in children)


def add_one(draft: Draft) -> None:
    row = draft.client(1)
    assert row is not None
    draft.put_client(msgspec.structs.replace(row, capacity=(row.capacity or 0) + 1))


def test_concurrent_writers_and_readers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("parent", "0", lambda draft: draft.put_client(Client(id=1, name="x", capacity=0)))

    def write() -> None:
        with Store.open(path) as store:
            for _ in range(40):
                store.change("child", "x", add_one)

    def read() -> None:
        with Store.open(path) as store:
            while store.head() < 121:
                with store.read() as snapshot:
                    row = snapshot.client(1)
                    assert row is not None
                    assert row.capacity == snapshot.version - 1
                    assert snapshot.counts == (1, 0, 0)

    children = [forked(work) for work in (write, write, write, read, read)]
    assert ended_well(*children)
    with Store.open(path) as store:
        assert [info.version for info in store.versions()] == list(range(1, 122))
        assert [c.after.capacity for c in store.diff(0, 121) if isinstance(c.after, Client)] == [120]


def test_a_map_that_another_process_enlarged_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storefile, "INITIAL_MAP", 64 << 10)
    path = tmp_path / "store"

    def fill() -> None:
        def edit(draft: Draft) -> None:
            for n in range(1, 2001):
                draft.put_account(
                    Account(id=n, client_id=1, name=f"{draft.version}" * 100, ident_by=IdentBy.NAME, ident=("x",))
                )

        with Store.open(path) as store:
            store.change("child", "x", edit)

    def read(store: Store) -> None:
        with store.read() as snapshot:
            assert sum(1 for _ in snapshot.accounts()) == 2000

    def in_another() -> None:
        # A fork of this process cannot open a file that this process has open.
        os.execv(sys.executable, [sys.executable, "-c", FILL, str(path)])

    with Store.open(path, create=True) as store:
        assert store.head() == 0
        assert ended_well(forked(in_another))
        read(store)
        assert ended_well(forked(in_another))
        store.change("parent", "x", lambda draft: draft.put_client(Client(id=1, name="x")))
        read(store)
        assert store.head() == 3
    assert ended_well(forked(fill))


FILL = """
import sys
from pathlib import Path
from identengine.model.records import Account, IdentBy
from identengine.store.versions import Store

def edit(draft):
    for n in range(1, 2001):
        name = str(draft.version) * 100
        draft.put_account(Account(id=n, client_id=1, name=name, ident_by=IdentBy.NAME, ident=("x",)))

with Store.open(Path(sys.argv[1])) as store:
    store.change("child", "x", edit)
"""


def test_a_fork_keeps_the_reads_of_its_parent_and_must_open_its_own_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("parent", "1", lambda draft: draft.put_client(Client(id=1, name="x")))
        with store.read() as snapshot:

            def use() -> None:
                for work in (store.head, store.versions, lambda: store.note("child", "x")):
                    with pytest.raises(StoreError, match="opened before a fork"):
                        work()
                with pytest.raises(StoreError):
                    Store.open(path).head()
                store.close()

            def unwind() -> None:
                with store, store.read():
                    raise AssertionError("not reached, since the store raises an error")

            assert ended_well(forked(use))
            assert not ended_well(forked(unwind))
            assert store._file is not None
            assert str(os.getpid()) in store._file._env.readers()
            assert snapshot.client(1) is not None
        assert store.change("parent", "2", add_one)[0].version == 2


def test_a_child_may_open_a_store_that_its_parent_closed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("parent", "1", lambda draft: draft.put_client(Client(id=1, name="x")))

    def work() -> None:
        with Store.open(path) as store:
            store.change("child", "2", add_one)

    assert ended_well(forked(work))
    with Store.open(path) as store:
        assert store.head() == 2


def test_a_wait_for_another_writer_can_be_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(path, create=True).close()
    reading, writing = os.pipe()

    def hold() -> None:
        def edit(draft: Draft) -> None:
            draft.put_client(Client(id=1, name="x"))
            os.write(writing, b".")
            signal.pause()

        with Store.open(path) as store:
            store.change("child", "x", edit)

    class InterruptedByTestError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptedByTestError

    child = forked(hold)
    try:
        os.read(reading, 1)
        previous = signal.signal(signal.SIGUSR1, interrupt)
        killer = forked(
            lambda: os.kill(os.getppid(), signal.SIGUSR1) if not signal.sigtimedwait([], 0.2) else None
        )
        with Store.open(path) as store:
            with pytest.raises(InterruptedByTestError):
                store.change("parent", "x", lambda draft: draft.put_client(Client(id=2, name="x")))
            assert store.head() == 0, "readers do not wait"
        signal.signal(signal.SIGUSR1, previous)
        assert ended_well(killer)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    with Store.open(path) as store:
        assert store.change("parent", "x", lambda draft: draft.put_client(Client(id=2, name="x")))[0].version == 1
