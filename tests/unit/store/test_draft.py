"""The view of a draft during its edit, and the scratch area."""

from __future__ import annotations

import pytest
from unit.store.rows import account, client, put

from identengine.model.records import Did
from identengine.store import draft as storedraft
from identengine.store.draft import Draft
from identengine.store.format import Changes
from identengine.store.versions import Store


def test_a_draft_sees_what_it_has_written(store: Store) -> None:
    store.change("ann", "first", put(client(1), account(1), Did(number="1", account_id=1)))

    def edit(draft: Draft) -> None:
        assert draft.version == 2
        assert draft.counts == (1, 1, 1)
        assert draft.put_account(account(2))
        assert not draft.put_account(account(2))
        assert draft.account(2) == account(2)
        assert [a.id for a in draft.accounts()] == [1, 2]
        assert draft.put_did(Did(number="1", account_id=2))
        assert list(draft.account_dids(1)) == []
        assert [did.number for did in draft.account_dids(2)] == ["1"]
        assert draft.put_did(Did(number="1", account_id=1))
        assert [did.number for did in draft.account_dids(1)] == ["1"]
        assert list(draft.account_dids(2)) == []
        assert draft.delete_did("1")
        assert not draft.delete_did("1")
        assert draft.did("1") is None
        assert list(draft.account_dids(1)) == []
        assert draft.counts == (1, 2, 0)

    info, _ = store.change("ann", "x", edit)
    assert info.did_changes == Changes(removed=1)


def test_a_draft_may_be_walked_while_it_is_written(store: Store) -> None:
    many = [account(n % 200 + 1) for n in range(5)]
    store.change("ann", "first", put(*many, *(Did(number=f"{n:05}", account_id=1) for n in range(5000))))

    def edit(draft: Draft) -> int:
        seen = 0
        for did in draft.dids():
            seen += 1
            assert did.account_id == 1
            if int(did.number) % 2:
                draft.delete_did(did.number)
            else:
                draft.put_did(Did(number=did.number, account_id=2))
        return seen

    info, seen = store.change("ann", "x", edit)
    assert seen == 5000
    assert info.did_changes == Changes(changed=2500, removed=2500)
    with store.read() as snapshot:
        assert sum(1 for _ in snapshot.account_dids(2)) == 2500 == snapshot.counts.dids


def test_ids_are_never_reused(store: Store) -> None:
    def add(draft: Draft) -> tuple[int, int]:
        ids = draft.next_client_id(), draft.next_account_id()
        draft.put_client(client(ids[0]))
        draft.put_account(account(ids[1]))
        return ids

    assert store.change("ann", "x", add)[1] == (1, 1)
    assert (
        store.change("ann", "x", lambda draft: (draft.delete_account(1), draft.delete_client(1)))[0].accounts == 0
    )
    assert store.change("ann", "x", add)[1] == (2, 2)
    store.rollback(1, "ann")
    assert store.change("ann", "x", add)[1] == (3, 3)


def test_odd_keys_are_absent_not_errors(store: Store) -> None:
    store.change("ann", "x", put(account(1), Did(number="12", account_id=1)))
    with store.read() as snapshot:
        for number in ("", "1", "123", "é", "1\0", "12\0", "9" * 65, "9" * 1000):
            assert snapshot.did(number) is None
        for row_id in (0, -1, 1 << 64, 1 << 70):
            assert snapshot.account(row_id) is None
            assert snapshot.client(row_id) is None
            assert list(snapshot.account_dids(row_id)) == []

    def edit(draft: Draft) -> None:
        assert not draft.delete_account(-1)
        assert not draft.delete_client(0)
        assert not draft.delete_did("é")
        with pytest.raises(ValueError, match="normal form"):
            draft.put_did(Did(number="1\n", account_id=1))

    assert store.change("ann", "x", edit)[0].version == 1


def test_dids_are_ordered_by_number_even_if_one_begins_another(store: Store) -> None:
    numbers = ["4", "44", "440", "441", "#4", "*4", "~", "4*"]
    store.change("ann", "x", put(*(Did(number=number, account_id=1) for number in numbers)))
    store.change("ann", "x", put(*(Did(number=number, account_id=2) for number in numbers[:4])))
    with store.read() as snapshot:
        assert [did.number for did in snapshot.dids()] == sorted(numbers)
    with store.read(1) as snapshot:
        assert {did.account_id for did in snapshot.dids()} == {1}


def test_the_scratch_area_lives_as_long_as_the_edit(store: Store) -> None:
    def edit(draft: Draft) -> None:
        scratch = draft.scratch
        assert scratch is draft.scratch
        assert scratch.add(b"b", b"1")
        assert not scratch.add(b"b", b"2")
        assert scratch.get(b"b") == b"1"
        assert scratch.add(b"a")
        assert b"a" in scratch
        assert b"c" not in scratch
        assert scratch.get(b"c") is None
        assert sorted(path.name for path in store.path.iterdir()) == ["data.mdb", "lock.mdb"]

    store.change("ann", "x", edit)
    store.change("ann", "x", edit)


def test_the_scratch_area_holds_many_keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storedraft, "_SCRATCH_COMMIT", 100)

    def edit(draft: Draft) -> int:
        added = sum(draft.scratch.add(b"%08d" % (n * 7919 % 5000), b"%d" % n) for n in range(10_000))
        assert all(draft.scratch.get(b"%08d" % (n * 7919 % 5000)) == b"%d" % n for n in range(5000))
        return added

    assert store.change("ann", "x", edit)[1] == 5000
