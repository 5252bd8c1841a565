"""Versions of a store: changes, rollback, and access to the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from unit.store.rows import account, client, put

from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus
from identengine.store import versions
from identengine.store.draft import Draft
from identengine.store.file import close_file, open_file
from identengine.store.format import Changes, VersionInfo
from identengine.store.keys import Counts
from identengine.store.versions import Store


def test_a_new_store_is_empty_and_has_a_hash_key(store: Store) -> None:
    assert store.head() == 0
    assert store.versions() == []
    assert len(store.hash_key) == 32
    with store.read() as snapshot:
        assert snapshot.version == 0
        assert snapshot.hash_key == store.hash_key
        assert snapshot.counts == Counts(0, 0, 0)
        assert list(snapshot.accounts()) == []
        assert snapshot.client(1) is None
    assert list(store.audit()) == []


def test_two_stores_have_two_hash_keys_and_a_store_keeps_its_own(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b", "a"):
        with Store.open(tmp_path / name, create=True) as opened:
            keys.append(opened.hash_key)
    assert keys[0] == keys[2] != keys[1]


def test_a_change_is_a_version_with_author_origin_and_counts(store: Store) -> None:
    info, result = store.change("ann", "first", lambda draft: put(client(1), account(1), account(2))(draft) or "x")
    assert result == "x"
    assert (info.version, info.who, info.what) == (1, "ann", "first")
    assert (info.clients, info.accounts, info.dids) == (1, 2, 0)
    assert info.account_changes == Changes(added=2)
    assert info.changes == 3
    assert store.versions() == [info]

    def second(draft: Draft) -> None:
        draft.put_account(account(1, name="another"))
        draft.delete_account(2)
        draft.put_did(Did(number="44", account_id=1))

    info, _ = store.change("bob", "second", second)
    assert info.account_changes == Changes(changed=1, removed=1)
    assert info.did_changes == Changes(added=1)
    assert (info.clients, info.accounts, info.dids) == (1, 1, 1)
    assert store.head() == 2


def test_every_version_stays_readable(store: Store) -> None:
    for version in range(1, 21):
        store.change("ann", "x", put(account(1, name=f"v{version}"), account(version + 100)))
    for version in range(1, 21):
        with store.read(version) as snapshot:
            row = snapshot.account(1)
            assert row is not None
            assert row.name == f"v{version}"
            assert [a.id for a in snapshot.accounts()] == [1, *range(101, 101 + version)]
            assert snapshot.counts.accounts == version + 1
            assert snapshot.info == store.versions()[version - 1]


def test_all_fields_are_stored(store: Store) -> None:
    full_client = Client(
        id=7, name="ünïcode", status=ClientStatus.BLOCKED, parent_id=1, rate_table="r", routing_plan="p",
        term_rate_table="t", capacity=0, orig_capacity=1, term_capacity=2, orig_cps=0.5, notes="n\nm",
    )  # fmt: skip
    full_account = msgspec.convert(
        {
            "id": 9, "client_id": 7, "name": "a", "ident_by": "ani", "ident": ["1", "2"], "tech_prefix": "77#",
            "password": "enc:x", "gateways": ["g"], "notes": "n", "orig_enabled": False, "orig_rate_table": "r",
            "orig_routing_plan": "p", "orig_tag": "t", "src_policy": "overwrite", "orig_capacity": 0,
            "orig_cps": 1.5, "term_enabled": True, "term_rate_table": "r", "term_tag": "t",
            "term_routing_ip": "10.0.0.1", "term_capacity": 3, "term_protocol": "sip", "term_proxy": "p",
            "term_port": 5060,
        },
        Account,
    )  # fmt: skip
    dids = [Did(number=f"4{n}", account_id=9, status=status) for n, status in enumerate(DidStatus)]
    store.change("ann", "x", put(full_client, full_account, *dids))
    with store.read() as snapshot:
        assert snapshot.client(7) == full_client
        assert snapshot.account(9) == full_account
        assert list(snapshot.dids()) == dids == list(snapshot.account_dids(9))
        assert [snapshot.did(did.number) for did in dids] == dids
        assert list(snapshot.active_numbers()) == [(9, "40")]


def test_an_edit_that_changes_nothing_creates_no_version(store: Store) -> None:
    info, _ = store.change("ann", "first", put(client(1), account(1)))
    assert store.change("ann", "again", put(client(1), account(1)))[0] == info
    assert store.change("ann", "nothing", lambda draft: None)[0] == info

    def back_and_forth(draft: Draft) -> None:
        assert draft.put_account(account(1, name="x"))
        assert draft.put_account(account(1))
        assert draft.put_account(account(2))
        assert draft.delete_account(2)
        assert draft.delete_client(1)
        assert draft.put_client(client(1))

    assert store.change("ann", "back and forth", back_and_forth)[0] == info
    assert store.head() == 1


def test_an_exception_of_the_edit_propagates_and_changes_nothing(store: Store) -> None:
    store.change("ann", "first", put(account(1)))

    def fail(draft: Draft) -> None:
        draft.put_account(account(1, name="no"))
        draft.put_account(account(2))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.change("ann", "bad", fail)
    assert store.head() == 1
    with store.read() as snapshot:
        assert list(snapshot.accounts()) == [account(1)]
    assert store.change("ann", "next", put(account(2)))[0].version == 2


def test_a_dry_run_reports_changes_and_commits_nothing(store: Store) -> None:
    info, _ = store.change("ann", "would", put(account(1)), dry_run=True)
    assert (info.version, info.account_changes.added) == (1, 1)
    assert store.head() == 0


def test_rollback_is_a_new_version_with_the_old_content(store: Store) -> None:
    store.change("ann", "1", put(client(1), account(1), account(2), Did(number="1", account_id=1)))

    def bad(draft: Draft) -> None:
        draft.delete_account(1)
        draft.put_account(account(2, name="bad"))
        draft.put_account(account(3))
        draft.put_did(Did(number="1", account_id=3))
        draft.put_did(Did(number="2", account_id=3))

    store.change("ann", "2", bad)
    info = store.rollback(1, "bob")
    assert (info.version, info.who, info.what) == (3, "bob", "rollback to version 1")
    assert info.account_changes == Changes(added=1, changed=1, removed=1)
    assert info.did_changes == Changes(changed=1, removed=1)
    assert list(store.diff(1, 3)) == []
    with store.read() as snapshot:
        assert [a.id for a in snapshot.accounts()] == [1, 2]
        assert [did.number for did in snapshot.account_dids(1)] == ["1"]
        assert list(snapshot.account_dids(3)) == []
    assert store.rollback(3, "bob") == info, "an edit without changes creates no version"
    assert store.rollback(2, "bob").version == 4
    assert list(store.diff(2, 4)) == []


def test_version_infos_are_plain_data() -> None:
    info = VersionInfo(version=1, at=2.0, who="ann", what="x", did_changes=Changes(1, 2, 3))
    assert msgspec.json.decode(msgspec.json.encode(info), type=VersionInfo) == info
    assert info.changes == 6


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_new_store_is_removed_if_filling_it_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), Store.filled(tmp_path / "deep" / "store"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_new_store_with_a_version_stays_if_filling_it_fails(tmp_path: Path) -> None:
    def fill() -> None:
        with Store.filled(tmp_path / "store") as store:
            store.change("another process", "first", put(client(1)))
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        fill()
    with Store.open(tmp_path / "store") as store:
        assert store.head() == 1


def test_an_empty_store_that_existed_stays_if_filling_it_fails(tmp_path: Path) -> None:
    Store.open(tmp_path / "store", create=True).close()
    with pytest.raises(ValueError, match="x"), Store.filled(tmp_path / "store"):
        raise ValueError("x")
    with Store.filled(tmp_path / "store") as store:
        assert store.head() == 0


def test_a_new_store_is_removed_if_opening_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open_file

    def interrupted(*arguments: Any, **options: Any) -> Any:
        opened = real(*arguments, **options)
        if options["create"]:
            close_file(opened)
            raise KeyboardInterrupt
        return opened

    monkeypatch.setattr(versions, "open_file", interrupted)
    with pytest.raises(KeyboardInterrupt), Store.filled(tmp_path / "store"):
        pass
    assert list(tmp_path.iterdir()) == []
