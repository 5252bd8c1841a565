"""The operations of an edit on the rows of each table: find, create from cells, check, write and delete.

Rule: a wrong value raises RowError, which names the column and the expectation, as an import does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from identengine.book.clientnames import name_in
from identengine.book.mistakes import Mistake, RowError
from identengine.book.numbers import numbers_of, range_in
from identengine.book.records import Cells, account_from, client_from, did_from
from identengine.book.removedids import reused_id
from identengine.errors import IdentengineError, counted, expected
from identengine.model.records import Account, BookRow, Client, Did
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, loops
from identengine.provisioning.changes import changed
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

    @abstractmethod
    def same(self, book: View, row: R) -> R | None:
        """Return the row of the book with the key of ``row``, or None."""

    @abstractmethod
    def read(self, cells: Cells, before: R | None) -> tuple[R, Sequence[Mistake]]:
        """Return the new row of ``cells``, or ``before`` with their changes, and warnings. Raise RowError."""

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

    def check_new(self, draft: Draft, row: R) -> None:
        """Raise RowError if a new row has the id of a removed one that was another (engine.md 9.5)."""
        return

    @abstractmethod
    def put(self, draft: Draft, row: R) -> None:
        """Add or replace a row."""

    @abstractmethod
    def delete(self, draft: Draft, row: R) -> list[Change]:
        """Remove a row and all rows that depend on it. Return the changes, the row's own first."""


class _AccountRows(Rows[Account]):
    record = Account
    name = "account"

    def find(self, book: View, wanted: str) -> Account:
        return find_account(book, wanted)

    def same(self, book: View, row: Account) -> Account | None:
        return book.account(row.id)

    def read(self, cells: Cells, before: Account | None) -> tuple[Account, Sequence[Mistake]]:
        warnings: list[Mistake] = []
        return account_from(cells, before, None, warnings=warnings), warnings

    def resolved(self, draft: Draft, cells: Cells) -> Cells:
        return _with_id(draft, cells, "client_id")

    def with_key(self, draft: Draft, cells: Cells) -> Cells:
        return cells if cells.get("id") else {**cells, "id": str(draft.next_account_id())}

    def check(self, draft: Draft, row: Account) -> None:
        if draft.client(row.client_id) is None:
            raise _missing("client_id", row.client_id, "client")

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

    def same(self, book: View, row: Client) -> Client | None:
        return book.client(row.id)

    def read(self, cells: Cells, before: Client | None) -> tuple[Client, Sequence[Mistake]]:
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
            raise _missing("parent_id", row.parent_id, "client")

        def parent_of(client_id: int) -> int | None:
            one = row if client_id == row.id else draft.client(client_id)
            return one.parent_id if one else None

        _refuse_loops([row], parent_of)
        old = draft.client(row.id)
        if old is not None and old.parent_id == row.parent_id:
            return
        before = {one.id: one.parent_id for one in draft.clients()}
        # The chains of the clients below this one become longer, too.
        _refuse_depth([row], before | {row.id: row.parent_id}, before)

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


class _DidRows(Rows[Did]):
    record = Did
    name = "DID"

    def find(self, book: View, wanted: str) -> Did:
        return find_did(book, wanted)

    def find_all(self, book: View, wanted: str) -> list[Did]:
        found = range_in(wanted)
        return [find_did(book, number) for number in ((wanted,) if found is None else numbers_of(*found))]

    def each(self, cells: Cells) -> Iterable[Cells]:
        found = range_in(str(cells.get("number", "")))
        return (cells,) if found is None else [{**cells, "number": number} for number in numbers_of(*found)]

    def same(self, book: View, row: Did) -> Did | None:
        return book.did(row.number)

    def read(self, cells: Cells, before: Did | None) -> tuple[Did, Sequence[Mistake]]:
        warnings: list[Mistake] = []
        return did_from(cells, before, warnings=warnings), warnings

    def check(self, draft: Draft, row: Did) -> None:
        if draft.account(row.account_id) is None:
            raise _missing("account_id", row.account_id, "account")

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


def check_resellers(draft: Draft, rows: Sequence[Client], before: Mapping[int, int | None]) -> None:
    """Raise RowError if the reseller of a written client does not exist, is below it, or is too deep.

    The draft holds ``rows`` already. ``before`` is the reseller of each client before they were written.
    """
    after = {one.id: one.parent_id for one in draft.clients()}
    for row in rows:
        if row.parent_id is not None and row.parent_id not in after:
            raise _missing("parent_id", row.parent_id, "client")
    _refuse_loops(rows, after.get)
    _refuse_depth(rows, after, before)


def _refuse_loops(rows: Sequence[Client], parent_of: Callable[[int], int | None]) -> None:
    """Raise RowError if a client is below itself."""
    found = loops([row.id for row in rows], parent_of)
    for row in rows:
        if row.parent_id is not None and (loop := found.get(row.id)):
            path = " → ".join(map(str, (*loop, loop[0] if len(loop) < SHOWN else "…")))
            raise _mistake("parent_id", row.parent_id, f"reseller loop: {path}")


def _refuse_depth(
    rows: Sequence[Client], after: Mapping[int, int | None], before: Mapping[int, int | None]
) -> None:
    """Raise RowError if new resellers of clients make a chain too long."""
    if too_deep := deepened(after, after.get, before.get):
        deep, depth = next(iter(too_deep.items()))
        row = next((row for row in rows if row.id == deep), rows[0])
        where = "" if deep == row.id else f" with client {deep}"
        message = f"{expected(f'a chain of at most {DEEPEST} clients', depth)}{where}"
        raise _mistake("parent_id", row.parent_id or row.id, f"{message}: {chain_told(deep, after.get)}")


def _with_id(draft: Draft, cells: Cells, column: str) -> Cells:
    """Return the cells with the id of the client that ``column`` names. Raise NotFoundError."""
    name = name_in(cells.get(column))
    return cells if name is None else {**cells, column: str(find_client(draft, name).id)}


def _mistake(column: str, value: int, message: str) -> RowError:
    return RowError([Mistake(column, str(value), message)])


def _missing(column: str, value: int, what: str) -> RowError:
    return _mistake(column, value, f"no {what} {value} in the book. Add it first.")
