"""``revert`` and ``rollback``: undo the changes of one version, or all changes since a version (engine.md 8.3)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.editing import mistakes_located
from identengine.cli.findings import hint_findings
from identengine.cli.options import AsJson, ConfigFile, StoreDir, Who, integer
from identengine.cli.optionsets import OptionSet, spread
from identengine.cli.output import DIFF, emit, hint, progress, say, table
from identengine.cli.workspace import author, find_workspace
from identengine.errors import counted
from identengine.provisioning.changes import change_object, change_rows, told
from identengine.store.format import Change, change_counts

if TYPE_CHECKING:
    from identengine.provisioning.undo import Progress, Undoing, Undone
    from identengine.store.versions import Store

    Work = Callable[[Store, int, str, Undoing, Undone, Progress], None]

_SHOWN = 100
"""Largest number of rows or fields of each kind that an undoing shows as text."""


@dataclass(frozen=True)
class UndoOptions(OptionSet):
    """The options of ``revert`` and ``rollback``."""

    remove: Annotated[
        bool,
        typer.Option(
            "--remove",
            help="Remove accounts and clients that were added. Default: disable the accounts, keep the clients.",
        ),
    ] = False
    passwords: Annotated[
        bool, typer.Option("--passwords", help="Restore passwords too. Default: they stay as they are.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, but show each field that would change.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", help="Apply the change even if it removes rows or lets more calls pass.")
    ] = False
    store: StoreDir = None
    config: ConfigFile = None
    who: Who = None
    as_json: AsJson = False


@spread
def revert(
    version: Annotated[int, typer.Argument(parser=integer(1), metavar="N", help="The version to undo.")],
    options: UndoOptions,
) -> None:
    """Undo what version N alone changed, as a new version. Later changes of the same fields stay.

    Example: identengine revert 3 --store STORE --dry-run
    """
    from identengine.provisioning.undo import revert

    _undo(revert, version, f"reverts version {version}", options)


@spread
def rollback(
    version: Annotated[int, typer.Argument(parser=integer(1), metavar="N", help="The version to restore.")],
    options: UndoOptions,
) -> None:
    """Restore what version N held, as a new version. All changes since then are undone.

    Example: identengine rollback 3 --store STORE --dry-run
    """
    from identengine.provisioning.undo import roll_back

    _undo(roll_back, version, f"restores version {version}", options)


def _undo(work: Work, version: int, verb: str, options: UndoOptions) -> None:
    """Undo, and print the result. Exit with 1 if it was refused."""
    from identengine.provisioning.findings import scope_for
    from identengine.provisioning.undo import Undoing, Undone

    choices = Undoing(options.remove, options.passwords, options.dry_run, options.yes)
    here, name = find_workspace(options.store, options.config), author(options.who)
    scope = scope_for(here.config)
    undone = Undone(None, _as_json, scope) if options.as_json else Undone(_SHOWN, scope=scope)
    with mistakes_located(), here.open() as opened, progress("undo") as tell:
        work(opened, version, name, choices, undone, lambda rows: tell(rows, None))
    if options.as_json:
        emit(_document(undone, choices))
    else:
        _print_text(undone, choices, verb)
    if undone.refused and not choices.dry_run:
        raise typer.Exit(1)


def _as_json(change: Change) -> object:
    """Return a change as JSON text, which needs less memory than objects."""
    return msgspec.Raw(msgspec.json.encode(change_object(change)))


def _document(undone: Undone, choices: Undoing) -> dict[str, object]:
    made = {} if undone.info is None else msgspec.structs.asdict(undone.info)
    return {
        "version": None,
        **made,
        "dry_run": choices.dry_run,
        "needs_yes": undone.refused,
        "restored": undone.restored,
        "changes": undone.changes,
        "removes": undone.removed.done().first,
        "removes_count": undone.removed.total,
        "loosens": undone.loosens.done(),
        "loosens_count": undone.loosens.total,
        "held_closed": (),
        "left": undone.left.done(),
        "left_count": undone.left.total,
        "findings": undone.findings,
    }


def _print_text(undone: Undone, choices: Undoing, verb: str) -> None:
    if undone.restored:
        hint("The store is damaged. Only the exact version can be restored: its passwords too, and no later rows.")
    if undone.info is None:
        changes = [change for change in undone.changes if isinstance(change, Change)]
        table(DIFF, (row for change in changes for row in change_rows(change)))
        if (more := undone.total - len(undone.changes)) > 0:
            hint(f"and {counted(more, 'row')} more. --json shows all.")
    for row in undone.removed.done().first[:_SHOWN]:
        say(f"removes: {row}")
    if (more := undone.removed.total - _SHOWN) > 0:
        say(f"removes: {more:,} more")
    for word, fields in (("loosens", undone.loosens), ("left", undone.left)):
        for one in islice(fields.done(), _SHOWN):
            say(f"{word}: {one.table} {one.key}: {one.field} {told(one.before)} -> {told(one.after)}")
        if (more := fields.total - _SHOWN) > 0:
            say(f"{word}: {more:,} more")
    hint_findings(undone.findings)
    if undone.refused:
        parts = [f"removes {counted(undone.removed.total, 'row')}"] if undone.removed.total else []
        parts += [f"loosens {counted(undone.loosens.total, 'field')}"] if undone.loosens.total else []
        sys.stdout.flush()  # the list comes first where both streams are one
        remedy = "This needs --yes." if choices.dry_run else "Nothing was changed. Repeat with --yes to apply."
        hint(f"This {' and '.join(parts)}. {remedy}")
    if undone.left.total:
        hint("Fields that are left have changed again since, so that they stay as they are.")
    if choices.dry_run:
        say("dry run: nothing was changed")
    elif undone.info is not None:
        say(f"version {undone.info.version} {verb}: {change_counts(undone.info)}")
    elif not undone.total:
        say("nothing to change")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(rollback)
    app.command()(revert)
