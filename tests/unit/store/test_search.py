"""Searching the stored rows of accounts without decoding them."""

from __future__ import annotations

from pathlib import Path

from support.books import ip_account

from identengine.model.records import Client
from identengine.store.draft import Draft
from identengine.store.versions import Store


def fill(draft: Draft) -> None:
    draft.put_client(Client(id=1, name="one"))
    for number in range(1, 301):
        draft.put_account(ip_account(number, f"192.0.2.{number % 256}"))


def ids(draft: Draft, text: bytes) -> list[int]:
    return [account.id for account in draft.accounts_like(lambda rows: text in rows)]


def test_a_search_finds_the_rows_of_the_draft_and_of_the_version_before(tmp_path: Path) -> None:
    def edit(draft: Draft) -> tuple[list[list[int]], list[int]]:
        draft.put_account(ip_account(7, "198.51.100.1"))
        draft.delete_account(8)
        found = [ids(draft, text) for text in (b"198.51.100.1", b"192.0.2.8", b"192.0.2.250", b"203.0.113.1")]
        before = [account.id for account in draft.before().accounts() if account.id in (7, 8)]
        return found, before

    with Store.open(tmp_path / "store", create=True) as store:
        store.change("test", "fill", fill)
        _, (found, before) = store.change("test", "edit", edit)
    # A row is found by what an earlier version had. The accounts 80 to 89 and 264 have addresses that begin alike.
    assert found == [[7], [*range(80, 90), 264], [250], []]
    assert before == [7, 8]
