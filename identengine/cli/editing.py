"""One edit of the book from the command line: its rows, the version that it creates, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.book.mistakes import Mistake, RowError
from identengine.cli.filters import Filters
from identengine.cli.findings import hint_findings
from identengine.cli.options import AsJson, ConfigFile, StoreDir, Who
from identengine.cli.optionsets import OptionSet
from identengine.cli.output import DIFF, emit, hint, say, table
from identengine.cli.workspace import Workspace, author, find_workspace
from identengine.errors import LoadError, Problem, counted, expected, sentences
from identengine.provisioning.changes import change_object, change_rows, summary, told, verb
from identengine.provisioning.listing import NotFoundError, TableName, listed

if TYPE_CHECKING:
    from identengine.provisioning.choices import Choice
    from identengine.provisioning.edits import Applied, Edit
    from identengine.provisioning.rows import R, Rows
    from identengine.store.format import Change

PLACE = "command line"
"""Location of a mistake in an argument, in place of the name of a file."""
LISTED = 100
"""Largest number of rows whose changes are printed as text."""
_SHOWN = 10
"""Rows that the report of an edit prints if it changed more than :data:`_FEW`, and fields that it loosens."""
_FEW = 20
"""Largest number of rows whose changes are all printed after an edit."""
_FAMILIES: dict[TableName, str] = {"account": "accounts", "client": "clients", "DID": "dids"}
"""The family of commands of each table."""
_NAMED = 5
"""Rows that the message about an edit of many rows names."""
_VERBS = {"added": "add", "changed": "change", "disabled": "disable", "removed": "remove"}
"""The infinitive of each kind of change."""
_NOUNS = {"account": "account", "client": "client", "did": "DID"}
"""The noun of each table of a change."""


@dataclass(frozen=True)
class EditOptions(OptionSet):
    """The options of every command that edits rows."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, but show each field that would change.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", help="Apply the change even if it concerns more than 100 rows.")
    ] = False
    store: StoreDir = None
    config: ConfigFile = None
    who: Who = None
    as_json: AsJson = False

    def workspace(self) -> Workspace:
        """Return the store that the options name."""
        return find_workspace(self.store, self.config)


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


def chosen(rows: Rows[R], keys: Sequence[str], filters: Filters[R]) -> Choice[R]:
    """Return the choice of rows by their keys or by filters. Raise BadParameter for neither and for both."""
    from identengine.provisioning.choices import matching, named

    if keys and filters.is_set:
        options = " ".join(filters.words())
        raise typer.BadParameter(
            f"expected {_FAMILIES[rows.name]} or filters that select them, got both: {listed(keys)} and {options}"
        )
    if not keys and not filters.is_set:
        raise typer.BadParameter(
            f"expected {_FAMILIES[rows.name]} to change, or filters that select them, got neither. "
            f"`identengine {_FAMILIES[rows.name]} list --help` describes the filters."
        )
    for name, value in filters.used():
        if value == "":  # the unset variable of a script would select every row without a value
            raise typer.BadParameter(expected("a value", value), param_hint=name)
    return named(rows, keys) if keys else matching(rows, filters.rows)


def described(command: str, keys: Sequence[str], filters: Filters[R]) -> str:
    """Return the description of an edit for the list of versions and the audit log."""
    return f"{command} {listed(keys) if keys else ' '.join(filters.words())}"


def run_edit(
    options: EditOptions, what: str, edit: Edit, *, here: Workspace | None = None, asks: bool = False
) -> Applied:
    """Apply an edit as one version. Raise LoadError for a mistake. Any error leaves the book unchanged.

    An edit that ``asks`` is only tried without ``--yes``, and so is the edit of many rows.
    """
    from identengine.provisioning.edits import MANY, apply
    from identengine.provisioning.findings import scope_for

    here = here or options.workspace()
    allowed = None if options.yes else 0 if asks else MANY
    most = None if options.as_json else LISTED
    with mistakes_located(), here.open() as opened:
        return apply(
            opened,
            author(options.who),
            what,
            edit,
            dry_run=options.dry_run,
            most=most,
            allowed=allowed,
            scope=scope_for(here.config),
        )


def report(done: Applied, options: EditOptions) -> None:
    """Print the result of an edit. Raise Exit with status 1 if it needs ``--yes``."""
    if options.as_json:
        emit(document(done, options))
    else:
        print_report(done, options)
    refuse(done, options)


def refuse(done: Applied, options: EditOptions) -> None:
    """Raise Exit with status 1 if an edit was not applied because it needs ``--yes``."""
    if done.needs_yes and not options.dry_run:
        raise typer.Exit(1)


def document(done: Applied, options: EditOptions) -> dict[str, object]:
    """Return the result of an edit for JSON."""
    return {
        "version": done.version,
        "dry_run": options.dry_run or done.needs_yes,
        "needs_yes": done.needs_yes,
        "changes": [change_object(change) for change in done.changes],
        "loosens": done.loosens,
        "warnings": _located(done.warnings),
        "findings": done.findings,
    }


def print_report(done: Applied, options: EditOptions) -> None:
    """Print the version, the changes and the fields that an edit loosens. Warnings go to standard error."""
    warnings = _located(done.warnings)
    for warning in warnings:
        hint(f"warning: {warning}")
    if not done.total:
        say("nothing to change")
        return
    if options.dry_run:
        table(DIFF, (row for change in done.changes for row in change_rows(change)))
        _print_more(done.total - len(done.changes), "--json shows all.")
    elif done.needs_yes:
        _print_changes(done.changes[:_SHOWN], " would be")
        _print_more(done.total - _SHOWN, "--dry-run shows each field.")
    else:
        say(f"version {done.version}" + (f": {_totals(done)}" if done.total > _FEW else ""))
        first = done.changes[: done.total if done.total <= _FEW else _SHOWN]
        _print_changes(first)
        if done.version is not None:
            command = f"identengine diff {done.version - 1} {done.version}"
            _print_more(done.total - len(first), f"`{command}` shows all.")
    for one in done.loosens[:_SHOWN]:
        say(f"loosens: {one.table} {one.key}: {one.field} {told(one.before)} -> {told(one.after)}")
    if (more := done.loosens_count - _SHOWN) > 0:
        say(f"loosens: {more:,} more")
    hint_findings([one for one in done.findings if not any(each.expected in one.message for each in warnings)])
    if done.needs_yes:
        remedy = "This needs --yes." if options.dry_run else "Nothing was changed. Repeat with --yes to apply."
        hint(f"This would {_would(done)}. {remedy}")
    if options.dry_run:
        say("dry run: nothing was changed")


def _totals(done: Applied) -> str:
    """Return how many rows of each table an edit changed: ``300 accounts changed, 2 accounts disabled``."""
    return ", ".join(f"{counted(count, _NOUNS[table])} {word}" for table, word, count in done.counts)


def _would(done: Applied) -> str:
    """Return what an edit would do to how many rows: ``change 300 accounts (1, 2, 3, …)``."""
    kinds: dict[str, list[str]] = {}
    for table_name, word, count in done.counts:
        kinds.setdefault(_VERBS[word], []).append(counted(count, _NOUNS[table_name]))
    parts = [f"{verb_of} {' and '.join(rows)}" for verb_of, rows in kinds.items()]
    first = ", ".join(str(change.key) for change in done.changes[:_NAMED])
    return f"{', '.join(parts)} ({first}{', …' if done.total > _NAMED else ''})"


def _print_more(more: int, remedy: str) -> None:
    if more > 0:
        hint(sentences(f"and {counted(more, 'row')} more", remedy))


def _print_changes(changes: Sequence[Change], would_be: str = "") -> None:
    for change in changes:
        line = f"{change.table} {change.key}{would_be} {verb(change)}"
        if change.before is not None and change.after is not None:
            line += f": {summary(change)}"
        elif name := getattr(change.after or change.before, "name", None):
            line += f": {name}"
        say(line)


def _located(mistakes: Sequence[Mistake | Problem]) -> list[Problem]:
    return [one.located(PLACE, None) if isinstance(one, Mistake) else one for one in mistakes]
