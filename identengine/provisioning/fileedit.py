"""The edit of rows that a file describes: it changes the columns of the file, and never adds a row.

The file is read as an import reads it (interfaces.md 1, engine.md 9.1). Rule: all mistakes are collected, each
with file and line, and a single one leaves the book as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from identengine.book import columns
from identengine.book.clientnames import ClientNames, name_in
from identengine.book.columns import Table, id_in, number_in
from identengine.book.files import FileRow, Source
from identengine.book.importrun import join_mistakes, readable, repeated, row_mark
from identengine.book.mistakes import Mistake, RowError, cell_text
from identengine.book.numbers import numbers_of, range_in
from identengine.book.report import Problems, Warnings
from identengine.errors import LoadError, Problem, expected
from identengine.provisioning.edits import Edit, Edited
from identengine.provisioning.rows import R, Rows
from identengine.store.draft import Draft
from identengine.store.vault import Vault

_TABLES: dict[str, Table] = {"client": columns.CLIENTS, "account": columns.ACCOUNTS, "DID": columns.DIDS}
_CLIENT_COLUMNS = {"client": "parent_id", "account": "client_id"}
"""The column of each table that may hold the name of a client."""
_AN = {"client": "a client", "account": "an account", "DID": "a DID"}
_NO_PASSWORD = (None, "", "-")
"""Cells that keep or clear a password, for which no key is needed."""


def table_of(rows: Rows[R]) -> Table:
    """Return the table of a book to which the rows belong."""
    return _TABLES[rows.name]


def edit_from(rows: Rows[R], source: Source, vault: Callable[[], Vault] | None = None) -> Edit:
    """Return the edit that changes the rows of ``source``. It raises LoadError, which lists every mistake.

    ``vault`` returns the keys. It is called for the first password of the file.
    """

    def edit(draft: Draft) -> Edited:
        run = _FileEdit(rows, draft, source, vault)
        run.change_all()
        return Edited(draft.changes(), run.warnings.done(), run.vault.keep if run.vault is not None else None)

    return edit


class _FileEdit(Generic[R]):
    """One edit from a file while it runs."""

    def __init__(
        self, rows: Rows[R], draft: Draft, source: Source, open_vault: Callable[[], Vault] | None
    ) -> None:
        self._rows = rows
        self._draft = draft
        self._source = source
        self._open_vault = open_vault
        self.vault: Vault | None = None
        """The keys, opened for the first password."""
        self._table = table_of(rows)
        self._checks = rows.checks(draft)
        self._names: ClientNames | None = None
        self._problems = Problems()
        self.warnings = Warnings()

    def change_all(self) -> None:
        """Change every row of the file in the draft. Raise LoadError."""
        for row in self._numbers():
            mistakes = list(row.mistakes)
            self._change(row, mistakes)
            for mistake in mistakes:
                self._problems.add(mistake.located(self._source.label, row.line))
        if self._source.columns == {self._table.key}:
            text = f"expected columns to change next to {self._table.key}, got none"
            self._problems.add(Problem(self._source.label, None, None, None, text))
        if not self._problems.total:
            for key, error in self._checks.finish():
                for mistake in error.mistakes:
                    self._problems.add(mistake.located(self._source.label, self._line_of(key)))
        for warning in self._source.warnings:
            self.warnings.add(warning)
        if self._problems.total:
            raise LoadError(self._problems.first, self._problems.total)

    def _change(self, row: FileRow, mistakes: list[Mistake]) -> None:
        """Change one row of the book. Add all mistakes to ``mistakes``."""
        key, before = self._find(row, mistakes)
        if key is not None and not self._mark(key, row.line):
            mistakes.append(repeated(self._table.key, key, self._line_of(key) or 0))
        if before is None or not readable(row):
            return
        try:
            after, warnings = self._rows.read(self._cells(row), before, self._vault_for(row))
            self._checks.check(before, after)
        except RowError as error:
            join_mistakes(mistakes, error)
            return
        if mistakes:
            return
        if after != before:
            self._rows.put(self._draft, after)
        for column, value, text, many in warnings:
            self.warnings.add(Problem(self._source.label, row.line, column, value, text), many)

    def _vault_for(self, row: FileRow) -> Vault | None:
        """Return the keys if a row has a password. Raise KeyFileError."""
        if self.vault is None and self._open_vault is not None and row.cells.get("password") not in _NO_PASSWORD:
            self.vault = self._open_vault()
        return self.vault

    def _find(self, row: FileRow, mistakes: list[Mistake]) -> tuple[int | str | None, R | None]:
        """Return the key of a row and the row of the book that has it. Add a mistake if no row has it."""
        column, what = self._table.key, self._rows.name
        cell = row.cells.get(column)
        key: int | str | None = number_in(cell) if column == "number" else id_in(cell)
        if key is None:
            if not any(mistake.column in (column, None) for mistake in mistakes):
                text = (
                    "a value is required" if cell in (None, "") else expected(f"the {column} of {_AN[what]}", cell)
                )
                mistakes.append(Mistake(column, None if cell is None else cell_text(cell), text))
            return None, None
        before = self._rows.by_key(self._draft, key)
        if before is None:
            mistakes.append(Mistake(column, str(key), f"no {what} {key} in the book. An edit adds no rows."))
        return key, before

    def _cells(self, row: FileRow) -> dict[str, object]:
        """Return the cells of a row with the empty ones, which clear, and with ids for names of clients.

        Raise RowError.
        """
        cells = row.cells if self._source.header is None else self._source.header | row.cells
        column = _CLIENT_COLUMNS.get(self._rows.name)
        name = name_in(cells.get(column)) if column else None
        if column is None or name is None:
            return cells
        if self._names is None:
            self._names = ClientNames(self._draft.clients())
        found = self._names.id_of(column, name)
        if isinstance(found, Mistake):
            raise RowError([found])
        return {**cells, column: found}

    def _numbers(self) -> Iterator[FileRow]:
        """Yield the rows of the file, and for a range of DIDs a row for each of its numbers (engine.md 1.3)."""
        for row in self._source.rows():
            number = row.cells.get("number")
            found = range_in(number) if isinstance(number, str) else None
            if found is None:
                yield row
                continue
            for one in numbers_of(*found):
                yield row._replace(cells={**row.cells, "number": one})

    def _mark(self, key: int | str, line: int) -> bool:
        """Record the line of a key. Return True if the key is new."""
        return self._draft.scratch.add(row_mark(self._table, key), line.to_bytes(8, "big"))

    def _line_of(self, key: int | str) -> int | None:
        found = self._draft.scratch.get(row_mark(self._table, key))
        return None if found is None else int.from_bytes(found, "big")
