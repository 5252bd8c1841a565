"""State of one import, and the steps that are the same for every table.

:mod:`identengine.book.importclients` and :mod:`identengine.book.importaccounts` import the tables with an
:class:`ImportRun`. :mod:`identengine.book.importer` calls them in order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Literal, NamedTuple, TypeVar

import msgspec

from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, TABLES, Table
from identengine.book.files import FileRow, Source
from identengine.book.loosening import held_fields, loosened
from identengine.book.mistakes import Mistake, RowError
from identengine.book.report import FieldChanges, Problems, TableCounts, Warnings
from identengine.errors import LoadError, Problem, quoted
from identengine.model.records import Account, BookRow, Client, Did
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.vault import Vault

Missing = Literal["disable", "keep", "remove"]
"""Treatment of accounts that are not in the new table (engine.md 1.5)."""

Progress = Callable[[int, int, str], None]
"""A function that is called repeatedly with the bytes read, all bytes, and the name of the current table."""

T = TypeVar("T", Client, Account, Did)

_SINGULAR = {CLIENTS.name: "client", ACCOUNTS.name: "account", DIDS.name: "DID"}
_LIMITS_OF = {
    Client: attrgetter("capacity", "orig_capacity", "term_capacity", "orig_cps"),
    Account: attrgetter("orig_capacity", "term_capacity", "orig_cps"),
}
"""The limits of a row (engine.md 1.6)."""
_MANY_LIMITS = 10
"""Least number of limits in an import that is warned of limits of 0."""
_PROGRESS_ROWS = 1000
"""Rows between two calls of the progress function."""


class ImportOptions(NamedTuple):
    """The choices of the author of an import."""

    missing: Missing = "disable"
    skip_bad: bool = False
    """True if the good rows of a book with mistakes are imported."""
    reopen: bool = False
    """True if the import opens what a person closed (engine.md 9.3)."""
    reuse_id: bool = False
    """True if new accounts may have the ids of removed ones (engine.md 9.5)."""


class ImportRun:
    """The state of one import into a draft. If the store repeats the transaction, a new run begins."""

    def __init__(
        self,
        draft: Draft,
        vault: Vault,
        sources: Mapping[str, Source],
        options: ImportOptions,
        progress: Progress | None,
    ) -> None:
        self.draft = draft
        self.vault = vault
        self.sources = sources
        """Name of a table to its rows."""
        self.missing: Missing = options.missing
        self.skip_bad = options.skip_bad
        self.reopen = options.reopen
        self.reuse_id = options.reuse_id
        self.progress = progress
        self.bytes_before = 0
        """Bytes of the tables before the current one."""
        self.warnings = Warnings()
        self.problems = Problems()
        self.loosens = FieldChanges()
        self.held_closed = FieldChanges()
        self.tallies: dict[str, TableCounts] = {}
        self.broken: set[str] = set()
        """Names of the tables that could not be read to their end."""
        self.nameless: dict[str, int] = {}
        """Name of a table to the line of its first bad row with an unreadable key."""
        self.bad_clients: dict[int, int] = {}
        """Id of each bad client to its line."""
        self.limits = self.zero_limits = 0
        """Limits that the rows of clients and accounts set, and those of them that are 0."""
        self.removed = array("q")
        """Ids of the accounts that the import removes, in ascending order."""

    def read(self, source: Source, table: Table) -> Iterator[FileRow]:
        """Yield the rows of a source, and report the progress."""
        tally = self.tallies[table.name]
        total = sum(each.size for each in self.sources.values())
        for row in source.rows():
            if tally.rows % _PROGRESS_ROWS == 0 and self.progress is not None:
                self.progress(self.bytes_before + source.position, total, table.name)
            tally.rows += 1
            yield row

    def cells(
        self, source: Source, table: Table, row: FileRow, key: int | str | None, before: BookRow | None
    ) -> dict[str, object]:
        """Return the cells of a row, with the empty ones of a row that exists: they clear (engine.md 9.1).

        Raise LoadError if the row is new and the header has no column that a new row needs.
        """
        if source.header is None:
            return row.cells
        if before is not None:
            return source.header | row.cells
        absent = [name for name in table.required if name not in source.header]
        if absent and key is not None:
            text = f"this column is missing, and the {_SINGULAR[table.name]} on line {row.line} is new"
            raise LoadError([Problem(source.label, 1, name, None, text) for name in absent])
        return row.cells

    def mark(self, table: Table, key: int | str | None, line: int, mistakes: list[Mistake]) -> bool:
        """Record the line of a key. Return True if the key is new; add a mistake if it is repeated."""
        if key is None:
            return False
        if self.draft.scratch.add(row_mark(table, key), line.to_bytes(8, "big")):
            return True
        mistakes.append(repeated(table.key, key, self.line_of(table, key) or 0))
        return False

    def removes(self, account_id: int) -> bool:
        """Return True if the import removes this account."""
        place = bisect_left(self.removed, account_id)
        return place < len(self.removed) and self.removed[place] == account_id

    def line_of(self, table: Table, key: int | str) -> int | None:
        """Return the line of a key in its table, or None if the table has no such key."""
        found = self.draft.scratch.get(row_mark(table, key))
        return None if found is None else int.from_bytes(found, "big")

    def bad_row(
        self, source: Source, table: Table, line: int, key: int | str | None, mistakes: list[Mistake]
    ) -> None:
        """Count a bad row and record its mistakes. Pass None as ``key`` if it cannot be read."""
        tally = self.tallies[table.name]
        tally.skipped += 1
        if key is None:
            self.nameless.setdefault(table.name, line)
        for mistake in mistakes:
            self.problems.add(mistake.located(source.label, line))

    def warn(self, source: Source, line: int, warnings: list[Mistake]) -> None:
        """Add the warnings of a good row."""
        for column, value, text, many in warnings:
            self.warnings.add(Problem(source.label, line, column, value, text), many)

    def note_limits(self, row: Client | Account) -> None:
        """Count the limits of a good row."""
        values = _LIMITS_OF[type(row)](row)
        self.limits += len(values) - values.count(None)
        self.zero_limits += values.count(0)

    def warn_limits(self) -> None:
        """Warn if most of the limits are 0, as in a file whose author took 0 for no limit (engine.md 1.6)."""
        if self.limits >= _MANY_LIMITS and self.zero_limits * 2 > self.limits:
            label = self.sources[(ACCOUNTS if ACCOUNTS.name in self.sources else CLIENTS).name].label
            text = (
                f"limits of 0 let nothing pass, and {self.zero_limits:,} of {self.limits:,} limits are 0. Leave "
                "the cell empty for no limit."
            )
            self.warnings.add(Problem(label, None, None, None, text))

    def warn_kept(self, source: Source, table: Table, tally: TableCounts) -> None:
        """Warn that absent rows were kept, because a bad row with an unreadable key may be any of them."""
        line = self.nameless.get(table.name)
        if line is not None and tally.kept.total and self.skip_bad:
            text = (
                f"this {table.key} cannot be read. The row may be any of the {table.name} that are not in the "
                f"file, so they are kept ({tally.kept.total:,})."
            )
            self.warnings.add(Problem(source.label, line, table.key, None, text))

    def differs(self, table: Table, before: T | None, after: T) -> bool:
        """Count a good row. Return True if it must be written."""
        tally = self.tallies[table.name]
        if before is None:
            tally.added += 1
            return True
        if before == after:
            tally.unchanged += 1
            return False
        tally.changed.add(getattr(after, table.key))
        for field in loosened(changed_row(before, after)):
            self.loosens.add(field)
        return True

    def held(self, before: T | None, after: T) -> T:
        """Return a good row without the fields that a person closed and the row would open (engine.md 9.3)."""
        if before is None or self.reopen or not (closed := held_fields(self.draft, before, after)):
            return after
        held = msgspec.structs.replace(after, **closed)
        for field in loosened(changed_row(held, after)):
            self.held_closed.add(field)
        return held

    def problems_in_order(self) -> tuple[Problem, ...]:
        """Return the problems table by table, in the order of the lines."""
        order = [self.sources[table.name].label for table in TABLES if table.name in self.sources]
        return tuple(sorted(self.problems.first, key=lambda found: (order.index(found.file), found.line or 0)))


def changed_row(before: T, after: T) -> Change:
    """Return the change from one state of a row to another."""
    if isinstance(after, Did):
        return Change("did", after.number, before, after)
    return Change("client" if isinstance(after, Client) else "account", after.id, before, after)


def readable(row: FileRow) -> bool:
    """Return True if the cells of a row are in their columns, so that their values can be checked."""
    return not row.mistakes or all(mistake.column is not None for mistake in row.mistakes)


def join_mistakes(mistakes: list[Mistake], error: RowError) -> None:
    """Add the mistakes of ``error`` in columns that have no mistake yet."""
    columns = {mistake.column for mistake in mistakes}
    mistakes += [mistake for mistake in error.mistakes if mistake.column not in columns]


def repeated(column: str, key: int | str, line: int) -> Mistake:
    """Return the mistake of a row whose key is that of an earlier row, on ``line``."""
    return Mistake(column, str(key), f"{quoted(key)} is already on line {line}")


def unknown_key(what: str, key: int, bad_lines: Mapping[int, int]) -> str:
    """Return the message for a row that refers to a client or account that does not exist.

    ``bad_lines`` maps the keys of bad rows to their lines.
    """
    if key in bad_lines:
        return f"{what} {key} was skipped because of mistakes on line {bad_lines[key]}"
    return f"no {what} {key} in this book or in the store"


def row_mark(table: Table, key: int | str) -> bytes:
    """Return the key under which the scratch file keeps the line of a row."""
    initial = table.name[0].encode()
    return initial + (key.to_bytes(8, "big") if isinstance(key, int) else key.encode())


def first_few(named: tuple[int | str, ...], total: int) -> str:
    """Return the first five of ``named``, with an ellipsis if ``total`` is greater than five."""
    return ", ".join(map(str, named[:5])) + (", …" if total > 5 else "")
