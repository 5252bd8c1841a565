"""Books for tests: rows written to a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.draft import Draft
from identengine.store.versions import Store


def put_rows(
    path: Path,
    accounts: Iterable[Account] = (),
    clients: Iterable[Client] = (),
    dids: Iterable[Did] = (),
    who: str = "test",
) -> int:
    """Make a new version of the store at ``path`` with these rows. Return its number.

    The store is created if it does not exist.
    """

    def edit(draft: Draft) -> None:
        for client in clients:
            draft.put_client(client)
        for account in accounts:
            draft.put_account(account)
        for did in dids:
            draft.put_did(did)

    with Store.open(path, create=True) as store:
        return store.change(who, "test", edit)[0].version


def ip_account(account_id: int, address: str, **fields: Any) -> Account:
    """Return an account of client 1 that is identified by one address."""
    known: dict[str, Any] = {
        "client_id": 1,
        "name": f"account {account_id}",
        "ident_by": IdentBy.IP,
        "ident": (address,),
    }
    return Account(id=account_id, **(known | fields))
