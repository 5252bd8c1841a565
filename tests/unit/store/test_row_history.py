"""The changes of single rows after a version, without a walk through the book."""

from __future__ import annotations

from pathlib import Path

from support.books import ip_account, put_rows

from identengine.model.records import Client, Did, DidStatus
from identengine.store.versions import Store


def test_history_names_the_versions_that_changed_a_row_after_another_version(tmp_path: Path) -> None:
    first, second = ip_account(7, "192.0.2.7"), ip_account(7, "192.0.2.8")
    put_rows(tmp_path, [first], [Client(id=1, name="one")], who="anna")
    put_rows(tmp_path, clients=[Client(id=1, name="two")], who="bert")
    put_rows(tmp_path, [second], who="carl")
    with Store.open(tmp_path, readonly=True) as store, store.read() as book:
        found = [(info.version, info.who, before, after) for info, before, after in book.history(first)]
        assert found == [(3, "carl", first, second), (1, "anna", None, first)]
        assert [info.version for info, _, _ in book.history(first, since=1)] == [3]
        assert [info.version for info, _, _ in book.history(Client(id=1, name=""), since=1)] == [2]
        assert [*book.history(first, since=3)] == []
        with store.read(2) as earlier:
            assert [info.version for info, _, _ in earlier.history(first)] == [1]


def test_did_changes_compare_the_dids_of_one_account(tmp_path: Path) -> None:
    accounts = [ip_account(7, "192.0.2.7"), ip_account(8, "192.0.2.8")]
    one, two, three = (Did(number=f"4420794600{place}", account_id=7) for place in range(3))
    put_rows(tmp_path, accounts, [Client(id=1, name="one")], [one, two])
    held = Did(number=two.number, account_id=7, status=DidStatus.ON_HOLD)
    put_rows(tmp_path, dids=[Did(number=one.number, account_id=8), held], who="bert")
    put_rows(tmp_path, dids=[three], who="carl")
    with Store.open(tmp_path, readonly=True) as store, store.read() as book:
        found = [(info.who, before, after) for info, before, after in book.did_changes(7, since=1)]
        assert found == [("bert", one, None), ("bert", two, held), ("carl", None, three)]
        assert [after for _, _, after in book.did_changes(8, since=1)] == [Did(number=one.number, account_id=8)]
        assert [*book.did_changes(7, since=3)] == []
        assert [*book.did_changes(1 << 70, since=0)] == []
