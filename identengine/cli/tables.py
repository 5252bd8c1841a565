"""The commands that accounts, clients and DIDs share to show rows: list, search and show.

A family of commands describes its table by a :class:`Table` and shows its rows by a :class:`Display`.
:func:`add_commands` creates the commands. Commands and filters of one family alone are defined in its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import typer

from identengine.cli.display import Display, Page, Shape, show_rows
from identengine.cli.editing import mistakes_located
from identengine.cli.filters import Filters
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir
from identengine.cli.optionsets import spread
from identengine.cli.output import NO_VERSIONS, emit, facts, hint, none_shown
from identengine.cli.workspace import find_workspace
from identengine.errors import expected
from identengine.model.records import BookRow
from identengine.provisioning.search import words_in

if TYPE_CHECKING:
    from identengine.provisioning.rows import Rows
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

R = TypeVar("R", bound=BookRow)


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
    search_help: str
    show_help: str
    add_help: str
    set_help: str
    edit_help: str
    remove_help: str
    keeps_ids: bool = False
    """True if a new row gets the id of a removed one only with ``--reuse-id`` (engine.md 9.5)."""
    has_passwords: bool = False
    """True if the table has the column ``password``."""


@contextmanager
def reading(store: Path | None, config: Path | None) -> Iterator[tuple[Store, Snapshot]]:
    """Yield the store that the options name, opened for reading, and its newest version."""
    with mistakes_located(), find_workspace(store, config).open(readonly=True) as opened, opened.read() as book:
        yield opened, book


def show_list(
    display: Display[R],
    rows: Iterator[R],
    page: Page,
    shape: Shape,
    *,
    filtered: bool,
    as_json: bool,
) -> None:
    """Print rows as :func:`show_rows` does. Hint at an empty list. ``filtered`` is True if a filter was used."""
    if show_rows(display, rows, page, shape, filtered=filtered, as_json=as_json) or as_json:
        return
    if not display.book.version:
        hint(NO_VERSIONS)
    else:
        none_shown(display.noun, "matches" if filtered else f"in version {display.book.version}", page.offset)


def add_commands(app: typer.Typer, table: Table[R], *, listing: Callable[..., None]) -> None:
    """Add the commands of a family that show rows. ``listing`` is ``list`` with the filters of the family."""
    app.command("list")(listing)
    _add_search(app, table)
    _add_show(app, table)


def _add_search(app: typer.Typer, table: Table[R]) -> None:
    words_argument = typer.Argument(metavar="TEXT", help="Words that the row must contain, all of them.")

    @app.command(help=table.search_help)
    @spread
    def search(
        shape: Shape,
        text: list[str] = words_argument,
        limit: Limit = None,
        offset: Offset = 0,
        store: StoreDir = None,
        config: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        words = words_in(text)
        if not words:
            raise typer.BadParameter(expected("a word to search for", " ".join(text)), param_hint="TEXT")
        with reading(store, config) as (_, book):
            display = table.display(book)
            kept = filter(display.has_words(words), display.every())
            show_list(display, kept, Page(limit, offset), shape, filtered=True, as_json=as_json)


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
                show_list(display, iter([first, *others]), Page(None, 0), Shape(), filtered=True, as_json=as_json)
                return
            more, known = display.details(opened, first)
            if as_json:
                emit(display.as_object(first) | more)
            else:
                facts(known)


def _key_argument(table: Table[R]) -> str:
    argument: str = typer.Argument(metavar=table.metavar, help=table.key_help)
    return argument
