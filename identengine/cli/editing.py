"""One edit of the book from the command line: its arguments, the version that it creates, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from identengine.book.mistakes import Mistake, RowError, unknown_column
from identengine.cli.findings import hint_findings
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import Workspace, author
from identengine.errors import LoadError, Problem, expected, quoted, sentences
from identengine.model.records import Account, Client, Did
from identengine.provisioning.changes import change_object, summary, verb
from identengine.provisioning.listing import NotFoundError, TableName

if TYPE_CHECKING:
    from identengine.provisioning.edits import Applied, Edit

PLACE = "command line"
"""Location of a mistake in an argument, in place of the name of a file."""
LISTED = 100
"""Largest number of changes that a report lists."""
_FAMILIES: dict[TableName, str] = {"account": "accounts", "client": "clients", "DID": "dids"}
"""The family of commands of each table."""


def cells_in(arguments: Sequence[str], record: type[Client | Account | Did]) -> dict[str, str]:
    """Return the cells of ``COLUMN=VALUE`` arguments. Raise BadParameter, which names every mistake.

    A password is refused, since every user of the machine can read command lines.
    """
    columns = record.__struct_fields__
    found: dict[str, str] = {}
    wrong: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        column = name.strip()
        if not equals:
            wrong.append(expected("COLUMN=VALUE, for example name=Acme", argument))
        elif column not in columns:
            wrong.append(f"{name}: {unknown_column(name, columns)}")
        elif column in found:
            wrong.append(f"{column}: expected once, got a second value, {quoted(value)}")
        elif column == "password":
            wrong.append(
                "password: other users can read command lines. Use `identengine accounts password set` instead."
            )
        else:
            found[column] = value
    if wrong:
        raise typer.BadParameter("; ".join(wrong), param_hint="COLUMN=VALUE")
    return found


@contextmanager
def mistakes_located() -> Iterator[None]:
    """Raise a RowError of the block as LoadError, so that it is printed like the mistakes of an import."""
    from identengine.provisioning.rows import ExistsError

    try:
        yield
    except ExistsError as error:
        remedy = f"Use `identengine {_FAMILIES[error.table]} set {error.key}` to change it."
        located = [
            Problem(one.file, one.line, one.column, one.value, sentences(one.expected, remedy))
            for one in _located(error.mistakes)
        ]
        raise LoadError(located) from error
    except RowError as error:
        raise LoadError(_located(error.mistakes)) from error


def advice(error: NotFoundError) -> str:
    """Return the remedy: a command that shows rows to choose from; empty if the message itself shows them."""
    if error.resolved:
        return ""
    family = _FAMILIES[error.table]
    if error.table == "DID":
        # A typing error is most likely in the last digits.
        return f"Use `identengine {family} search {error.wanted[:-2] or error.wanted}` to show similar numbers."
    return f"Use `identengine {family} list` to show all."


def change(here: Workspace, who: str | None, what: str, edit: Edit, *, dry_run: bool = False) -> Applied:
    """Apply ``edit`` as one version. Raise LoadError for a mistake. Any error leaves the book unchanged."""
    from identengine.provisioning.edits import apply
    from identengine.provisioning.findings import scope_for

    with mistakes_located(), here.open() as opened:
        return apply(opened, author(who), what, edit, dry_run=dry_run, scope=scope_for(here.config))


def report(done: Applied, *, as_json: bool) -> None:
    """Print the version and the changes of an edit. Warnings go to standard error."""
    if as_json:
        emit(_document(done))
        return
    _print_warnings(done)
    if done.version is None:
        say("nothing to change")
        return
    say(f"version {done.version}")
    _print_changes(done)


def would(done: Applied, *, as_json: bool) -> NoReturn:
    """Print the changes that an edit would make, and exit with 1, since it was not applied."""
    if as_json:
        emit(_document(done) | {"dry_run": True, "needs_yes": True})
    else:
        _print_changes(done, "would be ")
        hint_findings(done.findings)
        hint("Nothing was changed. Repeat with --yes to apply.")
    raise typer.Exit(1)


def _document(done: Applied) -> dict[str, object]:
    return {
        "version": done.version,
        "changes": [change_object(change) for change in done.changes],
        "warnings": _located(done.warnings),
        "findings": done.findings,
    }


def _print_warnings(done: Applied) -> None:
    """Print warnings, and the findings that no warning has told already."""
    for warning in _located(done.warnings):
        hint(f"warning: {warning}")
    told = [warning.expected for warning in done.warnings]
    hint_findings([one for one in done.findings if not any(text in one.message for text in told)])


def _print_changes(done: Applied, would_be: str = "") -> None:
    for change in done.changes[:LISTED]:
        line = f"{change.table} {change.key} {would_be}{verb(change)}"
        if change.before is not None and change.after is not None:
            line += f": {summary(change)}"
        elif name := getattr(change.after or change.before, "name", None):
            line += f": {name}"
        say(line)
    if (more := len(done.changes) - LISTED) > 0:
        say(f"and {more} more")


def _located(mistakes: Sequence[Mistake]) -> list[Problem]:
    return [Problem(PLACE, None, one.column, one.value, one.expected) for one in mistakes]
