"""The operations of an edit on the rows of each table: find, create from cells, check, write and delete.

Rule: a wrong value raises RowError, which names the column and the expectation, as an import does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar

from identengine.book.clientnames import name_in
from identengine.book.mistakes import Mistake, RowError
from identengine.book.numbers import numbers_of, range_in
from identengine.book.records import Cells, account_from, client_from, did_from
from identengine.book.removedids import reused_id
from identengine.errors import IdentengineError, counted
from identengine.model.records import Account, BookRow, Client, Did
from identengine.model.resellers import deepened, loops
from identengine.provisioning.changes import changed
from identengine.provisioning.checks import Checks, ClientChecks, depth_told, loop_told, missing, mistake_in
from identengine.provisioning.listing import (
    TableName,
    accounts_of,
    clients_below,
    find_account,
    find_client,
    find_did,
    listed,
)
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.snapshot import View
from identengine.store.vault import Vault

R = TypeVar("R", bound=BookRow)


class ExistsError(RowError):
    """A new row has the key of an existing row.

    ``table`` is the name of the table in the singular, and ``key`` the key of the existing row.
    """

    def __init__(self, table: TableName, existing: BookRow) -> None:
        self.table = table
        if isinstance(existing, Did):
            self.key, message = (
                existing.number,
                f"DID {existing.number} already belongs to account {existing.account_id}",
            )
            mistake = Mistake("number", self.key, message)
        else:
            self.key = str(existing.id)
            mistake = Mistake("id", self.key, f"{table} {self.key} exists")
        super().__init__([mistake])


class Rows(ABC, Generic[R]):
    """The operations of an edit on the rows of one table."""

    record: ClassVar[type[Client | Account | Did]]
    name: ClassVar[TableName]

    @abstractmethod
    def find(self, book: View, wanted: str) -> R:
        """Return the row that an operator names. Raise NotFoundError, or RowError if ``wanted`` is not a key."""

    def find_all(self, book: View, wanted: str) -> list[R]:
        """Return the rows that an operator names: one, or the DIDs of a range. Raise as :meth:`find` does."""
        return [self.find(book, wanted)]

    def spelled(self, wanted: str) -> Iterable[str]:
        """Return the keys that a text names: itself, or each number of a range of DIDs."""
        return (wanted,)

    @abstractmethod
    def by_key(self, book: View, key: int | str) -> R | None:
        """Return the row with this id, or the DID with this number in normal form, or None."""

    @abstractmethod
    def every(self, book: View) -> Iterator[R]:
        """Return all rows of the table in order of keys."""

    @abstractmethod
    def key(self, row: R) -> int | str:
        """Return the id of a row, or the number of a DID."""

    @abstractmethod
    def same(self, book: View, row: R) -> R | None:
        """Return the row of the book with the key of ``row``, or None."""

    @abstractmethod
    def read(self, cells: Cells, before: R | None, vault: Vault | None = None) -> tuple[R, Sequence[Mistake]]:
        """Return the new row of ``cells``, or ``before`` with their changes, and warnings. Raise RowError.

        ``vault`` is needed for a password.
        """

    def with_key(self, draft: Draft, cells: Cells) -> Cells:
        """Return the cells of a new row. Add the next free id if they have no key."""
        return cells

    def resolved(self, draft: Draft, cells: Cells) -> Cells:
        """Return the cells with the id of a client that they name. Raise NotFoundError."""
        return cells

    def each(self, cells: Cells) -> Iterable[Cells]:
        """Return the cells of each row that ``cells`` describe: one, or the DIDs of a range."""
        return (cells,)

    @abstractmethod
    def check(self, draft: Draft, row: R) -> None:
        """Raise RowError if ``row`` refers to a row that does not exist or cannot be used."""

    @abstractmethod
    def checks(self, draft: Draft) -> Checks[R]:
        """Return the checks of many rows that one edit changes. They find what :meth:`check` finds."""

    def check_new(self, draft: Draft, row: R) -> None:
        """Raise RowError if a new row has the id of a removed one that was another (engine.md 9.5)."""
        return

    @abstractmethod
    def put(self, draft: Draft, row: R) -> None:
        """Add or replace a row."""

    @abstractmethod
    def delete(self, draft: Draft, row: R) -> list[Change]:
        """Remove a row and all rows that depend on it. Return the changes, the row's own first."""

    def delete_all(self, draft: Draft, rows: Iterable[R]) -> None:
        """Remove rows and all rows that depend on them. Raise IdentengineError if a row is needed."""
        for row in rows:
            self.delete(draft, row)


class _AccountRows(Rows[Account]):
    record = Account
    name = "account"

    def find(self, book: View, wanted: str) -> Account:
        return find_account(book, wanted)

    def by_key(self, book: View, key: int | str) -> Account | None:
        return book.account(int(key))

    def every(self, book: View) -> Iterator[Account]:
        return book.accounts()

    def key(self, row: Account) -> int:
        return row.id

    def same(self, book: View, row: Account) -> Account | None:
        return book.account(row.id)

    def read(
        self, cells: Cells, before: Account | None, vault: Vault | None = None
    ) -> tuple[Account, Sequence[Mistake]]:
        warnings: list[Mistake] = []
        return account_from(cells, before, vault, warnings=warnings), warnings

    def resolved(self, draft: Draft, cells: Cells) -> Cells:
        return _with_id(draft, cells, "client_id")

    def with_key(self, draft: Draft, cells: Cells) -> Cells:
        return cells if cells.get("id") else {**cells, "id": str(draft.next_account_id())}

    def check(self, draft: Draft, row: Account) -> None:
        if draft.client(row.client_id) is None:
            raise missing("client_id", row.client_id, "client")

    def checks(self, draft: Draft) -> Checks[Account]:
        return Checks("client_id", "client", lambda client_id: draft.client(client_id) is not None)

    def check_new(self, draft: Draft, row: Account) -> None:
        if mistake := reused_id(draft, row):
            raise RowError([mistake])

    def put(self, draft: Draft, row: Account) -> None:
        draft.put_account(row)

    def delete(self, draft: Draft, row: Account) -> list[Change]:
        numbers = list(draft.account_dids(row.id))
        for did in numbers:
            draft.delete_did(did.number)
        draft.delete_account(row.id)
        return [changed(row, None), *(changed(did, None) for did in numbers)]


class _ClientRows(Rows[Client]):
    record = Client
    name = "client"

    def find(self, book: View, wanted: str) -> Client:
        return find_client(book, wanted)

    def by_key(self, book: View, key: int | str) -> Client | None:
        return book.client(int(key))

    def every(self, book: View) -> Iterator[Client]:
        return book.clients()

    def key(self, row: Client) -> int:
        return row.id

    def same(self, book: View, row: Client) -> Client | None:
        return book.client(row.id)

    def read(
        self, cells: Cells, before: Client | None, vault: Vault | None = None
    ) -> tuple[Client, Sequence[Mistake]]:
        return client_from(cells, before), ()

    def resolved(self, draft: Draft, cells: Cells) -> Cells:
        return _with_id(draft, cells, "parent_id")

    def with_key(self, draft: Draft, cells: Cells) -> Cells:
        return cells if cells.get("id") else {**cells, "id": str(draft.next_client_id())}

    def check(self, draft: Draft, row: Client) -> None:
        """Raise RowError if the reseller does not exist, is below the client, or is too deep (engine.md 1.1)."""
        if row.parent_id is None:
            return
        if draft.client(row.parent_id) is None:
            raise missing("parent_id", row.parent_id, "client")

        def parent_of(client_id: int) -> int | None:
            one = row if client_id == row.id else draft.client(client_id)
            return one.parent_id if one else None

        if loop := loops([row.id], parent_of).get(row.id):
            raise mistake_in("parent_id", row.parent_id, loop_told(loop))
        old = draft.client(row.id)
        if old is not None and old.parent_id == row.parent_id:
            return
        before = {one.id: one.parent_id for one in draft.clients()}
        after = before | {row.id: row.parent_id}
        # The chains of the clients below this one become longer, too.
        if too_deep := deepened(after, after.get, before.get):
            deep, depth = next(iter(too_deep.items()))
            raise mistake_in("parent_id", row.parent_id, depth_told(row.id, deep, depth, after.get))

    def checks(self, draft: Draft) -> Checks[Client]:
        return ClientChecks(draft)

    def put(self, draft: Draft, row: Client) -> None:
        draft.put_client(row)

    def delete(self, draft: Draft, row: Client) -> list[Change]:
        """Remove a client. Raise IdentengineError if it has accounts or clients below it."""
        if accounts := accounts_of(draft, row.id):
            named = listed(f"{number} {name}" for number, name in accounts)
            raise IdentengineError(
                f"client {row.id} {row.name} still has {counted(len(accounts), 'account')}: {named}."
                " Remove the accounts first, or block the client."
            )
        if below := clients_below(draft, row.id):
            named = listed(f"{one.id} {one.name}" for one in below)
            raise IdentengineError(
                f"client {row.id} {row.name} is the reseller of {counted(len(below), 'client')}:"
                f" {named}. Set another parent_id for them first."
            )
        draft.delete_client(row.id)
        return [changed(row, None)]

    def delete_all(self, draft: Draft, rows: Iterable[Client]) -> None:
        """Remove clients. A reseller may be removed together with all clients below it."""
        chosen = {row.id: row for row in rows}
        if len(chosen) == 1:
            self.delete(draft, *chosen.values())
            return
        needed = {account.client_id for account in draft.accounts()} & chosen.keys()
        needed |= {one.parent_id for one in draft.clients() if one.id not in chosen and one.parent_id in chosen}
        if needed:
            named = listed(f"{number} {chosen[number].name}" for number in sorted(needed))
            raise IdentengineError(
                f"{counted(len(needed), 'client')} of these cannot be removed, since accounts or other clients "
                f"belong to them: {named}. Remove those first, or block the clients."
            )
        for client_id in chosen:
            draft.delete_client(client_id)


class _DidRows(Rows[Did]):
    record = Did
    name = "DID"

    def find(self, book: View, wanted: str) -> Did:
        return find_did(book, wanted)

    def find_all(self, book: View, wanted: str) -> list[Did]:
        return [find_did(book, number) for number in self.spelled(wanted)]

    def spelled(self, wanted: str) -> Iterable[str]:
        found = range_in(wanted)
        return (wanted,) if found is None else numbers_of(*found)

    def each(self, cells: Cells) -> Iterable[Cells]:
        found = range_in(str(cells.get("number", "")))
        return (cells,) if found is None else [{**cells, "number": number} for number in numbers_of(*found)]

    def by_key(self, book: View, key: int | str) -> Did | None:
        return book.did(str(key))

    def every(self, book: View) -> Iterator[Did]:
        return book.dids()

    def key(self, row: Did) -> str:
        return row.number

    def same(self, book: View, row: Did) -> Did | None:
        return book.did(row.number)

    def read(self, cells: Cells, before: Did | None, vault: Vault | None = None) -> tuple[Did, Sequence[Mistake]]:
        warnings: list[Mistake] = []
        return did_from(cells, before, warnings=warnings), warnings

    def check(self, draft: Draft, row: Did) -> None:
        if draft.account(row.account_id) is None:
            raise missing("account_id", row.account_id, "account")

    def resolved(self, draft: Draft, cells: Cells) -> Cells:
        name = name_in(cells.get("account_id"))
        return cells if name is None else {**cells, "account_id": str(find_account(draft, name).id)}

    def checks(self, draft: Draft) -> Checks[Did]:
        return Checks("account_id", "account", lambda account_id: draft.account(account_id) is not None)

    def put(self, draft: Draft, row: Did) -> None:
        draft.put_did(row)

    def delete(self, draft: Draft, row: Did) -> list[Change]:
        draft.delete_did(row.number)
        return [changed(row, None)]


ACCOUNTS: Rows[Account] = _AccountRows()
"""Accounts. Deleting an account also deletes its DIDs."""
CLIENTS: Rows[Client] = _ClientRows()
"""Clients. A client that has accounts or clients below it cannot be deleted."""
DIDS: Rows[Did] = _DidRows()
"""DIDs. Any spelling of a number finds its DID."""


def _with_id(draft: Draft, cells: Cells, column: str) -> Cells:
    """Return the cells with the id of the client that ``column`` names. Raise NotFoundError."""
    name = name_in(cells.get(column))
    return cells if name is None else {**cells, column: str(find_client(draft, name).id)}
