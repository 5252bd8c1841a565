"""``revert``: undo what one version changed (engine.md 8.3)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.editing import mistakes_located
from identengine.cli.findings import hint_findings
from identengine.cli.options import AsJson, ConfigFile, StoreDir, Who, integer
from identengine.cli.output import DIFF, emit, hint, say, table
from identengine.cli.workspace import author, find_workspace
from identengine.errors import counted
from identengine.provisioning.changes import change_object, change_rows, told

if TYPE_CHECKING:
    from identengine.provisioning.edits import Applied
    from identengine.provisioning.undo import Opened, Revert

_SHOWN = 100
"""Largest number of rows or fields of each kind that ``revert`` shows as text."""


def revert(
    version: Annotated[int, typer.Argument(parser=integer(1), metavar="N", help="The version to undo.")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the accounts that the version added. Default: disable them.")
    ] = False,
    passwords: Annotated[bool, typer.Option("--passwords", help="Restore passwords too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, but show each field that would change.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Apply the change even if it removes rows or lets more calls pass.")
    ] = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Undo what version N alone changed, as a new version. Later changes of the same fields stay.

    Example: identengine revert 3 --store STORE --dry-run
    """
    from identengine.provisioning.edits import apply
    from identengine.provisioning.findings import scope_for
    from identengine.provisioning.undo import Revert, Undoing, opened_by

    name = author(who)
    here = find_workspace(store, config)
    with mistakes_located(), here.open() as opened:
        undo = Revert(list(opened.diff(version - 1, version)), Undoing(remove, passwords))
        scope = scope_for(here.config)
        done = apply(opened, name, f"revert {version}", undo.edit, dry_run=True, scope=scope)
        needs = opened_by(done.changes)
        refused = any(needs) and not yes
        if not (dry_run or refused):
            done = apply(opened, name, f"revert {version}", undo.edit, scope=scope)
    if as_json:
        found = {"version": done.version, "dry_run": dry_run, "needs_yes": refused}
        changes = [change_object(change) for change in done.changes]
        emit(found | {"changes": changes, "loosens": needs.loosens, "left": undo.left, "findings": done.findings})
    else:
        _print_reverted(version, done, undo, needs, refused=refused, dry_run=dry_run)
    if refused and not dry_run:
        raise typer.Exit(1)


def _print_reverted(
    version: int, done: Applied, undo: Revert, needs: Opened, *, refused: bool, dry_run: bool
) -> None:
    """Print the result of ``revert``."""
    table(DIFF, (row for change in islice(done.changes, _SHOWN) for row in change_rows(change)))
    if (more := len(done.changes) - _SHOWN) > 0:
        hint(f"and {counted(more, 'row')} more. --json shows all.")
    for word, fields in (("loosens", needs.loosens), ("left", undo.left)):
        for one in islice(fields, _SHOWN):
            say(f"{word}: {one.table} {one.key}: {one.field} {told(one.before)} -> {told(one.after)}")
    hint_findings(done.findings)
    if refused:
        parts = [f"removes {counted(len(needs.removed), 'row')}"] if needs.removed else []
        parts += [f"loosens {counted(len(needs.loosens), 'field')}"] if needs.loosens else []
        remedy = "This needs --yes." if dry_run else "Nothing was changed. Repeat with --yes to apply."
        hint(f"This {' and '.join(parts)}. {remedy}")
    if dry_run:
        say("dry run: nothing was changed")
    elif not done.changes:
        say("nothing to change")
    elif done.version is not None:
        say(f"version {done.version} reverts version {version}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(revert)
