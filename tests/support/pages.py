"""A book in memory, as the checks of lint read it."""

from __future__ import annotations

from collections.abc import Iterable

from identengine.model.records import Account, Client, Did


class Pages:
    """The rows of a book."""

    def __init__(self, clients: Iterable[Client], accounts: Iterable[Account], dids: Iterable[Did] = ()) -> None:
        self._clients = {client.id: client for client in clients}
        self._accounts = {account.id: account for account in accounts}
        self._dids = {did.number: did for did in dids}
        self._owned: dict[int, list[Did]] = {}
        for did in self._dids.values():
            self._owned.setdefault(did.account_id, []).append(did)

    def client(self, client_id: int) -> Client | None:
        return self._clients.get(client_id)

    def account(self, account_id: int) -> Account | None:
        return self._accounts.get(account_id)

    def did(self, number: str) -> Did | None:
        return self._dids.get(number)

    def clients(self) -> Iterable[Client]:
        return self._clients.values()

    def accounts(self) -> Iterable[Account]:
        return self._accounts.values()

    def dids(self) -> Iterable[Did]:
        return self._dids.values()

    def account_dids(self, account_id: int) -> Iterable[Did]:
        return self._owned.get(account_id, ())
