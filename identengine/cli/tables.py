"""The commands that accounts, clients and DIDs share to show rows: list, search and show.

A family of commands describes its table by a :class:`Table` and shows its rows by a :class:`Display`.
:func:`add_commands` creates the commands. Commands and filters of one family alone are defined in its own module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar

import typer

from identengine.cli import output
from identengine.cli.editing import mistakes_located
from identengine.cli.filters import Filters
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir
from identengine.cli.output import (
    NO_VERSIONS,
    Column,
    emit,
    emit_many,
    facts,
    hint,
    none_shown,
    progress,
    screenful,
)
from identengine.cli.workspace import find_workspace
from identengine.model.records import BookRow

if TYPE_CHECKING:
    from identengine.provisioning.rows import Rows
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

R = TypeVar("R", bound=BookRow)

Facts = Iterable[tuple[str, str | None]]
"""Name and value of each fact, one a line. Facts without a value (None) are omitted."""


class Display(ABC, Generic[R]):
    """The display of the rows of one table, for one version of the book."""

    columns: ClassVar[tuple[Column, ...]]

    def __init__(self, book: Snapshot) -> None:
        self.book = book

    @abstractmethod
    def every(self) -> Iterator[R]:
        """Yield all rows of the table in order of keys, and show a progress bar if they are many."""

    @abstractmethod
    def line(self, row: R) -> Sequence[str]:
        """Return the cells of a row, one for each of :attr:`columns`."""

    @abstractmethod
    def as_object(self, row: R) -> dict[str, object]:
        """Return a row for JSON, with inherited values."""

    @abstractmethod
    def details(self, opened: Store, row: R) -> tuple[dict[str, object], Facts]:
        """Return more facts about a row: an addition to :meth:`as_object` for JSON, and all facts as text."""

    @abstractmethod
    def has_words(self, words: Sequence[str]) -> Callable[[R], bool]:
        """Return a function that returns True if every word occurs in a row."""


class Table(NamedTuple, Generic[R]):
    """The description of one table by its family of commands."""

    family: str
    """Name of the family of commands: ``accounts``."""
    noun: str
    """Name of one row in messages."""
    metavar: str
    """Name of one row in the usage of a command."""
    key_help: str
    columns_help: str
    display: Callable[[Snapshot], Display[R]]
    rows: Callable[[], Rows[R]]
    """Function that imports the rows for edits, whose modules import heavy libraries, and returns them."""
    filters: type[Filters[R]]
    show_help: str
    add_help: str
    set_help: str
    edit_help: str
    remove_help: str
    search_help: str = ""
    keeps_ids: bool = False
    """True if a new row gets the id of a removed one only with ``--reuse-id`` (engine.md 9.5)."""
    has_passwords: bool = False
    """True if the table has the column ``password``."""


@contextmanager
def reading(store: Path | None, config: Path | None) -> Iterator[tuple[Store, Snapshot]]:
    """Yield the store that the options name, opened for reading, and its newest version."""
    with mistakes_located(), find_workspace(store, config).open(readonly=True) as opened, opened.read() as book:
        yield opened, book


def watched(rows: Iterator[R], what: str, total: int, step: int) -> Iterator[R]:
    """Yield the rows, and update a progress bar after each ``step`` rows."""
    with progress(what) as tell:
        for done, row in enumerate(rows, 1):
            if done % step == 0:
                tell(done, total)
            yield row


def show_rows(
    table: Table[R],
    display: Display[R],
    rows: Iterator[R],
    limit: int | None,
    offset: int,
    *,
    filtered: bool,
    as_json: bool,
) -> None:
    """Print rows as a table or as JSON. ``filtered`` is True if a filter may have excluded all rows."""
    if as_json:
        emit_many(display.as_object(row) for row in islice(rows, offset, offset + limit if limit else None))
    elif not output.table(display.columns, (display.line(row) for row in screenful(rows, limit, offset))):
        if not display.book.version:
            hint(NO_VERSIONS)
        else:
            none_shown(table.noun, "matches" if filtered else f"in version {display.book.version}", offset)


def add_commands(
    app: typer.Typer,
    table: Table[R],
    *,
    listing: Callable[..., None],
    search: Callable[..., None] | None = None,
) -> None:
    """Add the commands of a family that show rows.

    ``listing`` is the command ``list`` with the filters of the family. ``search`` replaces the search for words.
    """
    app.command("list")(listing)
    if search is not None:
        app.command("search")(search)
    else:
        _add_search(app, table)
    _add_show(app, table)


def _add_search(app: typer.Typer, table: Table[R]) -> None:
    words_argument = typer.Argument(metavar="TEXT", help="Words that the row must contain, all of them.")

    @app.command(help=table.search_help)
    def search(
        text: list[str] = words_argument,
        limit: Limit = None,
        offset: Offset = 0,
        store: StoreDir = None,
        config: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        with reading(store, config) as (_, book):
            display = table.display(book)
            fits = display.has_words([word for part in text for word in part.split()])
            show_rows(table, display, filter(fits, display.every()), limit, offset, filtered=True, as_json=as_json)


def _add_show(app: typer.Typer, table: Table[R]) -> None:
    key_argument = _key_argument(table)

    @app.command(help=table.show_help)
    def show(
        key: str = key_argument,
        store: StoreDir = None,
        config: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        with reading(store, config) as (opened, book):
            first, *others = table.rows().find_all(book, key)
            display = table.display(book)
            if others:
                show_rows(table, display, iter([first, *others]), None, 0, filtered=False, as_json=as_json)
                return
            more, known = display.details(opened, first)
            if as_json:
                emit(display.as_object(first) | more)
            else:
                facts(known)


def _key_argument(table: Table[R]) -> str:
    argument: str = typer.Argument(metavar=table.metavar, help=table.key_help)
    return argument
