"""Imports a book: a folder of tables becomes one new version of the store, or nothing changes (interfaces.md 1).

Rows are written to the transaction as they are read, so that a book of ten million DIDs is never in memory. Only
the clients are read whole first, because a reseller may follow its clients in the file. All mistakes are
collected. If there is a mistake, the transaction is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, Table
from identengine.book.files import find_tables
from identengine.book.importaccounts import AccountsImport, DidsImport
from identengine.book.importclients import ClientsImport
from identengine.book.importrun import ImportOptions, ImportRun, Missing, Progress, first_few
from identengine.book.loosening import IMPORT
from identengine.book.report import ImportReport, TableCounts
from identengine.errors import LoadError
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.vault import Vault
from identengine.store.versions import Store


def import_book(
    store: Store,
    vault: Vault,
    folder: Path,
    *,
    who: str,
    missing: Missing = "disable",
    skip_bad: bool = False,
    reopen: bool = False,
    reuse_id: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    progress: Progress | None = None,
    inspect: Callable[[Iterator[Change]], None] | None = None,
    judge: Callable[[Draft], None] | None = None,
) -> ImportReport:
    """Make one new version of the store from the tables in ``folder``.

    ``missing`` chooses the treatment of accounts and DIDs that are not in their tables. Other choices are those
    of ImportOptions. ``dry_run`` changes nothing; ``inspect`` then receives the changes, from the first at each
    call. ``judge`` receives the finished draft, and may refuse it by an error. An import that disables more than a
    tenth of the accounts, or removes more than a tenth of the DIDs, needs ``yes``. Without it nothing is changed,
    and the report has ``needs_yes``. Raise LoadError with the first hundred mistakes and their number, or
    StoreError.
    """
    sources, warnings = find_tables(folder)
    options = ImportOptions(missing, skip_bad, reopen, reuse_id)

    def edit(draft: Draft) -> ImportReport:
        run = ImportRun(draft, vault, sources, options, progress)
        for warning in warnings:
            run.warnings.add(warning)
        report = msgspec.structs.replace(_Import(run).write(), dry_run=dry_run)
        if report.needs_yes and not (yes or dry_run):
            raise _NeedsYesError(report)
        if dry_run and inspect is not None:
            inspect(draft.changes())
        if judge is not None:
            judge(draft)
        if not dry_run:
            vault.keep()  # last, so that an import that fails leaves no new key file
        return report

    try:
        info, report = store.change(who, _what(folder, options), edit, dry_run=dry_run)
    except _NeedsYesError as stop:
        return stop.report
    made = report.changes > 0 and not dry_run
    needs_yes = None if yes else report.needs_yes
    return msgspec.structs.replace(report, version=info.version if made else None, needs_yes=needs_yes)


def _what(folder: Path, options: ImportOptions) -> str:
    """Return the description of the version."""
    parts = [f"{IMPORT}{folder}"]
    if options.missing != "disable":
        parts.append(f"missing accounts: {options.missing}")
    if options.reopen:
        parts.append("reopened")
    if options.reuse_id:
        parts.append("ids reused")
    if options.skip_bad:
        parts.append("without bad rows")
    return "; ".join(parts)


class _NeedsYesError(Exception):
    """Rolls back the transaction of an import that needs ``yes`` and did not get it."""

    def __init__(self, report: ImportReport) -> None:
        self.report = report


class _Import:
    """The tables of one run, in their order."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run
        self._old = run.draft.counts
        self._clients = ClientsImport(run)
        self._accounts = AccountsImport(run)
        self._dids = DidsImport(run)

    def write(self) -> ImportReport:
        """Write the tables to the draft. Raise LoadError."""
        run = self._run
        parts: tuple[tuple[Table, ClientsImport | AccountsImport | DidsImport], ...] = (
            (CLIENTS, self._clients),
            (ACCOUNTS, self._accounts),
            (DIDS, self._dids),
        )
        for table, part in parts:
            source = run.sources.get(table.name)
            if source is None:
                continue
            run.tallies[table.name] = TableCounts()
            try:
                part.load(source)
            except LoadError as error:
                run.broken.add(table.name)
                for problem in error.problems:
                    run.problems.add(problem)
            for warning in source.warnings:
                run.warnings.add(warning)
            run.bytes_before += source.size
        if run.broken or (run.problems.total and not run.skip_bad):
            raise LoadError(run.problems_in_order(), run.problems.total)
        if run.removed:
            self._dids.remove_orphans(run.removed)
        run.warn_limits()
        if run.progress is not None:
            run.progress(run.bytes_before, run.bytes_before, DIDS.name)
        done = {name: tally.done() for name, tally in run.tallies.items()}
        return ImportReport(
            clients=done.get(CLIENTS.name),
            accounts=done.get(ACCOUNTS.name),
            dids=done.get(DIDS.name),
            warnings=run.warnings.done(),
            warning_count=run.warnings.total,
            loosens=run.loosens.done(),
            loosens_count=run.loosens.total,
            held_closed=run.held_closed.done(),
            held_closed_count=run.held_closed.total,
            problems=run.problems_in_order(),
            problem_count=run.problems.total,
            needs_yes=self._needs_yes(),
        )

    def _needs_yes(self) -> str | None:
        """Return how much the import disables or removes, or None if it is at most a tenth (interfaces.md 1)."""
        tallies, accounts = self._run.tallies, self._accounts
        no_longer, removed = accounts.no_longer_enabled, len(self._run.removed)
        parts = []
        if no_longer * 10 > accounts.enabled_before:
            table = tallies[ACCOUNTS.name]
            lists = (table.disabled, table.removed, table.switched_off)
            named = tuple(key for each in lists for key in each.done().first)
            verb = "remove" if self._run.missing == "remove" and not table.switched_off.total else "disable"
            verb = "disable or remove" if table.removed.total and table.switched_off.total else verb
            parts.append(_share(verb, no_longer, accounts.enabled_before, "enabled accounts", named))
        elif removed * 10 > self._old.accounts:  # accounts that were disabled already
            listed = tallies[ACCOUNTS.name].removed.done().first
            parts.append(_share("remove", removed, self._old.accounts, "accounts", listed))
        dids = tallies.get(DIDS.name)
        if dids is not None and dids.removed.total * 10 > self._old.dids:
            parts.append(_share("remove", dids.removed.total, self._old.dids, "DIDs", dids.removed.done().first))
        return f"This would {' and '.join(parts)}." if parts else None


def _share(verb: str, some: int, total: int, what: str, named: tuple[int | str, ...]) -> str:
    few = first_few(named, some)
    if some == total:
        return f"{verb} {f'all {total:,} {what}' if total > 1 else f'the only {what[:-1]}'} ({few})"
    return f"{verb} {some:,} of {total:,} {what} ({some * 100 / total:.0f} %: {few})"
