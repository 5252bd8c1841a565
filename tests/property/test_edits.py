"""An edit of many rows equals the same edits of single rows, one after the other (interfaces.md 2)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.books import ip_account, put_rows

from identengine.book.columns import ACCOUNTS as ACCOUNTS_TABLE
from identengine.book.files import TableFile
from identengine.book.items import ItemChange
from identengine.errors import IdentengineError
from identengine.model.records import BookRow, Client, Did
from identengine.provisioning import edits
from identengine.provisioning.choices import named
from identengine.provisioning.edits import Applied, Edit
from identengine.provisioning.fileedit import edit_from
from identengine.provisioning.rows import ACCOUNTS, DIDS
from identengine.store.versions import Store

IDS = range(1, 7)
CELLS = st.dictionaries(
    st.sampled_from(["orig_tag", "orig_capacity", "orig_cps", "tech_prefix", "notes", "src_policy", "gateways"]),
    st.sampled_from(["", "1", "2", "allow_any", "reject", "a;b"]),
    max_size=3,
)
SIGNS = st.sampled_from(["+", "-"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2/32", "10.0.0.0/8", "10.0.0.3;10.0.0.4"])
ITEMS = st.lists(
    st.builds(ItemChange, st.just("ident"), SIGNS, ADDRESSES)
    | st.builds(ItemChange, st.just("gateways"), SIGNS, st.sampled_from(["gw1", "GW1", "gw2", "gw1;gw2"])),
    max_size=3,
)
CHOSEN = st.lists(st.sampled_from(IDS), min_size=1, max_size=5, unique=True)


def rows_of(store: Store) -> list[BookRow]:
    with store.read() as book:
        return [*book.clients(), *book.accounts(), *book.dids()]


def new_store(folder: Path, name: str) -> Store:
    accounts = [ip_account(one, f"10.0.0.{one}", gateways=("gw1",) if one % 2 else ()) for one in IDS]
    dids = [Did(number=f"44207946010{one}", account_id=one) for one in IDS]
    put_rows(folder / name, clients=[Client(id=1, name="one")], accounts=accounts, dids=dids)
    return Store.open(folder / name)


def same_as_single(many: Edit, single: Sequence[Edit]) -> None:
    """Assert that the edit of many rows has the result of the single edits, or that both fail."""
    with tempfile.TemporaryDirectory() as made:
        with new_store(Path(made), "many") as store:
            before = rows_of(store)
            done: Applied | None = None
            try:
                done = edits.apply(store, "test", "many", many)
            except IdentengineError:
                assert rows_of(store) == before
                assert store.head() == 1
            if done is not None:
                assert store.head() == (2 if done.changes else 1), "one version, or none if nothing changed"
                assert list(store.diff(1, store.head())) == list(done.changes)
            found = rows_of(store)
        with new_store(Path(made), "single") as store:
            try:
                for edit in single:
                    edits.apply(store, "test", "single", edit)
            except IdentengineError:
                assert done is None
            else:
                assert done is not None
                assert rows_of(store) == found


@settings(max_examples=30, deadline=None)
@given(CHOSEN, CELLS)
def test_columns_of_many_accounts(ids: list[int], cells: dict[str, str]) -> None:
    keys = [str(one) for one in ids]
    same_as_single(
        edits.set_columns(ACCOUNTS, named(ACCOUNTS, keys), cells),
        [edits.set_columns(ACCOUNTS, key, cells) for key in keys],
    )


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(IDS), ITEMS)
def test_items_of_a_list_one_after_the_other(account: int, items: list[ItemChange]) -> None:
    """A removal without effect fails in both forms, so that the single edits stop at it."""
    same_as_single(
        edits.set_columns(ACCOUNTS, str(account), {}, items),
        [edits.set_columns(ACCOUNTS, str(account), {}, [item]) for item in items],
    )


@settings(max_examples=20, deadline=None)
@given(CHOSEN, st.booleans(), st.booleans(), st.booleans())
def test_parts_of_many_accounts(ids: list[int], orig: bool, term: bool, on: bool) -> None:
    keys = [str(one) for one in ids]
    same_as_single(
        edits.switch_parts(named(ACCOUNTS, keys), orig=orig, term=term, on=on),
        [edits.switch_parts(key, orig=orig, term=term, on=on) for key in keys],
    )


@settings(max_examples=20, deadline=None)
@given(CHOSEN, st.sampled_from(["1", "3", "99"]), st.sampled_from(["active", "blocked", "lost"]))
def test_many_dids(ids: list[int], account: str, status: str) -> None:
    numbers = [f"44207946010{one}" for one in ids]
    cells = {"account_id": account, "status": status}
    same_as_single(
        edits.set_columns(DIDS, named(DIDS, numbers), cells),
        [edits.set_columns(DIDS, number, cells) for number in numbers],
    )


@settings(max_examples=20, deadline=None)
@given(CHOSEN)
def test_many_accounts_are_removed(ids: list[int]) -> None:
    keys = [str(one) for one in ids]
    same_as_single(edits.remove(ACCOUNTS, named(ACCOUNTS, keys)), [edits.remove(ACCOUNTS, key) for key in keys])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*IDS, 99]), st.sampled_from(["", "5", "x"])), min_size=1, max_size=5))
def test_a_file_of_accounts(rows: list[tuple[int, str]]) -> None:
    """A repeated id is a mistake of a file alone."""
    rows = list(dict(rows).items())
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "rows.csv"
        path.write_text("id,orig_capacity\n" + "".join(f"{key},{value}\n" for key, value in rows))
        same_as_single(
            edit_from(ACCOUNTS, TableFile(path, ACCOUNTS_TABLE)),
            [edits.set_columns(ACCOUNTS, str(key), {"orig_capacity": value}) for key, value in rows],
        )
