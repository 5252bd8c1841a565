"""``import``, ``export`` and ``copy``: load a book into a store, write it out, copy the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.findings import WARNED, hint_findings
from identengine.cli.interrupts import stoppable
from identengine.cli.options import AsJson, ConfigFile, KeyFile, ReuseId, StoreDir, Who, integer
from identengine.cli.output import DIFF, emit, hint, progress, say, table
from identengine.cli.workspace import Workspace, author, find_workspace
from identengine.errors import counted, sentences
from identengine.provisioning.changes import change_object, change_rows, told

if TYPE_CHECKING:
    from identengine.book.loosening import FieldChange
    from identengine.book.report import ImportReport, Listed, TableReport
    from identengine.lint.findings import Finding
    from identengine.store.format import Change
    from identengine.store.verify import Report


class Missing(StrEnum):
    """The treatment of accounts and DIDs that are not in the new tables."""

    DISABLE = "disable"
    KEEP = "keep"
    REMOVE = "remove"


class Lint(StrEnum):
    """The treatment of settings that will cause trouble."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


class Format(StrEnum):
    """The format of exported tables."""

    CSV = "csv"
    JSONL = "jsonl"


Book = Annotated[
    Path,
    typer.Argument(
        metavar="BOOK",
        help="Folder with the tables clients, accounts and dids, each as .csv or .jsonl (also .gz).",
    ),
]
MissingAccounts = Annotated[
    Missing,
    typer.Option(
        "--missing",
        help="Disable, keep or remove accounts that are not in the new table. DIDs are removed unless kept.",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the good rows and report the others.")]
Reopen = Annotated[bool, typer.Option("--reopen", help="Also open clients and accounts that a person closed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, but show each field that would change.")]
ImportYes = Annotated[
    bool, typer.Option("--yes", help="Apply the import even if it disables or removes many rows.")
]

LintChoice = Annotated[
    Lint,
    typer.Option(
        "--lint",
        help="Refuse an import that brings findings of severity error, only show all findings, or do not look.",
    ),
]

_DIFFERENCES = 100
"""Largest number of rows whose fields a dry run shows as text."""
_SHOWN = 10
"""Largest number of rows of each kind that the report names."""


def import_(
    book: Book,
    missing: MissingAccounts = Missing.DISABLE,
    skip_bad: SkipBad = False,
    reopen: Reopen = False,
    reuse_id: ReuseId = False,
    lint: LintChoice = Lint.WARN,
    dry_run: DryRun = False,
    yes: ImportYes = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Import a book as one new version, completely or not at all. Create the store if it does not exist.

    An import needs --yes to disable more than a tenth of the accounts or to remove more than a tenth of the DIDs.

    Example: identengine import BOOK --store STORE --dry-run
    """
    name = author(who)
    with _target(find_workspace(store, config, key_file), dry_run=dry_run) as here, stoppable(here.head):
        from identengine.book.files import find_tables
        from identengine.book.importer import import_book
        from identengine.provisioning.findings import ImportLint, scope_for

        find_tables(book)  # before a store is created for a book that does not exist
        vault = here.vault_to_write()
        found = ImportLint(scope_for(here.config), refuse=lint is Lint.ERROR)
        shown = _Changes(most=None if as_json else _DIFFERENCES)
        with here.filled() as opened, progress("import") as tell:
            report = import_book(
                opened,
                vault,
                book,
                who=name,
                missing=missing.value,
                skip_bad=skip_bad,
                reopen=reopen,
                reuse_id=reuse_id,
                dry_run=dry_run,
                yes=yes,
                progress=tell,
                inspect=shown.take,
                judge=None if lint is Lint.OFF else found.judge,
            )
        _show(report, shown, found.findings, as_json=as_json)
        if report.needs_yes is not None:
            raise typer.Exit(1)


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder for the three tables. It is created if necessary.")
    ],
    fmt: Annotated[Format, typer.Option("--format", help="Format of the tables.")] = Format.CSV,
    excel: Annotated[
        bool,
        typer.Option(
            "--excel",
            help="Write CSV that spreadsheets open and save without damage, with names next to the ids.",
        ),
    ] = False,
    gz: Annotated[bool, typer.Option("--gz", help="Compress the tables with gzip.")] = False,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", parser=integer(1), metavar="N", help="Export this version. Default: the newest version."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing tables.")] = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Export a version as a book that can be imported again. Passwords stay encrypted.

    Example: identengine export BOOK --store STORE --format jsonl --gz
    """
    from identengine.book.exporter import export_book

    if excel and (gz or fmt is not Format.CSV):
        other = "--gz" if gz else f"--format {fmt.value}"
        raise typer.BadParameter(f"a spreadsheet opens plain CSV. Omit {other} or --excel.", param_hint="--excel")
    with find_workspace(store, config).open(readonly=True) as opened, opened.read(version) as book:
        paths = export_book(book, folder, "excel" if excel else fmt.value, gz, overwrite=overwrite)
        counts = book.counts
        if as_json:
            emit({"version": book.version, "files": {name: str(path) for name, path in paths.items()}})
            return
        sizes = zip((counts.clients, counts.accounts, counts.dids), ("client", "account", "DID"), strict=True)
        say(f"version {book.version}: {', '.join(counted(*size) for size in sizes)}")
        for path in paths.values():
            say(str(path))


def copy(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET", help="New file if the name ends in .mdb, otherwise a new folder. It must not exist."
        ),
    ],
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the store with all versions and the audit log, but without the key of the passwords.

    Example: identengine copy identengine.mdb --store STORE
    """
    with find_workspace(store, config).open(readonly=True) as opened:
        report = opened.copy(target)
        head = opened.head()
    if report.total:
        hint(f"warning: {sentences(_damage(report), 'Use `identengine store check` to show the damage.')}")
    if as_json:
        emit({"target": str(target), "version": head})
    else:
        say(f"{target}: version {head}")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("import")(import_)
    app.command()(export)
    app.command()(copy)


def _damage(report: Report) -> str:
    if not report.damaged:
        return "the store is damaged, and so is the copy. Its versions are sound."
    named = ", ".join(map(str, report.damaged[:_SHOWN])) + (", …" if len(report.damaged) > _SHOWN else "")
    return f"earlier versions are damaged in the store and the copy: {named}"


class _Changes:
    """The changes that a dry run shows: at most ``most`` rows, and the number of all."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.first: list[Change] = []
        self._more = 0

    def take(self, changes: Iterator[Change]) -> None:
        """Keep the first changes, and count the others."""
        self.first = list(islice(changes, self._most))
        self._more = sum(1 for _ in changes)

    def print(self) -> None:
        """Print the changes field by field."""
        table(DIFF, (row for change in self.first for row in change_rows(change)))
        if self._more:
            hint(f"and {counted(self._more, 'row')} more. --json shows all.")


def _show(report: ImportReport, changes: _Changes, findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the report of an import, and the changes of a dry run."""
    if as_json:
        found: dict[str, object] = {"findings": findings}
        if report.dry_run:
            found["changes"] = [change_object(change) for change in changes.first]
        emit(msgspec.structs.asdict(report) | found)
    else:
        changes.print()
        _print_report(report, [one for one in findings if one.check not in WARNED])


@contextmanager
def _target(here: Workspace, *, dry_run: bool) -> Iterator[Workspace]:
    """Yield the target of an import. A dry run without a store gets a temporary one."""
    if not dry_run or here.exists():
        yield here
        return
    with tempfile.TemporaryDirectory(prefix="identengine-") as folder:
        scratch = Path(folder) / "store"
        key_file = here.key_path()
        yield here._replace(store=scratch, key_file=key_file if key_file and key_file.exists() else None)


def _print_report(report: ImportReport, findings: Sequence[Finding]) -> None:
    for problem in report.problems:
        hint(f"skipped: {problem}")
    if (more := report.problem_count - len(report.problems)) > 0:
        hint(f"skipped: {more:,} more")
    for warning in report.warnings:
        hint(f"warning: {warning}")
    if (more := report.warning_count - len(report.warnings)) > 0:
        hint(f"warning: {more} more warnings")
    hint_findings(findings)
    for name, one in (("clients", report.clients), ("accounts", report.accounts), ("dids", report.dids)):
        say(f"{name}: {_table(one)}")
        for word, found in (
            (
                ("changed", one.changed),
                ("disabled", one.disabled),
                ("switched off", one.switched_off),
                ("removed", one.removed),
                ("not in the book, kept", one.kept),
            )
            if one is not None
            else ()
        ):
            if found.total:
                say(f"  {word}: {_listed(found)}")
    _print_fields("loosens", report.loosens, report.loosens_count)
    _print_fields("left closed", report.held_closed, report.held_closed_count)
    if report.held_closed:
        hint("A person closed these. Repeat with --reopen to open them.")
    if report.dry_run:
        say("dry run: nothing was changed")
        if report.needs_yes is not None:
            hint(f"{report.needs_yes} This needs --yes.")
    elif report.needs_yes is not None:
        hint(f"{report.needs_yes} Nothing was changed. Repeat with --yes to apply.")
    elif report.version is None:
        say("nothing to change")
    else:
        say(f"version {report.version}")


def _print_fields(word: str, fields: Sequence[FieldChange], total: int) -> None:
    """Print the first fields of a list, one a line."""
    for one in fields[:_SHOWN]:
        say(f"{word}: {one.table} {one.key}: {one.field} {told(one.before)} -> {told(one.after)}")
    if (more := total - _SHOWN) > 0:
        say(f"{word}: {more:,} more")


def _table(one: TableReport | None) -> str:
    if one is None:
        return "not in the book, unchanged"
    counts = [
        ("added", one.added),
        ("changed", one.changed.total),
        ("unchanged", one.unchanged),
        ("skipped", one.skipped),
    ]
    return ", ".join(f"{count} {word}" for word, count in counts if count) or "none"


def _listed(found: Listed) -> str:
    first = ", ".join(map(str, found.first[:_SHOWN]))
    more = found.total - len(found.first[:_SHOWN])
    return f"{found.total} ({first}{f' and {more} more' if more > 0 else ''})"
