"""``versions``, ``diff`` and ``audit``: earlier versions and the audit log (engine.md 8)."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.options import AsJson, ConfigFile, Limit, StoreDir, integer
from identengine.cli.output import (
    DIFF,
    NO_VERSIONS,
    SCREEN,
    Column,
    emit_many,
    hint,
    screenful,
    table,
    when,
)
from identengine.cli.rowids import row_id
from identengine.cli.workspace import find_workspace
from identengine.provisioning.changes import change_object, change_rows, shown
from identengine.store.format import VersionInfo, change_counts, field_changes

if TYPE_CHECKING:
    from identengine.store.format import AuditEntry

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
_AUDIT = (
    Column("When", firm=True),
    Column("Who"),
    Column("Version", right=True),
    Column("What"),
    Column("Row"),
    Column("Field"),
    Column("Before"),
    Column("After"),
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


def audit(
    client: Annotated[
        str | None,
        typer.Option(
            "--client", metavar="CLIENT", help="Only changes of this client (id or name), its accounts and DIDs."
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account", metavar="ACCOUNT", help="Only changes of this account (id or name) and its DIDs."
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            parser=integer(1),
            metavar="N",
            help="Show only the newest N entries. Default: 100 on a terminal, all entries otherwise.",
        ),
    ] = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, newest entry last, with author, time, and values before and after.

    Example: identengine audit --store STORE --account 101
    """
    with find_workspace(store, config).open(readonly=True) as opened:
        if last is None and sys.stdout.isatty() and not as_json:
            last = SCREEN
        client_id = row_id("client", client, opened.read)
        account_id = row_id("account", account, opened.read)
        log = opened.audit(client=client_id, account=account_id)
        entries = log if last is None else iter(deque(log, maxlen=last))
        if as_json:
            emit_many(_audit_object(entry) for entry in entries)
        elif not table(_AUDIT, (row for entry in entries for row in _audit_rows(entry))):
            hint("the audit log has no matching entries" if client or account else "the audit log is empty")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(versions)
    app.command()(diff)
    app.command()(audit)


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


def _audit_rows(entry: AuditEntry) -> Iterator[tuple[str, ...]]:
    head = (when(entry.at), entry.who, str(entry.version or ""), entry.what)
    if entry.change is None:
        yield (*head, f"account {entry.account}" if entry.account else "", "", "", "")
        return
    row = f"{entry.change.table} {entry.change.key}"
    for name, before, after in field_changes(entry.change):
        # Each line repeats all columns, so that grep can select lines.
        yield (*head, row, name, shown(before), shown(after))


def _audit_object(entry: AuditEntry) -> dict[str, object]:
    return {
        "at": entry.at,
        "who": entry.who,
        "what": entry.what,
        "version": entry.version,
        "account": entry.account,
        "change": None if entry.change is None else change_object(entry.change),
    }
