"""Disks that are full, read-only or of another user: the store reports the fault and keeps its content."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disk import fill, mounted

from identengine.errors import IdentengineError, KeyFileError, StoreError
from identengine.model.records import Account, IdentBy
from identengine.store.draft import Draft
from identengine.store.vault import Vault
from identengine.store.versions import Store


def put(count: int, size: int = 1000) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        for n in range(1, count + 1):
            name = f"{draft.version} " + "x" * size
            draft.put_account(Account(id=n, client_id=1, name=name, ident_by=IdentBy.NAME, ident=("x",)))

    return edit


def in_child(work: Callable[[], object]) -> str:
    """Run ``work`` in a child process. Return the text of its IdentengineError, or ``""`` if it raised none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            try:
                work()
                said = ""
            except IdentengineError as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "the child failed for another reason"
    return said


def test_a_full_disk_is_an_error_and_keeps_the_current_version(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4) as disk, Store.open(disk / "store", create=True) as store:
        store.change("ann", "fits", put(50))
        with pytest.raises(StoreError, match=r"the disk is full\. Nothing was changed\. Free space"):
            store.change("ann", "too much", put(5000))
        assert store.head() == 1
        with store.read() as snapshot:
            assert {row.name[:2] for row in snapshot.accounts()} == {"1 "}
            assert snapshot.counts.accounts == 50 == sum(1 for _ in snapshot.accounts())
        assert store.change("ann", "fits again", put(60))[0].version == 2
    # Unmounting succeeded, so no file on the mount was left open.


def test_a_disk_that_fills_up_change_by_change(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4) as disk:
        with Store.open(disk / "store", create=True) as store:
            head = 0
            with contextlib.suppress(StoreError):
                while head < 10_000:
                    head = store.change("ann", "more", put(20))[0].version
            for _ in range(3):
                with pytest.raises(StoreError, match="disk is full"):
                    store.change("ann", "more", put(20))
            assert store.head() == head
        with Store.open(disk / "store") as store:
            assert store.head() == head
            with store.read() as snapshot:
                assert {row.name.split()[0] for row in snapshot.accounts()} == {str(head)}


def test_a_full_disk_during_scratch_writes_and_copies(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4) as disk, Store.open(disk / "store", create=True) as store:
        store.change("ann", "1", put(50))

        def edit(draft: Draft) -> None:
            for n in range(1_000_000):
                draft.scratch.add(b"%d" % n, bytes(500))

        with pytest.raises(StoreError, match="disk is full"):
            store.change("ann", "2", edit)
        fill(disk)
        with pytest.raises(StoreError, match=f"disk is full|{os.strerror(errno.ENOSPC)}"):
            store.copy(disk / "deep" / "copy")
        assert not (disk / "deep").exists(), "a copy that failed leaves no folder"
        (disk / "ballast").unlink()
        assert store.change("ann", "2", put(10))[0].version == 2


def test_a_store_cannot_be_created_on_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1) as disk:
        fill(disk)
        with pytest.raises(StoreError, match="cannot create a store at"):
            Store.open(disk / "store", create=True)
        assert not (disk / "store").exists()
        with pytest.raises(KeyFileError, match=f"cannot be written: {os.strerror(errno.ENOSPC)}"):
            Vault.from_file(disk / "key", create=True)
        (disk / "ballast").unlink()
        Store.open(disk / "store", create=True).close()
        key = Vault.from_file(disk / "key", create=True)
        fill(disk)
        with pytest.raises(KeyFileError, match="cannot be written"):
            key.with_new_key().save()
        assert Vault.from_file(disk / "key").key_ids == key.key_ids


def test_a_limit_on_the_size_of_files_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("ann", "1", put(50))

    def too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with Store.open(path) as store:
            store.change("ann", "2", put(5000))

    assert "the file reached a size limit. Nothing was changed" in in_child(too_much)
    with Store.open(path) as store:
        assert store.head() == 1
        assert store.change("ann", "2", put(50))[0].version == 2


def test_a_store_on_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4) as disk:
        with Store.open(disk / "store", create=True) as store:
            store.change("ann", "1", put(5))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with Store.open(disk / "store", readonly=True) as store:
            assert store.head() == 1
            with store.read() as snapshot:
                assert sum(1 for _ in snapshot.accounts()) == 5
        with pytest.raises(StoreError, match=r"read-only file system, and must be writable .*\). Nothing was"):
            Store.open(disk / "store")
        with pytest.raises(StoreError, match=f"cannot create a store at .*{os.strerror(errno.EROFS)}"):
            Store.open(disk / "other", create=True)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that other users can access, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_permission_gets_an_error(tmp_path: Path) -> None:
    with open_folder() as folder:
        with Store.open(folder / "store", create=True) as store:
            store.change("ann", "1", put(5))
        Vault.from_file(folder / "key", create=True)
        (folder / "shut").mkdir(mode=0o700)

        def as_nobody(work: Callable[[], object]) -> Callable[[], object]:
            def run() -> object:
                os.setuid(65534)
                return work()

            return run

        store_path = folder / "store"
        said = in_child(as_nobody(lambda: Store.open(store_path, readonly=True)))
        assert "StoreError" in said
        assert "ermission denied" in said
        for file in store_path.iterdir():
            file.chmod(0o644)
        said = in_child(as_nobody(lambda: Store.open(store_path, readonly=True)))
        assert "permission denied. Nothing was changed" in said
        assert "lock file" in said
        for path in (folder / "shut" / "store", folder / "new"):
            said = in_child(as_nobody(lambda path=path: Store.open(path, create=True)))  # type: ignore[misc]
            assert "ermission denied" in said
        assert os.strerror(errno.EACCES) in in_child(as_nobody(lambda: Vault.from_file(folder / "key")))
        assert in_child(lambda: Store.open(store_path)) == ""
