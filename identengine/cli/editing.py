"""One edit of the book from the command line: made as one version, and told afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from identengine.cli.fields import change_object, told, verb
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import Place, author
from identengine.errors import Problem
from identengine.store.format import Change

if TYPE_CHECKING:
    from identengine.store.draft import Draft

TOLD = 100
"""How many changes are told one by one."""


class Edited(NamedTuple):
    """What an edit did to the draft."""

    changes: tuple[Change, ...]
    warnings: list[Problem] = []  # noqa: RUF012 - nobody changes it


class Done(NamedTuple):
    """An edit, and the version that it made; None where it changed nothing or was only tried."""

    version: int | None
    edited: Edited


def change(
    here: Place, who: str | None, what: str, edit: Callable[[Draft], Edited], *, dry_run: bool = False
) -> Done:
    """Apply ``edit`` as one version. What it raises leaves the book as it was."""
    with here.open() as opened:
        info, edited = opened.change(author(who), what, edit, dry_run=dry_run)
    real = tuple(change for change in edited.changes if change.before != change.after)
    return Done(info.version if real and not dry_run else None, Edited(real, edited.warnings))


def report(done: Done, *, as_json: bool) -> None:
    """Say what was done and in which version; warnings go to standard error."""
    if as_json:
        emit(_document(done))
        return
    for warning in done.edited.warnings:
        hint(f"warning: {warning}")
    if done.version is None:
        say("nothing to change")
        return
    say(f"version {done.version}")
    _tell(done.edited)


def would(done: Done, *, as_json: bool) -> NoReturn:
    """Say what would be done, and end with 1 since it was not."""
    if as_json:
        emit(_document(done) | {"dry_run": True, "needs_yes": True})
    else:
        _tell(done.edited, "would be ")
        hint("nothing was changed; with --yes it is done")
    raise typer.Exit(1)


def _document(done: Done) -> dict[str, object]:
    return {
        "version": done.version,
        "changes": [change_object(change) for change in done.edited.changes],
        "warnings": done.edited.warnings,
    }


def _tell(edited: Edited, would_be: str = "") -> None:
    for change in edited.changes[:TOLD]:
        line = f"{change.table} {change.key} {would_be}{verb(change)}"
        if change.before is not None and change.after is not None:
            line += f": {told(change)}"
        elif name := getattr(change.after or change.before, "name", None):
            line += f": {name}"
        say(line)
    if (more := len(edited.changes) - TOLD) > 0:
        say(f"and {more} more")
