"""Rows for the tests of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.draft import Draft
from identengine.store.versions import Store


def client(number: int, **fields: object) -> Client:
    return msgspec.convert({"id": number, "name": f"client {number}", **fields}, Client)


def account(number: int, client_id: int = 1, password: str | None = None, name: str = "") -> Account:
    return Account(
        id=number,
        client_id=client_id,
        name=name or f"account {number}",
        ident_by=IdentBy.IP,
        ident=(f"10.0.0.{number}",),
        password=password,
    )


def put(*rows: Client | Account | Did) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        for row in rows:
            if isinstance(row, Client):
                draft.put_client(row)
            elif isinstance(row, Account):
                draft.put_account(row)
            else:
                draft.put_did(row)

    return edit


def history(store: Store) -> None:
    """Make four versions and two events.

    Account 1 moves from client 1 to client 2, and DID 7 from account 1 to account 2.
    """
    store.change(
        "ann", "1", put(client(1), client(2), account(1, 1), account(2, 2), Did(number="7", account_id=1))
    )
    store.note("ann", "password shown", 1)
    store.change("bob", "2", put(account(1, 2)))
    store.note("bob", "password shown", 2)
    store.change("cyd", "3", put(Did(number="7", account_id=2)))
    store.change("dan", "4", put(client(1, notes="x")))


def lines(entries: Iterator[object]) -> list[str]:
    shown = []
    for entry in entries:
        change = entry.change  # type: ignore[attr-defined]
        what = entry.what if change is None else f"{entry.version} {change.table} {change.key}"  # type: ignore[attr-defined]
        shown.append(f"{entry.who} {what}")  # type: ignore[attr-defined]
    return shown
