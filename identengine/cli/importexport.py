"""``import``, ``export`` and ``copy``: books going in and out of a store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.interrupts import stoppable
from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, Who
from identengine.cli.output import emit, hint, progress, say
from identengine.cli.workspace import Workspace, author, find_workspace

if TYPE_CHECKING:
    from identengine.book.report import ImportReport, Listed, TableReport


class Missing(StrEnum):
    """What becomes of an account that the new table lacks."""

    DISABLE = "disable"
    KEEP = "keep"
    REMOVE = "remove"


class Format(StrEnum):
    """How an export writes its tables."""

    CSV = "csv"
    JSONL = "jsonl"


_SHOWN = 10


def import_(
    book: Annotated[
        Path,
        typer.Argument(metavar="BOOK", help="Folder with clients, accounts, dids, each .csv or .jsonl (or .gz)."),
    ],
    missing: Annotated[
        Missing, typer.Option(help="What becomes of accounts that the new table lacks.")
    ] = Missing.DISABLE,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Take the good rows and report the rest.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it also where it disables or removes many.")] = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Load a book as one new version, whole or not at all; makes the store where none is.

    Disabling more than a tenth of the accounts or removing more than a tenth of the DIDs wants --yes.

    Example: identengine import BOOK --store STORE --dry-run
    """
    name = author(who)
    with _target(find_workspace(store, config, key_file), dry_run=dry_run) as here, stoppable(here.head):
        from identengine.book.files import find_tables
        from identengine.book.importer import import_book

        find_tables(book)  # before a store is made for a book that is not there
        vault = here.vault_to_write()
        with here.open(create=True) as opened, progress("import") as tell:
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
            _tell(report)
        if report.needs_yes is not None:
            raise typer.Exit(1)


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the three tables go; made if missing.")],
    fmt: Annotated[Format, typer.Option("--format", help="The format of the tables.")] = Format.CSV,
    gz: Annotated[bool, typer.Option("--gz", help="Pack them with gzip.")] = False,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="This version; default: the newest.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace tables that are there.")] = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a version out as a book that imports again; passwords stay encrypted.

    Example: identengine export BOOK --store STORE --format jsonl --gz
    """
    from identengine.book.exporter import export_book

    with find_workspace(store, config).open(readonly=True) as opened, opened.read(version) as book:
        paths = export_book(book, folder, fmt.value, gz, overwrite=overwrite)
        counts = book.counts
        if as_json:
            emit({"version": book.version, "files": {name: str(path) for name, path in paths.items()}})
            return
        say(f"version {book.version}: {counts.clients} clients, {counts.accounts} accounts, {counts.dids} DIDs")
        for path in paths.values():
            say(str(path))


def copy(
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Not there yet; one file if it ends in .mdb, else a folder.")
    ],
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the store, all versions and the audit log, for another node; the key of the passwords is not in it.

    Example: identengine copy identengine.mdb --store STORE
    """
    with find_workspace(store, config).open(readonly=True) as opened:
        opened.copy(target)
        head = opened.head()
    if as_json:
        emit({"target": str(target), "version": head})
    else:
        say(f"{target}: version {head}")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("import")(import_)
    app.command()(export)
    app.command()(copy)


@contextmanager
def _target(here: Workspace, *, dry_run: bool) -> Iterator[Workspace]:
    """Yield where to import to; for a dry run without a store one that is gone afterwards."""
    if not dry_run or here.exists():
        yield here
        return
    with tempfile.TemporaryDirectory(prefix="identengine-") as folder:
        scratch = Path(folder) / "store"
        key_file = here.key_path()
        yield here._replace(store=scratch, key_file=key_file if key_file and key_file.exists() else None)


def _tell(report: ImportReport) -> None:
    for problem in report.problems:
        hint(f"left out: {problem}")
    if (more := report.problem_count - len(report.problems)) > 0:
        hint(f"left out: {more} more")
    for warning in report.warnings:
        hint(f"warning: {warning}")
    if (more := report.warning_count - len(report.warnings)) > 0:
        hint(f"warning: {more} more")
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
        return "not in the book, left as they are"
    counts = [
        ("added", one.added),
        ("changed", one.changed.total),
        ("unchanged", one.unchanged),
        ("left out", one.skipped),
    ]
    return ", ".join(f"{count} {word}" for word, count in counts if count) or "none"


def _listed(found: Listed) -> str:
    first = ", ".join(map(str, found.first[:_SHOWN]))
    more = found.total - len(found.first[:_SHOWN])
    return f"{found.total} ({first}{f' and {more} more' if more > 0 else ''})"
