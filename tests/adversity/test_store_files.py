"""Files that are not a store, or are damaged."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from identengine.errors import StoreError
from identengine.model.records import Account, Did, IdentBy
from identengine.store import check as storecheck
from identengine.store.draft import Draft
from identengine.store.seals import seal
from identengine.store.versions import Store


def fill(draft: Draft) -> None:
    for n in range(1, 500):
        draft.put_account(
            Account(id=n, client_id=1, name=f"{draft.version}" + "x" * 50, ident_by=IdentBy.NAME, ident=("x",))
        )
        draft.put_did(Did(number=str(n), account_id=n))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("ann", "1", fill)
        store.change("ann", "2", fill)
    return path


def put_in_place(path: Path, content: bytes) -> None:
    (path / "data.mdb").write_bytes(content)


def test_a_missing_store_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*nope\. `identengine init` with the same options creates"):
        Store.open(tmp_path / "nope")
    with pytest.raises(StoreError, match="no store at"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="no store at"):
        Store.open(tmp_path / "nope", create=True, readonly=True)
    assert not (tmp_path / "nope").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data.mdb is empty. Replace it with a copy"),
        (b"\0", "is truncated"),
        (bytes(18) + b"\x08\0", "not an LMDB file"),
        (bytes(10) + b"\x08\0", "is truncated"),
        (b"x", "data.mdb is not a store: it is not an LMDB file"),
        (b"hello, here is no store\n", "data.mdb is not a store: it is not an LMDB file"),
        (b"id,name,status\n" * 1000, "not an LMDB file"),
        (bytes(100_000), "not an LMDB file"),
        (random.Random(1).randbytes(100_000), "not an LMDB file"),
    ],
    ids=["empty", "one byte", "20 bytes", "12 bytes", "a letter", "a line", "csv", "zeros", "noise"],
)
@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_not_a_store_is_rejected_and_kept(
    made: Path, content: bytes, message: str, create: bool
) -> None:
    put_in_place(made, content)
    with pytest.raises(StoreError, match=message):
        Store.open(made, create=create)
    assert (made / "data.mdb").read_bytes() == content, "a damaged store is not replaced by an empty one"


def test_an_invalid_header_is_rejected(made: Path) -> None:
    good = (made / "data.mdb").read_bytes()
    for bad in (
        good[:40] + struct.pack("<I", 12345) + good[44:],  # the page size
        good[:16] + bytes(4) + good[20:],  # the magic number
        good[:20] + struct.pack("<I", 77) + good[24:4096] + good[:20] + struct.pack("<I", 77) + good[4120:],
    ):
        put_in_place(made, bad)
        with pytest.raises(StoreError, match=r"damaged|not a store|version 77 of LMDB's format"):
            Store.open(made)


def test_another_lmdb_file_is_not_a_store(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "x"), max_dbs=2) as env, env.begin(write=True) as txn:
        txn.put(b"k", b"v", db=env.open_db(b"named", txn=txn))
    with pytest.raises(StoreError, match="an LMDB file, but not an identengine store"):
        Store.open(tmp_path / "x", create=True)


def test_another_format_is_rejected(made: Path) -> None:
    with lmdb.open(str(made)) as env, env.begin(write=True) as txn:
        txn.put(b"mformat", b"7")
    with pytest.raises(StoreError, match=r"has format 7; this program reads format 2. Use the program that"):
        Store.open(made)
    with lmdb.open(str(made)) as env, env.begin(write=True) as txn:
        txn.put(b"mformat", b"2")
        txn.delete(b"mhash_key")
    with pytest.raises(StoreError, match=r"damaged: its hash key is missing"):
        Store.open(made)


def test_a_folder_or_text_file_at_the_path_of_a_store(made: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(StoreError, match="not an LMDB file"):
        Store.open(tmp_path / "text", create=True)
    with pytest.raises(StoreError, match="cannot create a store"):
        Store.open(tmp_path / "text" / "deeper", create=True)
    (made / "data.mdb").unlink()
    (made / "data.mdb").mkdir()
    with pytest.raises(StoreError, match=r"data.mdb is not a store: it is not a regular file"):
        Store.open(made)


def test_a_pipe_at_the_path_of_a_store_does_not_block(made: Path) -> None:
    (made / "data.mdb").unlink()
    os.mkfifo(made / "data.mdb")
    for readonly in (True, False):
        with pytest.raises(StoreError, match=r"data.mdb is not a store: it is not a regular file"):
            Store.open(made, readonly=readonly)
    with pytest.raises(StoreError, match="there is no store at"):
        Store.open(made / "data.mdb")


def status_of(work: Callable[[], None]) -> int:
    """Run ``work`` in a child. Return its exit status, or the negative number of the signal that killed it."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            work()
            status = 0
        except StoreError:
            status = 7
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read_everything(path: Path) -> None:
    with Store.open(path, readonly=True) as store:
        for version in (1, 2):
            with store.read(version) as snapshot:
                assert sum(1 for _ in snapshot.accounts()) == 499 == sum(1 for _ in snapshot.dids())
                assert len(list(snapshot.active_numbers())) == 499
        log = list(store.audit())
        if any("the store is damaged" in entry.what for entry in log):
            raise StoreError("the audit log reports damage")
        assert len(log) == 998 + 499


def test_a_truncated_file_is_an_error_or_intact_but_never_a_crash(made: Path) -> None:
    good = (made / "data.mdb").read_bytes()
    dice = random.Random(3)
    lengths = {
        4096,
        8192,
        len(good) // 2,
        len(good) - 4096,
        len(good) - 1,
        *(dice.randrange(len(good)) for _ in "x" * 6),
    }
    for length in sorted(lengths):
        put_in_place(made, good[:length])
        assert status_of(lambda: read_everything(made)) in (0, 7), length
    put_in_place(made, good[: len(good) // 2])
    with pytest.raises(
        StoreError, match=r"damaged: data.mdb is truncated \([\d,]+ bytes of [\d,]+\)\. Replace it with a copy"
    ):
        Store.open(made)
    put_in_place(made, good)
    assert status_of(lambda: read_everything(made)) == 0


def test_an_intact_file_without_its_unused_last_pages_is_accepted(tmp_path: Path) -> None:
    # LMDB does not write pages that the same transaction allocated and freed, but counts them.
    path = tmp_path / "store"
    Store.open(path, create=True).close()
    dice = random.Random(5)
    data = path / "data.mdb"
    for _ in range(300):
        with lmdb.open(str(path), map_size=1 << 26) as env:
            with env.begin(write=True) as txn:
                keys = [b"x%d" % dice.randrange(1 << 30) for _ in range(dice.randrange(500))]
                for key in keys:
                    txn.put(key, b"x" * dice.randrange(3000))
                for key in keys:
                    txn.delete(key)
            wanted = (env.info()["last_pgno"] + 1) * 4096
        if data.stat().st_size < wanted:
            break
    else:
        pytest.skip("this LMDB writes all pages")
    with Store.open(path, readonly=True) as store:
        assert store.head() == 0
    assert data.stat().st_size < wanted
    with Store.open(path) as store:
        assert data.stat().st_size == wanted, "the next opening need not read the file"
        store.change("ann", "1", fill)


def test_after_every_change_the_file_has_its_declared_length(made: Path) -> None:
    dice = random.Random(6)
    with Store.open(made) as store:
        for version in range(60):
            chosen = [dice.randrange(1, 2000) for _ in range(dice.randrange(300))]

            def edit(draft: Draft, chosen: list[int] = chosen, version: int = version) -> None:
                for n in chosen:
                    draft.put_did(Did(number=str(n), account_id=version + 1))

            store.change("ann", "x", edit)
            assert store._file is not None
            info = store._file._env.info()
            assert (made / "data.mdb").stat().st_size >= (info["last_pgno"] + 1) * 4096


def test_noise_in_the_pages_does_not_harm_a_process_that_only_opens(made: Path) -> None:
    """Rows have checksums, so noise is never read as rows. It may crash a reader, which a server survives."""
    good = (made / "data.mdb").read_bytes()
    dice = random.Random(4)
    outcomes = set()
    for _ in range(30):
        bad = bytearray(good)
        start = dice.randrange(8192, len(bad) - 4096)
        bad[start : start + 4096] = dice.randbytes(4096)
        put_in_place(made, bytes(bad))
        outcomes.add(status_of(lambda: read_everything(made)))
    assert 99 not in outcomes, "noise was read as rows"
    assert 7 in outcomes
    put_in_place(made, good)
    assert status_of(lambda: read_everything(made)) == 0


def test_the_probe_runs_as_a_module_of_its_own(made: Path) -> None:
    assert storecheck.readable(made)
    assert not storecheck.readable(made / "nope")
    assert sys.executable


@pytest.mark.parametrize(
    "row", [b"a" + bytes(7) + b"\1", b"c" + bytes(7) + b"\1", b"d1\0", b"v" + bytes(7) + b"\1"]
)
def test_an_invalid_row_is_damage(tmp_path: Path, row: bytes) -> None:
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("ann", "1", lambda draft: draft.put_did(Did(number="2", account_id=1)))
    with lmdb.open(str(path), map_size=1 << 30) as env, env.begin(write=True) as txn:
        key = row if row.startswith(b"v") else row + b"\xff" * 7 + b"\xfe"
        txn.put(key, seal(key, b"\xc1 no row at all"))
    with pytest.raises(
        StoreError, match=r"the store is damaged: it contains an invalid (account|client|DID|version record)"
    ):
        read_all(path)


def read_all(path: Path) -> None:
    with Store.open(path) as store, store.read() as snapshot:
        assert len([*snapshot.clients(), *snapshot.accounts(), *snapshot.dids()]) == 1
