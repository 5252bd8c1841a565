"""The chain of the audit log: every change of a record or of the rows that it shows breaks it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import lmdb
import msgspec
import pytest
from support.oldstores import KEY, store_of_format_1, store_without_a_chain
from unit.store.rows import account, client, history, put

from identengine.store.chain import GENESIS
from identengine.store.format import (
    ACCOUNTS,
    EVENTS,
    META_CHAIN,
    META_HEAD,
    SUMS,
    VERSIONS,
    Event,
    VersionInfo,
    id_key,
    number_bytes,
    stamp_of,
)
from identengine.store.seals import SEAL_BYTES, seal
from identengine.store.vault import Vault
from identengine.store.verify import check_store
from identengine.store.versions import Noted, Store

Edit: TypeAlias = "Callable[[lmdb.Transaction[bytes]], object]"
VAULT = Vault.from_text(KEY)
OTHER = Vault((bytes(32), *VAULT._keys))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with version 1, event 1, version 2, event 2, and the versions 3 and 4."""
    with Store.open(tmp_path / "store", create=True) as store:
        history(store)
    return tmp_path / "store"


def tampered(path: Path, *edits: Edit) -> None:
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        for edit in edits:
            edit(txn)


def rewritten(key: bytes, kind: type[VersionInfo | Event], **fields: object) -> Edit:
    """Return an edit that changes fields of a record and seals it again."""

    def edit(txn: lmdb.Transaction[bytes]) -> object:
        stored = txn.get(key)
        assert stored is not None
        record = msgspec.msgpack.decode(stored[:-SEAL_BYTES], type=kind)
        return txn.put(key, seal(key, msgspec.msgpack.encode(msgspec.structs.replace(record, **fields))))

    return edit


def resealed(key: bytes, old: bytes, new: bytes) -> Edit:
    """Return an edit that replaces bytes of a row and seals it again."""

    def edit(txn: lmdb.Transaction[bytes]) -> object:
        stored = txn.get(key)
        assert stored is not None
        assert old in stored
        return txn.put(key, seal(key, stored[:-SEAL_BYTES].replace(old, new)))

    return edit


def version_key(number: int) -> bytes:
    return VERSIONS + number_bytes(number)


def event_key(number: int) -> bytes:
    return EVENTS + number_bytes(number)


def broken(path: Path) -> tuple[str, str] | None:
    with Store.open(path, readonly=True) as store:
        found = store.check_audit().broken
    return None if found is None else (found.row, found.what)


def test_an_untouched_log_is_intact(path: Path) -> None:
    with Store.open(path) as store:
        report = store.check_audit()
        assert (report.rows, report.chained, report.broken) == (6, 6, None)
        first, *_, last = store.versions()
        assert first.previous_hash == GENESIS
        entries = list(store.audit())
        assert len({entry.previous_hash for entry in entries}) == 6
        assert report.newest_hash not in {entry.previous_hash for entry in entries}
        store.note("eve", "password shown", 1)
        assert list(store.audit())[-1].previous_hash == report.newest_hash
        assert (last.uid, last.sudo_user) == (os.getuid(), os.environ.get("SUDO_USER"))
        store.rekey(OTHER)
        store.rollback(1, "eve")
        assert store.check_audit().chained == 9
        store.copy(path.parent / "copy")
    assert broken(path.parent / "copy") is None
    assert check_store(path).total == 0


def test_a_dry_run_leaves_no_link(path: Path) -> None:
    with Store.open(path) as store:
        before = store.check_audit()
        store.change("eve", "x", put(client(9)), dry_run=True)
        assert store.check_audit() == before


@pytest.mark.parametrize(
    ("edit", "row", "what"),
    [
        (rewritten(version_key(2), VersionInfo, who="eve"), "version 2", "the hash that event 2 carries"),
        (rewritten(version_key(1), VersionInfo, at=1.0), "version 1", "the hash that event 1 carries"),
        (rewritten(event_key(2), Event, what="nothing"), "event 2", "the hash that version 3 carries"),
        (rewritten(event_key(1), Event, uid=99), "event 1", "the hash that version 2 carries"),
        (
            rewritten(version_key(4), VersionInfo, who="eve"),
            "version 4",
            "differs from the hash of the newest row",
        ),
        (rewritten(version_key(3), VersionInfo, previous_hash=""), "version 3", "it carries no hash"),
        (rewritten(version_key(1), VersionInfo, previous_hash=""), "version 1", "the hash that event 1 carries"),
        (lambda txn: txn.delete(event_key(1)), "event 1", "it is missing"),
        (lambda txn: txn.delete(version_key(4)), "version 4", "it is missing"),
        (lambda txn: txn.delete(META_CHAIN), "version 4", "the hash of the newest row is missing"),
        (lambda txn: txn.put(version_key(2), b"x"), "version 2", "does not match its checksum"),
        (lambda txn: txn.delete(SUMS + number_bytes(2)), "version 2", "its rows differ from the hash"),
    ],
)
def test_a_changed_record_is_named(path: Path, edit: Edit, row: str, what: str) -> None:
    tampered(path, edit)
    found = broken(path)
    assert found is not None
    assert found[0] == row
    assert what in found[1]


def test_a_log_without_any_hash_is_broken_if_the_store_has_one(path: Path) -> None:
    versions = [rewritten(version_key(number), VersionInfo, previous_hash="") for number in range(1, 5)]
    events = [rewritten(event_key(number), Event, previous_hash="") for number in (1, 2)]
    tampered(path, *versions, *events)
    assert broken(path) == ("version 4", "it carries no hash, although the store has the hash of the newest row")


def test_a_log_that_was_cut_off_is_broken(path: Path) -> None:
    tampered(path, lambda txn: txn.put(META_HEAD, seal(META_HEAD, number_bytes(3) + number_bytes(2))))
    assert broken(path) == ("version 3", "it differs from the hash of the newest row")


def test_a_changed_value_is_named_by_the_version_that_wrote_it(path: Path) -> None:
    tampered(path, resealed(id_key(ACCOUNTS, 1) + stamp_of(2), b"10.0.0.1", b"10.0.0.9"))
    assert broken(path) == ("version 2", "its rows do not match their checksums")


def test_changes_before_a_rotation_are_named(path: Path) -> None:
    with Store.open(path) as store:
        store.change("ann", "5", put(account(1, password=VAULT.encrypt("secret"))))
        store.rekey(OTHER)
        store.change("ann", "6", put(account(3)))
        assert store.check_audit().broken is None
    sums = SUMS + number_bytes(2)
    tampered(path, lambda txn: txn.put(sums, seal(sums, bytes(128))))
    assert broken(path) == ("event 3", "rows of versions before this key rotation were changed after it")


@pytest.mark.parametrize(
    ("make", "newest"), [(store_of_format_1, ("version", 4)), (store_without_a_chain, ("event", 2))]
)
def test_the_chain_of_an_old_store_begins_with_the_next_change(
    tmp_path: Path, make: Callable[[Path], Path], newest: tuple[str, int]
) -> None:
    path = make(tmp_path / "store")
    with Store.open(path) as store:
        report = store.check_audit()
        assert (report.rows, report.chained, report.broken) == (5, 0, None)
        before = list(store.audit())
        assert {(entry.uid, entry.previous_hash) for entry in before} == {(None, "")}
        store.note("eve", "password shown", 2)
        store.change("eve", "next", put(client(9)))
        report = store.check_audit()
        assert (report.rows, report.chained, report.broken) == (7, 2, None)
        assert list(store.audit())[: len(before)] == before
        store.rekey(OTHER)
        assert store.check_audit().broken is None
    kind, number = newest
    if kind == "version":
        tampered(path, rewritten(version_key(number), VersionInfo, who="mallory"))
    else:
        tampered(path, rewritten(event_key(number), Event, who="mallory"))
    found = broken(path)
    assert found is not None, "the first row with a hash protects the row before it"
    assert found[0] == f"{kind} {number}"


def test_an_older_program_that_writes_breaks_the_chain(path: Path) -> None:
    tampered(path, rewritten(version_key(4), VersionInfo, previous_hash="", content_hash="", uid=None))
    assert broken(path) == (
        "version 4",
        "it carries no hash: an older program wrote it, or its hash was removed",
    )


def test_a_repaired_store_names_the_lost_record(path: Path) -> None:
    tampered(path, lambda txn: txn.put(version_key(3), b"x"), lambda txn: txn.put(META_CHAIN, b"x"))
    with Store.open(path) as store:
        assert store.rollback(2, "eve").version == 5
        found = store.check_audit()
        assert found.broken is not None
        assert found.broken.row == "version 3"
        store.note("eve", "x")
        store.change("eve", "y", put(client(9)))


def test_several_events_are_recorded_at_once(path: Path) -> None:
    with Store.open(path) as store:
        store.note_all("eve", [Noted("one", account=1), Noted("two", client=2), Noted("three", number="7")])
        assert store.info().events == 5
        assert [(entry.what, entry.account, entry.client, entry.number) for entry in store.audit(last=3)] == [
            ("one", 1, None, None),
            ("two", None, 2, None),
            ("three", None, None, "7"),
        ]
        assert [entry.what for entry in store.audit(client=2) if entry.change is None][-2:] == ["one", "two"]
        assert [entry.what for entry in store.audit(number="7") if entry.change is None] == ["three"]
        assert store.check_audit().broken is None
