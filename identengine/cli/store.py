"""``identengine store …``: the state of the store's file (interfaces.md 2)."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from identengine.cli.options import AsJson, ConfigFile, StoreDir
from identengine.cli.output import Column, emit, facts, hint, say, table, when
from identengine.cli.workspace import find_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from identengine.store.verify import Report

_DAMAGE = (Column("Version", right=True), Column("Table"), Column("Row", firm=True), Column("Damage"))
_NAMED = 10

app = typer.Typer(
    no_args_is_help=True,
    help="Check the store's file, or describe it.",
    epilog="Example: identengine store check --store STORE",
)


@app.command()
def check(store: StoreDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check every row and version by its checksums. Exit with 1 if the store is damaged.

    Example: identengine store check --store STORE
    """
    here = find_workspace(store, config)
    here.check_folder()
    from identengine.store.verify import check_store

    report = check_store(here.store)
    if as_json:
        emit(report)
    else:
        _print_report(here.store, report)
    raise typer.Exit(1 if report.total else 0)


@app.command()
def info(store: StoreDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the format, size and newest version of the store.

    Example: identengine store info --store STORE
    """
    here = find_workspace(store, config)
    with here.open(readonly=True) as opened:
        found = opened.info()
    newest = found.newest
    if as_json:
        emit(
            {
                "store": str(here.store.absolute()),
                "format": found.format,
                "bytes": found.bytes,
                "events": found.events,
                "newest": newest if newest.version else None,
            }
        )
        return
    facts(
        (
            ("Store", str(here.store.absolute())),
            ("Format", str(found.format)),
            ("Size", f"{found.bytes:,} bytes"),
            ("Newest version", str(newest.version) if newest.version else "none"),
            ("Created", when(newest.at) if newest.version else None),
            ("By", newest.who or None),
            ("Origin", newest.what or None),
            ("Clients", f"{newest.clients:,}"),
            ("Accounts", f"{newest.accounts:,}"),
            ("DIDs", f"{newest.dids:,}"),
            ("Events in the audit log", f"{found.events:,}"),
        )
    )


def _print_report(store: Path, report: Report) -> None:
    if not report.total:
        say(f"{store}: no damage found. The newest version is {report.version or 'none'}.")
        if report.format == 1:
            hint("format 1 has no checksums, so that damage may be unseen. The next edit converts the store.")
        return
    table(_DAMAGE, ((str(one.version or ""), one.table or "", one.row or "", one.what) for one in report.damage))
    if report.total > len(report.damage):
        hint(f"{report.total - len(report.damage):,} more items of damage are not listed")
    if report.damaged:
        named = ", ".join(map(str, report.damaged[-_NAMED:]))
        hint(f"damaged versions: {'… ' if len(report.damaged) > _NAMED else ''}{named}")
    if report.newest_sound is None:
        hint(
            "no version is sound. Replace the store with a copy (`identengine copy` creates copies), or import "
            "the book into a new store."
        )
    elif report.crashed:
        command = f"identengine export FOLDER --version {report.newest_sound} --store {shlex.quote(str(store))}"
        hint(
            f"version {report.newest_sound} is the newest that can be read. Replace the store with a copy, or "
            f"save the version with `{command}` and import it into a new store."
        )
    else:
        command = f"identengine rollback {report.newest_sound} --store {shlex.quote(str(store))}"
        hint(f"version {report.newest_sound} is the newest sound version. `{command}` restores it.")
