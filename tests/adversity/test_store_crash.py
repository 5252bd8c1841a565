"""After kill -9 at any moment, the store holds the complete previous version or the complete next one."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.thorough import times

from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.draft import Draft
from identengine.store.vault import Vault, key_id
from identengine.store.versions import Store

ROWS = 200
MOMENTS = times(50, 12)


def write_version(draft: Draft) -> None:
    """Write the version into every row, so that a mixture of versions is visible."""
    version = draft.version
    draft.put_client(Client(id=1, name=f"v{version}"))
    for n in range(1, ROWS + 1):
        draft.put_account(
            Account(id=n, client_id=1, name=f"v{version}", ident_by=IdentBy.NAME, ident=(f"trunk{n}",))
        )
        draft.put_did(Did(number=f"44{n:06}", account_id=version))


def assert_whole(store: Store, version: int) -> None:
    with store.read(version) as snapshot:
        assert snapshot.counts == (1, ROWS, ROWS)
        assert {client.name for client in snapshot.clients()} == {f"v{version}"}
        assert [(account.id, account.name) for account in snapshot.accounts()] == [
            (n, f"v{version}") for n in range(1, ROWS + 1)
        ]
        assert [(did.number, did.account_id) for did in snapshot.dids()] == [
            (f"44{n:06}", version) for n in range(1, ROWS + 1)
        ]
        assert [did.number for did in snapshot.account_dids(version)] == [f"44{n:06}" for n in range(1, ROWS + 1)]


def killed(work: Callable[[int], None], seconds: float) -> bytes:
    """Run ``work`` in a child with a pipe for reports. Kill it ``seconds`` after its first report.

    Return the reports. If the child ended earlier, it must have succeeded.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read(1)
        time.sleep(seconds)  # the random moment
        os.kill(child, signal.SIGKILL)
        report += pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return report


def test_killed_while_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "store"
    dice = random.Random(8)
    with Store.open(path, create=True) as store:
        store.change("parent", "first", write_version)

    def change_without_end(report: int) -> None:
        with Store.open(path) as store:
            os.write(report, b".")
            while True:
                store.change("child", "x", write_version)
                os.write(report, b"!")

    torn = 0
    for _ in range(MOMENTS):
        with Store.open(path, readonly=True) as store:
            before = store.head()
        done = killed(change_without_end, dice.uniform(0, 0.012)).count(b"!")
        with Store.open(path) as store:
            head = store.head()
            assert head in (before + done, before + done + 1), "reported versions exist"
            torn += head == before + done
            assert_whole(store, head)
            assert_whole(store, max(1, head - 1))
            assert len(store.versions()) == head
            info, _ = store.change("parent", "next", write_version)
            assert info.version == head + 1
            assert_whole(store, head + 1)
            assert len(list(store.diff(head, head + 1))) == 1 + 2 * ROWS
    assert torn > MOMENTS // 2, "most moments must lie within a change"


def test_killed_while_it_creates_a_store(tmp_path: Path) -> None:
    dice = random.Random(9)
    for n in range(MOMENTS):
        path = tmp_path / f"store{n}"

        def make(report: int, path: Path = path) -> None:
            os.write(report, b".")
            with Store.open(path, create=True) as store:
                store.change("child", "x", write_version)

        killed(make, dice.uniform(0, 0.01))
        with Store.open(path, create=True) as store:
            assert store.head() in (0, 1)
            store.change("parent", "next", write_version)
            assert_whole(store, store.head())


def test_killed_while_it_rotates_the_key_no_password_is_ever_lost(tmp_path: Path) -> None:
    path, key = tmp_path / "store", tmp_path / "store.key"
    vault = Vault.from_file(key, create=True)
    dice = random.Random(10)

    def with_passwords(draft: Draft) -> None:
        for n in range(1, ROWS + 1):
            before = draft.account(n)
            row = before or Account(
                id=n, client_id=1, name="", ident_by=IdentBy.NAME, ident=("x",), password=vault.encrypt(f"p{n}")
            )
            draft.put_account(msgspec.structs.replace(row, name=f"v{draft.version}"))

    with Store.open(path, create=True) as store:
        for _ in range(3):
            store.change("parent", "x", with_passwords)

    def rotate_without_end(report: int) -> None:
        with Store.open(path) as store:
            os.write(report, b".")
            while True:
                store.rotate(key)
                os.write(report, b"!")

    for _ in range(20):
        killed(rotate_without_end, dice.uniform(0, 0.04))
        vault = Vault.from_file(key)
        with Store.open(path) as store:
            for version in (1, 2, 3):
                with store.read(version) as snapshot:
                    rows = list(snapshot.accounts())
                assert [row.name for row in rows] == [f"v{version}"] * ROWS
                assert [vault.decrypt(row.password or "") for row in rows] == [f"p{n}" for n in range(1, ROWS + 1)]
    with Store.open(path) as store:
        store.rotate(key)
        vault = Vault.from_file(key)
        assert len(vault.key_ids) == 1, "the next rotation removes the keys that a crash left"
        with store.read(1) as snapshot:
            assert {key_id(row.password or "") for row in snapshot.accounts()} == set(vault.key_ids)
    leftovers = [found for found in tmp_path.iterdir() if found.name.startswith(".store.key-")]
    assert all(found.stat().st_mode & 0o077 == 0 for found in leftovers)


def test_a_killed_reader_does_not_make_the_file_grow(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("parent", "x", write_version)

    def hold(report: int) -> None:
        with Store.open(path) as store, store.read():
            os.write(report, b".")
            signal.pause()

    killed(hold, 0)
    with Store.open(path) as store:
        store.note("parent", "takes the dead reader off the table")
        assert store._file is not None
        assert "no active readers" in store._file._env.readers()


@pytest.mark.parametrize("moment", ["before the rekey", "after the rekey"])
def test_an_interrupted_rotation_leaves_a_key_for_every_password(tmp_path: Path, moment: str) -> None:
    key = tmp_path / "key"
    vault = Vault.from_file(key, create=True)
    with Store.open(tmp_path / "store", create=True) as store:
        row = Account(
            id=1, client_id=1, name="a", ident_by=IdentBy.NAME, ident=("x",), password=vault.encrypt("geheim")
        )
        store.change("parent", "x", lambda draft: draft.put_account(row))
        both = vault.with_new_key()
        both.save()
        if moment == "after the rekey":
            store.rekey(both)
        for again in range(2):
            with store.read() as snapshot:
                found = snapshot.account(1)
            assert found is not None
            assert Vault.from_file(key).decrypt(found.password or "") == "geheim"
            if not again:
                store.rotate(key)
                assert len(Vault.from_file(key).key_ids) == 1
