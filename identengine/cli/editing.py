"""One edit of the book from the command line: its arguments, the version that it makes, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from identengine.book.mistakes import Mistake, RowError, unknown_column
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import Workspace, author
from identengine.errors import LoadError, Problem
from identengine.model.records import Account, Client, Did
from identengine.provisioning.changes import change_object, told, verb

if TYPE_CHECKING:
    from identengine.provisioning.edits import Applied, Edit

PLACE = "command line"
"""What stands for the file in a located mistake."""
TOLD = 100
"""How many changes are told one by one."""


def cells_in(arguments: Sequence[str], record: type[Client | Account | Did]) -> dict[str, str]:
    """Return the cells that ``COLUMN=VALUE`` arguments name; others are wrong usage, and all of it is told.

    A password is refused: what stands on a command line can be read by everybody on the machine.
    """
    columns = record.__struct_fields__
    found: dict[str, str] = {}
    wrong: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        column = name.strip()
        if not equals:
            wrong.append(f"{argument!r}: COLUMN=VALUE is wanted (name=Acme); an empty value clears")
        elif column not in columns:
            wrong.append(f"{name}: {unknown_column(name, columns)}")
        elif column in found:
            wrong.append(f"{column} {value!r}: each column may be given once")
        elif column == "password":
            wrong.append("password: is not taken here, where others can read it; use `accounts password set`")
        else:
            found[column] = value
    if wrong:
        raise typer.BadParameter("; ".join(wrong), param_hint="COLUMN=VALUE")
    return found


@contextmanager
def mistakes_located() -> Iterator[None]:
    """Raise a RowError of the block as LoadError, so that it is told as an import tells its mistakes."""
    try:
        yield
    except RowError as error:
        raise LoadError(_located(error.mistakes)) from error


def change(here: Workspace, who: str | None, what: str, edit: Edit, *, dry_run: bool = False) -> Applied:
    """Apply ``edit`` as one version. Any error leaves the book as it was; RowError becomes LoadError."""
    from identengine.provisioning.edits import apply

    with mistakes_located(), here.open() as opened:
        return apply(opened, author(who), what, edit, dry_run=dry_run)


def report(done: Applied, *, as_json: bool) -> None:
    """Say what was done and in which version; warnings go to standard error."""
    if as_json:
        emit(_document(done))
        return
    for warning in _located(done.warnings):
        hint(f"warning: {warning}")
    if done.version is None:
        say("nothing to change")
        return
    say(f"version {done.version}")
    _tell(done)


def would(done: Applied, *, as_json: bool) -> NoReturn:
    """Say what would be done, and end with 1 since it was not."""
    if as_json:
        emit(_document(done) | {"dry_run": True, "needs_yes": True})
    else:
        _tell(done, "would be ")
        hint("nothing was changed; with --yes it is done")
    raise typer.Exit(1)


def _document(done: Applied) -> dict[str, object]:
    return {
        "version": done.version,
        "changes": [change_object(change) for change in done.changes],
        "warnings": _located(done.warnings),
    }


def _tell(done: Applied, would_be: str = "") -> None:
    for change in done.changes[:TOLD]:
        line = f"{change.table} {change.key} {would_be}{verb(change)}"
        if change.before is not None and change.after is not None:
            line += f": {told(change)}"
        elif name := getattr(change.after or change.before, "name", None):
            line += f": {name}"
        say(line)
    if (more := len(done.changes) - TOLD) > 0:
        say(f"and {more} more")


def _located(mistakes: Sequence[Mistake]) -> list[Problem]:
    return [Problem(PLACE, None, one.column, one.value, one.expected) for one in mistakes]
