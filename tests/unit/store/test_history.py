"""Changes between versions: differences, field changes and the audit log."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from unit.store.rows import account, client, history, lines, put

from identengine.errors import StoreError
from identengine.model.records import Did, DidStatus
from identengine.store import draft as storedraft
from identengine.store import history as storehistory
from identengine.store.draft import Draft
from identengine.store.format import Change, Changes, field_changes
from identengine.store.versions import Store


def told(changes: Iterator[Change]) -> list[tuple[str, int | str, bool, bool]]:
    return [(c.table, c.key, c.before is not None, c.after is not None) for c in changes]


def test_diff_is_by_table_and_key_and_runs_both_ways(store: Store) -> None:
    store.change("ann", "1", put(client(1), client(2), account(3), account(1), Did(number="9", account_id=1)))

    def second(draft: Draft) -> None:
        draft.delete_client(2)
        draft.put_account(account(2))
        draft.put_account(account(1, name="new"))
        draft.put_did(Did(number="10", account_id=1))

    store.change("ann", "2", second)
    assert told(store.diff(1, 2)) == [
        ("client", 2, True, False),
        ("account", 1, True, True),
        ("account", 2, False, True),
        ("did", "10", False, True),
    ]
    assert told(store.diff(2, 1)) == [
        ("client", 2, False, True),
        ("account", 1, True, True),
        ("account", 2, True, False),
        ("did", "10", True, False),
    ]
    assert list(store.diff(2, 2)) == []
    assert len(list(store.diff(0, 2))) == 1 + 3 + 2


def test_diff_omits_rows_that_returned_to_their_value(store: Store) -> None:
    store.change("ann", "1", put(account(1)))
    store.change("ann", "2", put(account(1, name="x"), account(2)))
    store.change("ann", "3", put(account(1)))
    assert told(store.diff(1, 3)) == [("account", 2, False, True)]


@pytest.mark.parametrize("version", [3, -1, 1 << 63, 1 << 64])
def test_a_missing_version_is_an_error_at_once(store: Store, version: int) -> None:
    store.change("ann", "1", put(account(1)))
    message = f"no version {version}. The newest is 1"
    with pytest.raises(StoreError, match=message):
        store.diff(1, version)
    with pytest.raises(StoreError, match=message):
        store.rollback(version, "ann")
    with pytest.raises(StoreError, match=message), store.read(version):
        pass
    assert store.head() == 1


def test_an_empty_store_has_no_version(store: Store) -> None:
    with pytest.raises(StoreError, match=r"no version 1. The store is empty"), store.read(1):
        pass
    with pytest.raises(StoreError, match="no version 0 to roll back to"):
        store.rollback(0, "ann")


@pytest.mark.parametrize("listed", [0, 2, 10_000])
def test_history_does_not_depend_on_how_changes_are_found(
    store: Store, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    monkeypatch.setattr(storedraft, "MAX_LISTED_KEYS", listed)
    monkeypatch.setattr(storehistory, "MAX_LISTED_KEYS", listed)
    store.change("ann", "1", put(*map(account, range(1, 50))))
    store.change("ann", "2", put(*(account(n, name="x") for n in range(20, 60))))
    store.change("ann", "3", put(account(1, name="y")))
    store.change("ann", "4", lambda draft: [draft.delete_account(n) for n in range(10, 15)])
    assert [c.key for c in store.diff(1, 4)] == [1, *range(10, 15), *range(20, 60)]
    assert [c.key for c in store.diff(2, 4)] == [1, *range(10, 15)]
    assert [c.key for c in store.diff(0, 1)] == list(range(1, 50))
    assert [c.key for c in store.diff(4, 1)] == [1, *range(10, 15), *range(20, 60)]
    assert store.rollback(1, "ann").account_changes == Changes(added=5, changed=31, removed=10)
    assert list(store.diff(1, 5)) == []


def test_field_changes_of_a_changed_row() -> None:
    before = account(1, password="enc:a")
    after = msgspec.structs.replace(
        before, name="n", ident=("10.0.0.1", "10.0.0.2"), password="enc:b", orig_cps=2.0
    )
    assert field_changes(Change("account", 1, before, after)) == [
        ("name", "account 1", "n"),
        ("ident", ("10.0.0.1",), ("10.0.0.1", "10.0.0.2")),
        ("password", "set", "changed"),
        ("orig_cps", None, 2.0),
    ]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (None, "enc:a", ("not set", "set")),
        ("enc:a", None, ("set", "not set")),
        ("enc:a", "enc:b", ("set", "changed")),
    ],
)
def test_field_changes_never_show_a_token(before: str | None, after: str | None, shown: tuple[str, str]) -> None:
    change = Change("account", 1, account(1, password=before), account(1, password=after))
    assert field_changes(change) == [("password", *shown)]


def test_field_changes_of_added_and_removed_rows() -> None:
    did = Did(number="44", account_id=1)
    assert field_changes(Change("did", "44", None, did)) == [
        ("number", None, "44"),
        ("account_id", None, 1),
        ("status", None, DidStatus.ACTIVE),
    ]
    assert ("name", "account 1", None) in field_changes(Change("account", 1, account(1), None))
    assert ("password", "set", "not set") in field_changes(
        Change("account", 1, account(1, password="enc:a"), None)
    )
    assert field_changes(Change("did", "44", None, None)) == []


def test_the_audit_log_lists_everything_in_order(store: Store) -> None:
    history(store)
    assert lines(store.audit()) == [
        "ann 1 client 1", "ann 1 client 2", "ann 1 account 1", "ann 1 account 2", "ann 1 did 7",
        "ann password shown", "bob 2 account 1", "bob password shown", "cyd 3 did 7", "dan 4 client 1",
    ]  # fmt: skip
    entry = list(store.audit())[6]
    assert entry.change == Change("account", 1, account(1, 1), account(1, 2))
    assert entry.what == "2"
    assert entry.account == 1


def test_the_audit_log_of_a_client_covers_its_rows_before_or_after_a_change(store: Store) -> None:
    history(store)
    assert lines(store.audit(client=1)) == [
        "ann 1 client 1", "ann 1 account 1", "ann 1 did 7", "ann password shown", "bob 2 account 1",
        "dan 4 client 1",
    ]  # fmt: skip
    assert lines(store.audit(client=2)) == [
        "ann 1 client 2", "ann 1 account 2", "bob 2 account 1", "bob password shown", "cyd 3 did 7",
    ]  # fmt: skip
    assert lines(store.audit(client=3)) == []


def test_the_audit_log_of_an_account_has_its_dids(store: Store) -> None:
    history(store)
    assert lines(store.audit(account=1)) == [
        "ann 1 account 1", "ann 1 did 7", "ann password shown", "bob 2 account 1", "cyd 3 did 7",
    ]  # fmt: skip
    assert lines(store.audit(account=2)) == ["ann 1 account 2", "bob password shown", "cyd 3 did 7"]
    assert lines(store.audit(client=1, account=1)) == [
        "ann 1 account 1", "ann 1 did 7", "ann password shown", "bob 2 account 1",
    ]  # fmt: skip
    assert lines(store.audit(client=1, account=2)) == []


def test_events_keep_their_order_when_the_clock_is_set_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.change("ann", "1", put(account(1)))
    monkeypatch.setattr("time.time", lambda: 5.0)
    store.note("ann", "note")
    store.change("ann", "2", put(account(2)))
    assert lines(store.audit()) == ["ann 1 account 1", "ann note", "ann 2 account 2"]
    assert store.versions()[1].at == 5.0
