"""``import``, ``export`` and ``copy``: load a book into a store, write it out, copy the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.interrupts import stoppable
from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, Who, integer
from identengine.cli.output import emit, hint, progress, say
from identengine.cli.workspace import Workspace, author, find_workspace
from identengine.errors import counted, sentences

if TYPE_CHECKING:
    from identengine.book.report import ImportReport, Listed, TableReport
    from identengine.store.verify import Report


class Missing(StrEnum):
    """The treatment of accounts that are not in the new table."""

    DISABLE = "disable"
    KEEP = "keep"
    REMOVE = "remove"


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
    Missing, typer.Option("--missing", help="Disable, keep or remove accounts that are not in the new table.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the good rows and report the others.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, but show what would change.")]
ImportYes = Annotated[
    bool, typer.Option("--yes", help="Apply the import even if it disables or removes many rows.")
]

_SHOWN = 10
"""Largest number of rows of each kind that the report names."""


def import_(
    book: Book,
    missing: MissingAccounts = Missing.DISABLE,
    skip_bad: SkipBad = False,
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

        find_tables(book)  # before a store is created for a book that does not exist
        vault = here.vault_to_write()
        with here.filled() as opened, progress("import") as tell:
            report = import_book(
                opened,
                vault,
                book,
                who=name,
                missing=missing.value,
                skip_bad=skip_bad,
                dry_run=dry_run,
                yes=yes,
                progress=tell,
            )
        if as_json:
            emit(report)
        else:
            _print_report(report)
        if report.needs_yes is not None:
            raise typer.Exit(1)


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder for the three tables. It is created if necessary.")
    ],
    fmt: Annotated[Format, typer.Option("--format", help="Format of the tables.")] = Format.CSV,
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

    with find_workspace(store, config).open(readonly=True) as opened, opened.read(version) as book:
        paths = export_book(book, folder, fmt.value, gz, overwrite=overwrite)
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


def _print_report(report: ImportReport) -> None:
    for problem in report.problems:
        hint(f"skipped: {problem}")
    if (more := report.problem_count - len(report.problems)) > 0:
        hint(f"skipped: {more:,} more")
    for warning in report.warnings:
        hint(f"warning: {warning}")
    if (more := report.warning_count - len(report.warnings)) > 0:
        hint(f"warning: {more} more warnings")
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
