"""The commands that accounts, clients and DIDs share to change rows: add, set, edit and remove.

Each changes one row or many as one version. Rule: more than 100 rows change only with ``--yes`` (interfaces.md 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer

from identengine.cli.columnargs import cells_in, columns_in
from identengine.cli.editing import EditOptions, chosen, described, report, run_edit
from identengine.cli.filters import Filters
from identengine.cli.options import KeyFile, ReuseId
from identengine.cli.optionsets import spread
from identengine.cli.tables import Table
from identengine.cli.workspace import find_workspace
from identengine.model.records import BookRow

R = TypeVar("R", bound=BookRow)

FROM_HELP = (
    "File of the rows and the columns to change, as a table of a book: .csv or .jsonl (also .gz)."
    " - reads standard input."
)


def bulk(command: Callable[..., None], filters: type[Filters[Any]]) -> Callable[..., None]:
    """Return a command whose parameter ``filters`` takes the filters of a table as options."""
    command.__annotations__["filters"] = filters
    return spread(command)


def add_edits(app: typer.Typer, table: Table[R], *, own: Sequence[Callable[..., None]] = ()) -> None:
    """Add the commands of a family that change rows, in the order of its help. ``own`` holds further ones."""
    _add_new(app, table)
    _add_changes(app, table)
    for command in own:
        app.command()(command)
    _add_removal(app, table)


def _add_new(app: typer.Typer, table: Table[R]) -> None:
    """Add the command ``add``."""
    columns_argument: list[str] = typer.Argument(metavar="COLUMN=VALUE", help=table.columns_help)

    def add(*, columns: list[str] = columns_argument, options: EditOptions) -> None:
        add_with_id(columns=columns, reuse_id=False, options=options)

    def add_with_id(
        *, columns: list[str] = columns_argument, reuse_id: ReuseId = False, options: EditOptions
    ) -> None:
        from identengine.provisioning import edits

        rows = table.rows()
        edit = edits.add(rows, cells_in(columns, rows.record), reuse_id=reuse_id)
        report(run_edit(options, f"{table.family} add", edit), options)

    app.command("add", help=table.add_help)(spread(add_with_id if table.keeps_ids else add))


def _add_changes(app: typer.Typer, table: Table[R]) -> None:
    """Add the commands ``set`` and ``edit``."""
    metavar = f"[{table.metavar}]... COLUMN=VALUE..."
    arguments_argument: list[str] = typer.Argument(metavar=metavar, help=f"{table.key_help} {table.columns_help}")
    file_option: Path = typer.Option(..., "--from", metavar="FILE", help=FROM_HELP)

    def set_columns(
        *, arguments: list[str] = arguments_argument, filters: Filters[R], options: EditOptions
    ) -> None:
        from identengine.provisioning import edits

        rows = table.rows()
        here = options.workspace()

        def is_name(text: str) -> bool:
            folded = text.strip().casefold()
            with here.open(readonly=True) as opened, opened.read() as book:
                return any(getattr(row, "name", "").casefold() == folded for row in rows.every(book))

        keys, cells, items = columns_in(arguments, rows.record, is_name)
        edit = edits.set_columns(rows, chosen(rows, keys, filters), cells, items)
        report(run_edit(options, described(f"{table.family} set", keys, filters), edit, here=here), options)

    def edit_rows(*, file: Path = file_option, options: EditOptions, key_file: KeyFile = None) -> None:
        from identengine.book.spooled import table_file
        from identengine.provisioning.fileedit import edit_from, table_of

        rows = table.rows()
        here = find_workspace(options.store, options.config, key_file)
        with table_file(file, table_of(rows)) as source:
            edit = edit_from(rows, source, here.vault_to_write if table.has_passwords else None)
            report(run_edit(options, f"{table.family} edit --from {file}", edit, here=here), options)

    app.command("set", help=table.set_help)(bulk(set_columns, table.filters))
    app.command("edit", help=table.edit_help)(spread(edit_rows))


def _add_removal(app: typer.Typer, table: Table[R]) -> None:
    """Add the command ``remove``."""
    keys_argument: list[str] | None = typer.Argument(None, metavar=f"[{table.metavar}]...", help=table.key_help)

    def remove(*, keys: list[str] | None = keys_argument, filters: Filters[R], options: EditOptions) -> None:
        from identengine.provisioning import edits

        rows = table.rows()
        edit = edits.remove(rows, chosen(rows, keys or (), filters))
        what = described(f"{table.family} remove", keys or (), filters)
        report(run_edit(options, what, edit, asks=True), options)

    app.command("remove", help=table.remove_help)(bulk(remove, table.filters))
