"""Damage to the rows of a store: nothing is silent, and a roll back to a sound version works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from unit.store.rows import account, client, put

from identengine.errors import DamagedError, StoreError
from identengine.model.records import Did
from identengine.server.decider import bookstream
from identengine.store.format import (
    ACCOUNTS,
    CHANGES,
    CLIENTS,
    DIDS,
    EVENTS,
    META_CHAIN,
    META_HEAD,
    META_RETIRED,
    OWNED,
    SUMS,
    VERSIONS,
    number_bytes,
    stamp_of,
)
from identengine.store.seals import seal
from identengine.store.vault import Vault
from identengine.store.verify import check_store
from identengine.store.versions import Store

NUMBER = "442079460123"
DID_KEY = NUMBER.encode() + b"\0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a store with three versions and two events. All keys of version 1 change in version 3."""
    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("ann", "1", put(client(1), account(1), account(2), Did(number=NUMBER, account_id=1)))
        store.note("ann", "shown", 1)
        store.change("bob", "2", put(client(2)))
        store.note("bob", "shown", 2)
        store.change(
            "cyd",
            "3",
            put(client(1, notes="new"), account(1, name="new"), account(3), Did(number=NUMBER, account_id=2)),
        )
    return path


def edit_rows(path: Path, *edits: Callable[[lmdb.Transaction[bytes]], object]) -> None:
    """Change rows as no program does."""
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        for edit in edits:
            assert edit(txn)


def flipped(key: bytes) -> Callable[[lmdb.Transaction[bytes]], bool]:
    def edit(txn: lmdb.Transaction[bytes]) -> bool:
        value = txn.get(key)
        assert value is not None
        return txn.put(key, bytes([value[0] ^ 1]) + value[1:])

    return edit


def removed(key: bytes) -> Callable[[lmdb.Transaction[bytes]], bool]:
    return lambda txn: txn.delete(key)


def loaded(path: Path, version: int | None = None) -> list[bytes]:
    pieces: list[bytes] = []
    bookstream.stream(path, version, (), pieces.append)
    return pieces


def at(table: bytes, row: bytes, version: int) -> bytes:
    return table + row + stamp_of(version)


NEWEST_ROWS = {
    "client": at(CLIENTS, number_bytes(1), 3),
    "account": at(ACCOUNTS, number_bytes(1), 3),
    "new account": at(ACCOUNTS, number_bytes(3), 3),
    "did": at(DIDS, DID_KEY, 3),
    "owned": at(OWNED, number_bytes(2) + DID_KEY, 3),
    "owned no more": at(OWNED, number_bytes(1) + DID_KEY, 3),
}


@pytest.mark.parametrize("row", NEWEST_ROWS)
@pytest.mark.parametrize("harm", [flipped, removed])
def test_a_damaged_row_of_the_newest_version(
    path: Path, row: str, harm: Callable[[bytes], Callable[[lmdb.Transaction[bytes]], bool]]
) -> None:
    second = loaded(path, 2)
    edit_rows(path, harm(NEWEST_ROWS[row]))
    with Store.open(path) as store:
        with store.read() as book, pytest.raises(DamagedError, match=r"the store is damaged: .* version 3"):
            book.verify()
        if row != "did":
            with pytest.raises(DamagedError):
                loaded(path)
        if row not in ("owned", "owned no more"):
            with pytest.raises(DamagedError):
                list(store.diff(2, 3))
            assert "damaged" in [entry for entry in store.audit() if entry.version == 3][-1].what
        with pytest.raises(DamagedError, match="version 3 is damaged, so that nothing was copied"):
            store.copy(path.parent / "copy")
        assert not (path.parent / "copy").exists()
        assert loaded(path, 2) == second
        report = check_store(path)
        assert (report.version, report.newest_sound, report.damaged) == (3, 2, [3])
        assert {one.version for one in report.damage} == {3}
        with pytest.raises(DamagedError, match="version 3 is damaged too"):
            store.rollback(3, "dan")
        info = store.rollback(2, "dan")
        assert (info.version, info.what, info.clients, info.accounts, info.dids) == (
            4,
            "rollback to version 2",
            2,
            2,
            1,
        )
        assert loaded(path)[1:] == second[1:]
        report = check_store(path)
        assert (report.version, report.newest_sound) == (4, 4)
        assert [entry.version for entry in store.audit() if entry.version is not None][-1] == 4
        assert store.change("eve", "5", put(account(7)))[0].version == 5
        assert store.copy(path.parent / "copy").newest_sound == 5
    assert loaded(path.parent / "copy") == loaded(path)


@pytest.mark.parametrize(
    ("key", "sound"),
    [
        (META_HEAD, 3),
        (META_RETIRED, 3),
        (META_CHAIN, 3),
        (VERSIONS + number_bytes(3), 2),
        (SUMS + number_bytes(3), 2),
        (VERSIONS + number_bytes(2), 3),
        (CHANGES + number_bytes(3) + ACCOUNTS, 3),
        (EVENTS + number_bytes(1), 3),
        (EVENTS + number_bytes(2), 3),
    ],
)
@pytest.mark.parametrize("harm", [flipped, removed])
def test_a_damaged_record(
    path: Path, key: bytes, sound: int, harm: Callable[[bytes], Callable[[lmdb.Transaction[bytes]], bool]]
) -> None:
    then = loaded(path, sound)
    edit_rows(path, harm(key))
    report = check_store(path)
    assert report.total > 0
    assert report.newest_sound == sound
    with Store.open(path) as store:
        assert store.rollback(sound, "dan").version == 4
        assert loaded(path)[1:] == then[1:]
        assert [info.version for info in store.versions()] == [1, 2, 3, 4]
        assert len([entry for entry in store.audit() if entry.version is None]) == 2
        store.note("eve", "shown", 1)
        assert store.change("eve", "5", put(account(7)))[0].version == 5
        store.rekey(Vault((bytes(32),)))
    assert not [one for one in check_store(path).damage if one.version not in (2, 3)]


def test_damage_to_old_versions_alone_disturbs_no_other(path: Path) -> None:
    newest = loaded(path)
    edit_rows(path, flipped(at(ACCOUNTS, number_bytes(1), 1)))
    assert loaded(path) == newest
    report = check_store(path)
    assert (report.damaged, report.newest_sound) == ([1, 2], 3)
    assert report.damage[0].row == "account 1 as written by version 1"
    with Store.open(path) as store:
        assert store.copy(path.parent / "copy").damaged == [1, 2]
        with pytest.raises(DamagedError, match="version 1 is damaged too"):
            store.rollback(1, "dan")
        store.change("dan", "4", put(account(1, name="newer")))
        store.rekey(Vault((bytes(32),)))
        assert store.rollback(3, "dan").version == 5


def test_a_row_of_its_own_is_verified(path: Path) -> None:
    edit_rows(path, flipped(NEWEST_ROWS["account"]), flipped(NEWEST_ROWS["did"]), flipped(NEWEST_ROWS["owned"]))
    with Store.open(path) as store:
        with store.read() as book:
            assert book.account(2) == account(2)
            with pytest.raises(
                DamagedError, match="account 1 as written by version 3 does not match its checksum"
            ):
                book.account(1)
            with pytest.raises(DamagedError, match=f"DID {NUMBER} as written by version 3 does not match"):
                book.did(NUMBER)
            with pytest.raises(DamagedError, match=f"DID {NUMBER} in the list of account 2"):
                list(book.account_dids(2))
        with pytest.raises(DamagedError):
            store.change("dan", "4", put(account(1)))


def test_a_row_of_another_store_or_place_is_damage(path: Path) -> None:
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        value = txn.get(at(ACCOUNTS, number_bytes(2), 1))
        assert value is not None
        txn.put(NEWEST_ROWS["account"], value)
    with pytest.raises(DamagedError, match="account 1 as written by version 3 does not match its checksum"):
        loaded(path)


def test_a_row_with_a_matching_checksum_that_no_edit_wrote_is_damage(path: Path) -> None:
    key = at(ACCOUNTS, number_bytes(9), 3)
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        stored = txn.get(NEWEST_ROWS["new account"])
        assert stored is not None
        txn.put(key, seal(key, stored[:-4]))
    with pytest.raises(DamagedError, match="rows of the table accounts are missing or outdated in version 3"):
        loaded(path)
    assert check_store(path).damaged == [3]


def test_a_store_whose_hash_key_is_damaged_cannot_be_opened(path: Path) -> None:
    edit_rows(path, flipped(b"mhash_key"))
    with pytest.raises(StoreError, match=r"is damaged: .*hash.key"):
        Store.open(path)
    with pytest.raises(StoreError, match=r"is damaged: .*hash.key"):
        check_store(path)


def test_a_repaired_store_is_used_by_all_who_open_it(path: Path) -> None:
    edit_rows(path, removed(NEWEST_ROWS["account"]))
    with Store.open(path) as one, Store.open(path) as two:
        assert one.rollback(2, "dan").version == 4
        assert two.head() == 4
        two.change("eve", "5", put(account(8)))
        assert one.head() == 5
    assert sorted(found.name for found in path.iterdir()) == ["data.mdb", "lock.mdb"]


def test_a_repair_waits_for_no_reader_of_its_process(path: Path) -> None:
    edit_rows(path, removed(NEWEST_ROWS["account"]))
    with Store.open(path) as store:
        with store.read(2), pytest.raises(StoreError, match="this process is still reading it"):
            store.rollback(2, "dan")
        assert store.rollback(2, "dan").version == 4


def test_a_repaired_copy_in_one_file(path: Path) -> None:
    with Store.open(path) as store:
        store.copy(path.parent / "one.mdb")
    with lmdb.open(str(path.parent / "one.mdb"), subdir=False) as env, env.begin(write=True) as txn:
        assert txn.delete(NEWEST_ROWS["account"])
    with Store.open(path.parent / "one.mdb") as store:
        assert store.rollback(2, "dan").version == 4
    with Store.open(path.parent / "one.mdb") as store:
        assert store.head() == 4
    assert check_store(path.parent / "one.mdb").newest_sound == 4


BRANCH = 1
"""The flag of a page above the leaves, in the header of an LMDB page."""


def test_a_search_that_a_damaged_page_leads_astray_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "store"
    many = [account(n, name="x" * 100) for n in range(1, 201)]
    with Store.open(path, create=True) as store:
        store.change("ann", "1", put(*many))
    data = bytearray((path / "data.mdb").read_bytes())
    pages = [
        page
        for page in range(8192, len(data), 4096)
        if int.from_bytes(data[page + 10 : page + 12], "little") == BRANCH
    ]
    keys = {n: at(ACCOUNTS, number_bytes(n), 1) for n in range(10, 200)}
    places = [
        (place, n) for page in pages for n, key in keys.items() if (place := data.find(key, page, page + 4096)) > 0
    ]
    for count, (place, n) in enumerate(places):
        data[place : place + 9] = ACCOUNTS + number_bytes(n - 4 if count % 2 else n + 4)
    assert len(places) > 2
    (path / "data.mdb").write_bytes(data)
    assert "a search does not find it" in {one.what for one in check_store(path).damage}
    wrong = []
    with Store.open(path) as store, store.read() as book:
        for row in many:
            try:
                assert book.account(row.id) == row
            except DamagedError:
                wrong.append(row)
    assert len(wrong) > len(places)
    with Store.open(path) as store:
        with pytest.raises(DamagedError):
            store.change("ann", "2", put(*wrong))
        assert store.rollback(1, "ann").version == 2
        with store.read() as book:
            assert [book.account(row.id) for row in many] == many
    assert check_store(path).total == 0
