"""Names next to the ids of a row, as a table for spreadsheets has them (interfaces.md 1, ``export --excel``).

Rule: an import reads the id. It compares the name with the book, and warns if they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from identengine.book.mistakes import Mistake, cell_text
from identengine.errors import quoted
from identengine.model.records import Account, BookRow, Client, Did

_REMEMBERED = 100_000
"""Capacity of each cache of names, in names."""


class Names(Protocol):
    """The clients and accounts of a book by their ids."""

    def client(self, client_id: int) -> Client | None:
        """Return the client with this id, or None."""
        ...

    def account(self, account_id: int) -> Account | None:
        """Return the account with this id, or None."""
        ...


class Labels:
    """The names next to the ids of rows. Clients and accounts may not change meanwhile."""

    def __init__(self, book: Names) -> None:
        def client_name(client_id: int | None) -> str:
            client = book.client(client_id) if client_id is not None else None
            return client.name if client is not None else ""

        def account_names(account_id: int) -> tuple[str, int | None]:
            account = book.account(account_id)
            return (account.name, account.client_id) if account is not None else ("", None)

        self._client_name = lru_cache(_REMEMBERED)(client_name)
        self._account_names = lru_cache(_REMEMBERED)(account_names)

    def of(self, row: BookRow) -> dict[str, str]:
        """Return the names by their columns. The name of a missing client or account is empty."""
        if isinstance(row, Client):
            return {"parent_name": self._client_name(row.parent_id)}
        if isinstance(row, Account):
            return {"client_name": self._client_name(row.client_id)}
        name, client_id = self._account_names(row.account_id)
        return {"account_name": name, "client_name": self._client_name(client_id)}

    def warnings(self, row: BookRow, labels: Mapping[str, str]) -> list[Mistake]:
        """Return a warning for each name in ``labels`` that differs from the book."""
        found = []
        names = self.of(row) if labels else {}
        for column, text in labels.items():
            name = text.strip()
            if not name or name == names[column]:
                continue
            key = "account_id" if isinstance(row, Did) else column.replace("name", "id")
            one = f"{quoted(name)} is not read, and the name in the book is {quoted(names[column])}. Change {key}."
            many = f"{{}} rows have another {column} than the book: {{}}. Only {key} is read."
            found.append(Mistake(column, cell_text(name), one, many))
        return found
