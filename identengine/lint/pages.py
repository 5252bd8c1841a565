"""The rows of a book that the checks read: a version of the store, or only the rows that a change touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from identengine.model.records import Account, Client, Did


class Pages(Protocol):
    """A book. :class:`identengine.store.snapshot.View` is one."""

    def client(self, client_id: int) -> Client | None:
        """Return the client with this id, or None."""

    def account(self, account_id: int) -> Account | None:
        """Return the account with this id, or None."""

    def did(self, number: str) -> Did | None:
        """Return the DID with this number, or None."""

    def clients(self) -> Iterable[Client]:
        """Return all clients."""

    def accounts(self) -> Iterable[Account]:
        """Return all accounts."""

    def dids(self) -> Iterable[Did]:
        """Return all DIDs."""

    def account_dids(self, account_id: int) -> Iterable[Did]:
        """Return the DIDs of one account."""


class Part:
    """The accounts and DIDs of a book that a change touches. Single rows are read from the whole book."""

    def __init__(
        self, book: Pages, clients: Iterable[Client], accounts: Iterable[Account], dids: Iterable[Did]
    ) -> None:
        self._clients = {client.id: client for client in clients}
        self._accounts = {account.id: account for account in accounts}
        self._dids = tuple(dids)
        self.client = book.client
        self.did = book.did
        self.account_dids = book.account_dids

    def account(self, account_id: int) -> Account | None:
        """Return an account of the part, or None."""
        return self._accounts.get(account_id)

    def clients(self) -> Iterator[Client]:
        """Return the clients of the part."""
        return iter(self._clients.values())

    def accounts(self) -> Iterator[Account]:
        """Return the accounts of the part."""
        return iter(self._accounts.values())

    def dids(self) -> Iterator[Did]:
        """Return the DIDs of the part."""
        return iter(self._dids)
