"""One run of an import: what its tables share, and the work that is the same for the rows of each.

The modules of the single tables (:mod:`identengine.book.importclients`, :mod:`identengine.book.importaccounts`)
work on an :class:`ImportRun`; :mod:`identengine.book.importer` calls them in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeVar

from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, TABLES, Table
from identengine.book.files import FileRow, Source
from identengine.book.mistakes import Mistake, RowError
from identengine.book.report import Listing, Problems, TableCounts
from identengine.errors import Problem
from identengine.model.records import Account, Client, Did
from identengine.store.draft import Draft
from identengine.store.vault import Vault

Missing = Literal["disable", "keep", "remove"]
"""What becomes of an account that the new table lacks (engine.md 1.5)."""

Progress = Callable[[int, int, str], None]
"""Called now and then with the bytes read, all bytes, and the table that is being read."""

T = TypeVar("T", Client, Account, Did)

_DEFAULTS = {
    CLIENTS.name: {"status": "active"},
    ACCOUNTS.name: {"orig_enabled": "true", "term_enabled": "false", "src_policy": "allow_any"},
    DIDS.name: {"status": "active"},
}
"""What a column that is not there means, where that is not just "not set" (interfaces.md 1)."""
_PROGRESS_ROWS = 1000


class ImportRun:
    """The state of one import over a draft; a run that the store calls for again begins with a new one."""

    def __init__(
        self,
        draft: Draft,
        vault: Vault,
        sources: Mapping[str, Source],
        *,
        missing: Missing,
        skip_bad: bool,
        progress: Progress | None,
    ) -> None:
        self.draft = draft
        self.vault = vault
        self.sources = sources
        """Name of a table to where its rows come from."""
        self.missing = missing
        self.skip_bad = skip_bad
        self.progress = progress
        self.bytes_before = 0
        """Bytes of the tables that were read before the current one."""
        self.warnings = Problems()
        self.problems = Problems()
        self.tallies: dict[str, TableCounts] = {}
        self.broken: set[str] = set()
        """Names of the tables that could not be read to the end."""
        self.nameless: dict[str, int] = {}
        """Name of a table to the line of its first bad row whose key cannot be read."""
        self.bad_clients: dict[int, int] = {}
        """Id of each client with a mistake to its line."""

    def read(self, source: Source, table: Table) -> Iterator[FileRow]:
        """Yield the rows of a source and tell the progress."""
        tally = self.tallies[table.name]
        total = sum(each.size for each in self.sources.values())
        for row in source.rows():
            if tally.rows % _PROGRESS_ROWS == 0 and self.progress is not None:
                self.progress(self.bytes_before + source.position, total, table.name)
            tally.rows += 1
            yield row

    def mark(self, table: Table, key: int | str | None, line: int, mistakes: list[Mistake]) -> bool:
        """Note on which line a key stands; a second time is a mistake. Returns whether this is the first time."""
        if key is None:
            return False
        if self.draft.scratch.add(row_mark(table, key), line.to_bytes(8, "big")):
            return True
        mistakes.append(repeated(table.key, key, self.line_of(table, key) or 0))
        return False

    def line_of(self, table: Table, key: int | str) -> int | None:
        """Return the line on which a key stands in its table, if it does."""
        found = self.draft.scratch.get(row_mark(table, key))
        return None if found is None else int.from_bytes(found, "big")

    def bad_row(
        self, source: Source, table: Table, line: int, key: int | str | None, mistakes: list[Mistake]
    ) -> None:
        """Count a bad row and keep its mistakes; ``key`` is None if it cannot be read."""
        tally = self.tallies[table.name]
        tally.skipped += 1
        if key is None:
            self.nameless.setdefault(table.name, line)
        for mistake in mistakes:
            self.problems.add(Problem(source.label, line, *mistake))

    def tell_kept(self, source: Source, table: Table, tally: TableCounts) -> None:
        """Warn that absent rows were kept, since a bad row whose key cannot be read may stand for any of them."""
        line = self.nameless.get(table.name)
        if line is not None and tally.kept.total and self.skip_bad:
            text = (
                f"this row may be any of the {tally.kept.total:,} {table.name} that the table lacks; they are kept"
            )
            self.warnings.add(Problem(source.label, line, table.key, None, text))

    def differs(self, source: Source, table: Table, before: T | None, after: T) -> bool:
        """Count a good row, and return whether it has to be written."""
        tally = self.tallies[table.name]
        if before is None:
            tally.added += 1
            return True
        if before == after:
            tally.unchanged += 1
            return False
        key = getattr(after, table.key)
        tally.changed.add(key)
        for column in table.columns:
            if column not in source.columns and getattr(before, column) != getattr(after, column):
                tally.reset.setdefault(column, Listing()).add(key)
        return True

    def tell_reset(self, source: Source, table: Table) -> None:
        """Warn of the columns that are not in the table at all, and by that changed rows."""
        for column, found in reversed(self.tallies[table.name].reset.items()):
            if column not in source.columns:
                default = _DEFAULTS[table.name].get(column)
                does = "clears it" if default is None else f"sets it to {default}"
                named = few_named(found.done().first, found.total)
                text = f"this column is not there, which {does} in {found.total:,} of the {table.name} ({named})"
                self.warnings.add_first(Problem(source.label, None, column, None, text))

    def problems_in_order(self) -> tuple[Problem, ...]:
        """Return the problems as they stand in the files, table by table."""
        order = [self.sources[table.name].label for table in TABLES if table.name in self.sources]
        return tuple(sorted(self.problems.first, key=lambda found: (order.index(found.file), found.line or 0)))


def readable(row: FileRow) -> bool:
    """Whether the cells of a row stand in the columns where they belong, so that it is worth reading on."""
    return not row.mistakes or all(mistake.column is not None for mistake in row.mistakes)


def join_mistakes(mistakes: list[Mistake], error: RowError) -> None:
    """Add what is wrong with the values of columns that nothing was said of yet."""
    columns = {mistake.column for mistake in mistakes}
    mistakes += [mistake for mistake in error.mistakes if mistake.column not in columns]


def repeated(column: str, key: int | str, line: int) -> Mistake:
    """Return the mistake of a key that an earlier row has; ``line`` is that row's."""
    return Mistake(column, str(key), f"it stands on line {line} already; once is wanted")


def not_there(what: str, key: int, bad_lines: Mapping[int, int]) -> str:
    """Return the text for a row that names a client or account that does not exist.

    ``bad_lines`` maps the keys of the bad rows to their lines.
    """
    if key in bad_lines:
        return f"the {what} on line {bad_lines[key]} has mistakes of its own and is left out"
    return f"there is no such {what}, neither in the {what}s of this book nor in the store"


def row_mark(table: Table, key: int | str) -> bytes:
    """Return the key under which the scratch file keeps the line of a row."""
    initial = table.name[0].encode()
    return initial + (key.to_bytes(8, "big") if isinstance(key, int) else key.encode())


def few_named(named: tuple[int | str, ...], total: int) -> str:
    """Return the first five of ``named``, with an ellipsis if there are more in all."""
    return ", ".join(map(str, named[:5])) + (", …" if total > 5 else "")
