"""``audit``: show the audit log of the book, or check its chain of hashes (engine.md 8.4)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.book.mistakes import RowError
from identengine.cli.options import AsJson, ConfigFile, Since, StoreDir, Until, integer
from identengine.cli.output import SCREEN, Column, emit, emit_many, hint, say, table, when
from identengine.cli.rowids import row_id
from identengine.cli.times import in_order
from identengine.cli.workspace import find_workspace
from identengine.errors import counted
from identengine.provisioning.changes import change_object, shown
from identengine.provisioning.listing import did_number
from identengine.store.format import field_changes

if TYPE_CHECKING:
    from identengine.store.chain import ChainReport
    from identengine.store.format import AuditEntry
    from identengine.store.versions import Store

_COLUMNS = (
    Column("When", firm=True),
    Column("Who"),
    Column("Version", right=True),
    Column("What"),
    Column("Row"),
    Column("Field"),
    Column("Before"),
    Column("After"),
)
_USER = Column("System User")

_Client = Annotated[
    str | None,
    typer.Option("--client", metavar="CLIENT", help="Only this client (id or name), its accounts and DIDs."),
]
_Account = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="Only this account (id or name) and its DIDs.")
]


def _number(text: str) -> str:
    """Return a DID in normal form. Raise BadParameter."""
    try:
        return did_number(text)
    except RowError as error:
        raise typer.BadParameter(error.mistakes[0].expected) from None


_number.__name__ = "number"
_Did = Annotated[
    str | None,
    typer.Option("--did", parser=_number, metavar="NUMBER", help="Only this DID, in any spelling."),
]
_By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Only entries of this author. The user who called sudo counts too."),
]
_Version = Annotated[
    int | None,
    typer.Option("--version", parser=integer(1), metavar="N", help="Only the changes that version N made."),
]
_Last = Annotated[
    int | None,
    typer.Option(
        "--last",
        parser=integer(1),
        metavar="N",
        help="Show only the newest N entries. Default: 100 on a terminal, all entries otherwise.",
    ),
]
_Users = Annotated[
    bool, typer.Option("--users", help="Show the user of the operating system, too. --json always has it.")
]
_Verify = Annotated[
    bool,
    typer.Option("--verify", help="Check the hashes of the whole log. Name the first broken row and exit with 1."),
]


def audit(
    client: _Client = None,
    account: _Account = None,
    did: _Did = None,
    by: _By = None,
    since: Since = None,
    until: Until = None,
    version: _Version = None,
    last: _Last = None,
    users: _Users = False,
    verify: _Verify = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, newest entry last, with author, time, and values before and after.

    Example: identengine audit --store STORE --account 101 --since 2d
    """
    in_order(since, until)
    filters = (client, account, did, by, since, until, version, last)
    if verify and any(one is not None for one in filters):
        raise typer.BadParameter("expected no other filter: the whole log is checked", param_hint="--verify")
    with find_workspace(store, config).open(readonly=True) as opened:
        if verify:
            _verify(opened, as_json=as_json)
            return
        from identengine.store.auditlog import Narrowed

        if last is None and sys.stdout.isatty() and not as_json:
            last = SCREEN
        entries = opened.audit(
            client=row_id("client", client, opened.read),
            account=row_id("account", account, opened.read),
            number=did,
            narrowed=Narrowed(by, since, until, version),
            last=last,
        )
        if as_json:
            emit_many(map(_object, entries))
        elif not table((*_COLUMNS, _USER) if users else _COLUMNS, _rows(entries, users)):
            filtered = any(one is not None for one in filters[:-1])
            hint("the audit log has no matching entries" if filtered else "the audit log is empty")


def _rows(entries: Iterator[AuditEntry], users: bool) -> Iterator[tuple[str, ...]]:
    """Yield the entries as rows of the table, a row for each field that changed.

    Each row repeats all columns, so that grep can select rows.
    """
    for entry in entries:
        head = (when(entry.at), entry.who, str(entry.version or ""), entry.what, _about(entry))
        tail = (_user(entry),) if users else ()
        fields = [("", None, None)] if entry.change is None else field_changes(entry.change)
        for name, before, after in fields:
            yield (*head, name, shown(before), shown(after), *tail)


def _about(entry: AuditEntry) -> str:
    """Return the row that an entry is about, or an empty text."""
    if entry.change is not None:
        return f"{entry.change.table} {entry.change.key}"
    for name, key in (("did", entry.number), ("account", entry.account), ("client", entry.client)):
        if key is not None:
            return f"{name} {key}"
    return ""


def _user(entry: AuditEntry) -> str:
    """Return the system's user of an entry, or an empty text if an earlier program wrote it."""
    if entry.uid is None:
        return ""
    return f"uid {entry.uid}" + (f", sudo by {entry.sudo_user}" if entry.sudo_user else "")


def _object(entry: AuditEntry) -> dict[str, object]:
    found = msgspec.structs.asdict(entry)
    return found | {"change": None if entry.change is None else change_object(entry.change)}


def _verify(opened: Store, *, as_json: bool) -> None:
    """Print the result of the check of the log. Exit with 1 if a row is broken."""
    report = opened.check_audit()
    if as_json:
        emit({"intact": report.broken is None, **msgspec.structs.asdict(report)})
    elif report.broken is not None:
        say(f"the audit log is broken at {report.broken.row}: {report.broken.what}")
        hint("The rows before it are intact." if report.chained else "No row before it carries a hash.")
    else:
        _say_intact(report)
    if report.broken is not None:
        raise typer.Exit(1)


def _say_intact(report: ChainReport) -> None:
    if not report.chained:
        say("no row of the audit log carries a hash yet. The next change begins the chain.")
        return
    say(f"the audit log is intact: {counted(report.chained, 'row')}, newest hash {report.newest_hash}")
    if earlier := report.rows - report.chained:
        is_one = earlier == 1
        hint(
            f"{counted(earlier, 'earlier row')} {'carries' if is_one else 'carry'} no hash and cannot be checked."
        )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)
