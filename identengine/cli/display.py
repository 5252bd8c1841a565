"""The lists of a table's rows: columns to choose, their order, and the rows as a table, CSV or JSON.

A family of commands describes the columns of its list by a :class:`Display`. The columns of the book's table are
added to them. Rule: CSV has columns of the book alone where a column of the list stands for them, so that
``accounts edit --from`` and an import read it.
"""

from __future__ import annotations

import csv
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, ClassVar, Generic, NamedTuple, TypeVar

import typer

from identengine.cli.csvcells import csv_cells
from identengine.cli.optionsets import OptionSet
from identengine.cli.output import SCREEN, Column, emit_many, hint, is_compact, progress, table
from identengine.errors import expected, nearest, sentences
from identengine.model.records import Account, BookRow, Client, Did
from identengine.provisioning.changes import shown
from identengine.provisioning.sorting import Key, Order, ordered, value_key

if TYPE_CHECKING:
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

R = TypeVar("R", bound=BookRow)

Facts = Iterable[tuple[str, str | None]]
"""Name and value of each fact, one a line. Facts without a value (None) are omitted."""

PASSWORD = "password"  # noqa: S105 - the name of a column
_NUMBERS = ("id", "client_id", "account_id", "parent_id", "capacity", "cps", "port")
"""Ends of the names of columns with numbers, which are aligned to the right."""
_LEAST = 8
"""Width to which a narrow terminal reduces a column of text."""


@dataclass(frozen=True)
class Shape(OptionSet):
    """The options of every list: its order, its columns and its form."""

    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Sort by this column: COLUMN, or -COLUMN or COLUMN:desc for descending. Several: with commas.",
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS", help="Show these columns, with commas: columns of the list, or of the book's table."
        ),
    ] = None
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print CSV with the columns of the book, for spreadsheets and edit --from. No passwords."
        ),
    ] = False


class Page(NamedTuple):
    """The part of a list that is shown. ``limit`` is None without an option, and 0 for all rows."""

    limit: int | None
    offset: int


class Field(NamedTuple, Generic[R]):
    """A column of a list."""

    column: Column
    cell: Callable[[R], str]
    key: Callable[[R], Key]
    book: tuple[str, ...] = ()
    """Columns of the book for which it stands in CSV. Without any, CSV has the same text."""


class Display(ABC, Generic[R]):
    """The display of the rows of one table, for one version of the book."""

    record: ClassVar[type[Client | Account | Did]]
    noun: ClassVar[str]
    """Name of one row in messages."""

    def __init__(self, book: Snapshot) -> None:
        self.book = book

    @abstractmethod
    def every(self) -> Iterator[R]:
        """Yield all rows of the table in order of keys, and show a progress bar if they are many."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of rows of the table."""

    @abstractmethod
    def own(self, *, compact: bool) -> dict[str, Field[R]]:
        """Return the columns that the list of this table adds to those of the book, by name.

        ``compact`` is True for a terminal that is not wide. The list may have fewer columns then.
        """

    @abstractmethod
    def usual(self, *, compact: bool) -> Sequence[str]:
        """Return the names of the columns of a list without ``--columns``."""

    @abstractmethod
    def as_object(self, row: R) -> dict[str, object]:
        """Return a row for JSON, with inherited values."""

    @abstractmethod
    def details(self, opened: Store, row: R) -> tuple[dict[str, object], Facts]:
        """Return more facts about a row: an addition to :meth:`as_object` for JSON, and all facts as text."""

    @abstractmethod
    def has_words(self, words: Sequence[str]) -> Callable[[R], bool]:
        """Return a function that returns True if every word occurs in a row."""

    def fields(self, *, compact: bool = False) -> dict[str, Field[R]]:
        """Return all columns that a list of this table can show, by name."""
        found: dict[str, Field[R]] = {name: book_field(name) for name in self.record.__struct_fields__}
        return found | self.own(compact=compact)


def book_field(name: str, key: Callable[[R], Key] | None = None) -> Field[R]:
    """Return the column of a list that shows a column of the book."""
    column = Column(name, right=name.endswith(_NUMBERS), firm=name in ("ident", "number"), least=_LEAST)
    if name == PASSWORD:
        return Field(column, lambda row: "set" if getattr(row, name) else "not set", lambda row: None, (name,))
    return Field(
        column,
        lambda row: shown(getattr(row, name)),
        key or (lambda row: value_key(getattr(row, name))),
        (name,),
    )


def watched(rows: Iterator[R], what: str, total: int, step: int) -> Iterator[R]:
    """Yield the rows, and update a progress bar after each ``step`` rows."""
    with progress(what) as tell:
        for done, row in enumerate(rows, 1):
            if done % step == 0:
                tell(done, total)
            yield row


def show_rows(
    display: Display[R],
    rows: Iterator[R],
    page: Page,
    shape: Shape,
    *,
    filtered: bool,
    as_json: bool,
) -> int:
    """Print rows as a table, as CSV or as JSON. Return their number.

    ``filtered`` is True if a filter may have excluded rows. Raise BadParameter for an unknown column.
    """
    if shape.csv and as_json:
        raise typer.BadParameter("expected one of --csv and --json, got both", param_hint="--csv")
    compact = is_compact()
    fields = display.fields(compact=compact)
    names = None if shape.columns is None else _names(shape.columns, fields, "--columns")
    orders = _orders(shape.sort, fields)
    if as_json:
        return _print_json(display, fields, names, _Rows(rows, orders, page))
    if shape.csv:
        return _print_csv(display, fields, names, _Rows(rows, orders, page))
    if page.limit is None and sys.stdout.isatty():
        page = page._replace(limit=SCREEN)
    shown_rows = _Rows(rows, orders, page)
    chosen = [fields[name] for name in names or display.usual(compact=compact)]
    cells = [field.cell for field in chosen]
    count = table([field.column for field in chosen], ([cell(row) for cell in cells] for row in shown_rows))
    if count and page.limit and (more := shown_rows.more(None if filtered else display.total)):
        hint(
            f"{more:,} more row{'s' * (more > 1)}; --offset {page.offset + page.limit} shows the next rows,"
            " --limit 0 shows all"
        )
    return count


class _Rows(Generic[R]):
    """The rows of a page, in their order. It counts the rows that follow the page."""

    def __init__(self, rows: Iterator[R], orders: Sequence[Order], page: Page) -> None:
        self._rows = self._counted(rows)
        self._orders = orders
        self._limit = page.limit or None
        self._offset = page.offset
        self._count = 0

    def __iter__(self) -> Iterator[R]:
        end = None if self._limit is None else self._offset + self._limit
        rows = ordered(self._rows, self._orders, end) if self._orders else self._rows
        return islice(rows, self._offset, end)

    def more(self, total: int | None) -> int:
        """Return the number of rows after the page. ``total`` is the number of all rows if it is known."""
        if self._limit is None:
            return 0
        if total is None:
            for _ in self._rows:
                pass
            total = self._count
        return max(total - self._offset - self._limit, 0)

    def _counted(self, rows: Iterator[R]) -> Iterator[R]:
        for row in rows:
            self._count += 1
            yield row


def _print_json(
    display: Display[R], fields: dict[str, Field[R]], names: Sequence[str] | None, rows: _Rows[R]
) -> int:
    if names is None:
        return emit_many(display.as_object(row) for row in rows)
    return emit_many({name: _json_value(display, fields[name], name, row) for name in names} for row in rows)


def _json_value(display: Display[R], field: Field[R], name: str, row: R) -> object:
    if field.book == (name,):
        value = getattr(row, name)
        return value is not None if name == PASSWORD else value
    return str(field.cell(row)) or None


def _print_csv(
    display: Display[R], fields: dict[str, Field[R]], names: Sequence[str] | None, rows: _Rows[R]
) -> int:
    """Print RFC 4180. Without names, print all columns of the book but the password."""
    if names is None:
        chosen = [name for name in display.record.__struct_fields__ if name != PASSWORD]
    else:
        chosen = list(dict.fromkeys(each for name in names for each in fields[name].book or (name,)))
    if PASSWORD in chosen:
        raise typer.BadParameter(
            sentences(expected("columns without password"), "Use `identengine export`, which encrypts passwords."),
            param_hint="--columns",
        )
    computed = {name: fields[name].cell for name in chosen if name not in display.record.__struct_fields__}
    writer = csv.writer(sys.stdout)
    writer.writerow(chosen)
    count = 0
    for row in rows:
        count += 1
        cells = csv_cells(row)
        writer.writerow([computed[name](row) if name in computed else cells[name] for name in chosen])
    return count


def _names(text: str, fields: dict[str, Field[R]], option: str) -> list[str]:
    """Return the names of columns in the value of an option. Raise BadParameter for an unknown one."""
    names = list(dict.fromkeys(_plain(part) for part in text.split(",") if part.strip()))
    for name in names:
        if name not in fields:
            raise typer.BadParameter(
                sentences(
                    expected("a column", name, meant=nearest(name, fields)),
                    f"The columns are {', '.join(fields)}.",
                ),
                param_hint=option,
            )
    if not names:
        raise typer.BadParameter(expected("a column", text), param_hint=option)
    return names


def _plain(title: str) -> str:
    """Return the name of a column from its name or title, in any case and with blanks."""
    return title.strip().lower().replace(" ", "_")


def _orders(text: str | None, fields: dict[str, Field[R]]) -> list[Order]:
    """Return the columns to sort by. Raise BadParameter."""
    orders = []
    for part in () if text is None else text.split(","):
        name, _, direction = part.strip().partition(":")
        if direction.lower() not in ("", "asc", "desc"):
            raise typer.BadParameter(
                expected('"asc" or "desc" after the colon', direction, meant=nearest(direction, ("asc", "desc"))),
                param_hint="--sort",
            )
        descending = name.startswith("-") is not (direction.lower() == "desc")
        (column,) = _names(name.removeprefix("-"), fields, "--sort")
        orders.append(Order(fields[column].key, descending))
    return orders
