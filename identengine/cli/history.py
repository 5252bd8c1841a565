"""``versions`` and ``diff``: earlier versions (engine.md 8.3)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.options import AsJson, ConfigFile, Limit, StoreDir, integer
from identengine.cli.output import (
    DIFF,
    NO_VERSIONS,
    Column,
    emit_many,
    hint,
    screenful,
    table,
    when,
)
from identengine.cli.workspace import find_workspace
from identengine.provisioning.changes import change_object, change_rows
from identengine.store.format import VersionInfo, change_counts

if TYPE_CHECKING:
    pass

_VERSIONS = (
    Column("Version", right=True),
    Column("When", firm=True),
    Column("Who"),
    Column("What"),
    Column("Clients", right=True),
    Column("Accounts", right=True),
    Column("DIDs", right=True),
    Column("Changes"),
)


def versions(
    limit: Limit = None, store: StoreDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List the versions of the book, newest first.

    Example: identengine versions --store STORE
    """
    with find_workspace(store, config).open(readonly=True) as opened:
        newest_first = opened.versions()[::-1]
    if as_json:
        emit_many(newest_first[:limit] if limit else newest_first)
    elif not table(_VERSIONS, (_version_row(info) for info in screenful(newest_first, limit))):
        hint(NO_VERSIONS)


def diff(
    a: Annotated[
        int, typer.Argument(parser=integer(0), metavar="A", help="The older version; 0 is the empty book.")
    ],
    b: Annotated[int, typer.Argument(parser=integer(0), metavar="B", help="The newer version.")],
    limit: Limit = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions, field by field.

    Example: identengine diff 3 4 --store STORE
    """
    with find_workspace(store, config).open(readonly=True) as opened:
        changes = opened.diff(a, b)
        if as_json:
            emit_many(change_object(change) for change in islice(changes, limit or None))
        elif not table(DIFF, (row for change in screenful(changes, limit) for row in change_rows(change))):
            hint(f"versions {a} and {b} are equal")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(versions)
    app.command()(diff)


def _version_row(info: VersionInfo) -> tuple[str, ...]:
    return (
        str(info.version),
        when(info.at),
        info.who,
        info.what,
        str(info.clients),
        str(info.accounts),
        str(info.dids),
        change_counts(info),
    )
