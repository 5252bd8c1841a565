"""Loading a book: a folder of tables becomes one new version of the store, whole or not at all (interfaces.md 1).

Rows go into the transaction as they are read, so that a book of ten million DIDs never stands in memory; the
clients alone are read whole first, since resellers may stand below their clients in the file. Mistakes are
collected to the end, and if there are any the transaction is dropped.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from identengine.book.columns import (
    ACCOUNTS,
    CLIENTS,
    DIDS,
    TABLES,
    Mistake,
    RowError,
    Table,
    account_from,
    client_from,
    did_from,
    id_in,
    number_in,
)
from identengine.book.files import Row, Source, find_tables
from identengine.book.report import ImportReport, Listing, Problems, Tally
from identengine.errors import LoadError, Problem
from identengine.model.records import Account, Client, Did
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, depths, loops
from identengine.store.snapshot import Draft
from identengine.store.vault import Vault
from identengine.store.versions import Store

Missing = Literal["disable", "keep", "remove"]
"""What becomes of an account that the new table lacks (engine.md 1.5)."""

Progress = Callable[[int, int, str], None]
"""Called now and then with the bytes read, all bytes, and the table that is being read."""

T = TypeVar("T", Client, Account, Did)

_DEFAULTS = {
    CLIENTS.name: {"status": "active"},
    ACCOUNTS.name: {"orig_enabled": "true", "term_enabled": "false", "src_policy": "allow_any"},
    DIDS.name: {"status": "active"},
}
"""What a column that is not there means, where that is not just "not set" (interfaces.md 1)."""
_PROGRESS_ROWS = 1000
_REMEMBERED = 100_000
"""How many ids of clients and accounts are remembered to be there, so that rows need not ask the store again."""


def import_book(
    store: Store,
    vault: Vault,
    folder: Path,
    *,
    who: str,
    missing: Missing = "disable",
    skip_bad: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make one new version of the store out of the tables in ``folder``.

    ``missing`` says what becomes of accounts that the table of accounts lacks; ``skip_bad`` takes the good rows
    and reports the others; ``dry_run`` changes nothing and reports what would change. What would disable more
    than a tenth of the accounts or remove more than a tenth of the DIDs is not done without ``yes``: the report
    then says so in ``needs_yes``. Raises LoadError with every mistake (the first hundred, and a count), in which
    case nothing was changed, and StoreError where the store cannot be written.
    """
    sources, warnings = find_tables(folder)
    parts = [f"import {folder}"]
    if missing != "disable":
        parts.append(f"missing accounts: {missing}")
    if skip_bad:
        parts.append("without bad rows")

    def edit(draft: Draft) -> ImportReport:
        run = _Import(draft, vault, sources, missing=missing, skip_bad=skip_bad, progress=progress)
        for warning in warnings:
            run.warnings.add(warning)
        report = msgspec.structs.replace(run.run(), dry_run=dry_run)
        if report.needs_yes and not (yes or dry_run):
            raise _NeedsYesError(report)
        if not dry_run:
            vault.keep()  # the last thing before the version is made to last
        return report

    try:
        info, report = store.change(who, "; ".join(parts), edit, dry_run=dry_run)
    except _NeedsYesError as stop:
        return stop.report
    made = report.changes > 0 and not dry_run
    needs_yes = None if yes else report.needs_yes
    return msgspec.structs.replace(report, version=info.version if made else None, needs_yes=needs_yes)


class _NeedsYesError(Exception):
    """Drops the transaction of an import that changes more than it may without being told to."""

    def __init__(self, report: ImportReport) -> None:
        self.report = report


class _Import:
    """One run of an import over a draft; a run that the store calls for again begins with a new one."""

    def __init__(
        self,
        draft: Draft,
        vault: Vault,
        sources: Mapping[str, Source],
        *,
        missing: Missing,
        skip_bad: bool,
        progress: Progress | None,
    ) -> None:
        self.warnings = Problems()
        self._draft = draft
        self._vault = vault
        self._sources = sources
        self._missing = missing
        self._skip_bad = skip_bad
        self._progress = progress
        self._bytes_before = 0
        self._problems = Problems()
        self._broken: set[str] = set()  # tables that could not be read to the end
        self._nameless: dict[str, int] = {}  # name of a table: line of its first bad row whose key cannot be read
        self._tallies: dict[str, Tally] = {}
        self._bad_clients: dict[int, int] = {}  # id: line
        self._clients_there: dict[int, bool] = {}
        self._accounts_there: dict[int, bool] = {}
        self._enabled_before = 0
        self._no_longer_enabled = 0
        self._removed = array("q")  # ids of accounts
        self._old_accounts = draft.counts.accounts
        self._old_dids = draft.counts.dids

    def run(self) -> ImportReport:
        """Write the tables to the draft. Raises LoadError."""
        for table, load in ((CLIENTS, self._clients), (ACCOUNTS, self._accounts), (DIDS, self._dids)):
            source = self._sources.get(table.name)
            if source is None:
                continue
            self._tallies[table.name] = Tally()
            try:
                load(source)
            except LoadError as error:
                self._broken.add(table.name)
                for problem in error.problems:
                    self._problems.add(problem)
            self._bytes_before += source.size
        if self._broken or (self._problems.total and not self._skip_bad):
            raise LoadError(self._in_order(), self._problems.total)
        if self._removed:
            self._remove_orphans()
        if self._progress is not None:
            self._progress(self._bytes_before, self._bytes_before, DIDS.name)
        done = {name: tally.done() for name, tally in self._tallies.items()}
        return ImportReport(
            clients=done.get(CLIENTS.name),
            accounts=done.get(ACCOUNTS.name),
            dids=done.get(DIDS.name),
            warnings=tuple(self.warnings.first),
            warning_count=self.warnings.total,
            problems=self._in_order(),
            problem_count=self._problems.total,
            needs_yes=self._much(),
        )

    # -- clients

    def _clients(self, source: Source) -> None:
        tally = self._tallies[CLIENTS.name]
        lines: dict[int, int] = {}
        good: dict[int, Client] = {}
        for row in self._read(source, CLIENTS):
            client_id = id_in(row.cells.get("id"))
            mistakes = list(row.mistakes)
            client = None
            if _whole(row):
                try:
                    client = client_from(row.cells)
                except RowError as error:
                    _join(mistakes, error)
            if client_id is not None:
                if client_id in lines:
                    mistakes.append(_repeated("id", client_id, lines[client_id]))
                else:
                    lines[client_id] = row.line
                    if mistakes:
                        self._bad_clients[client_id] = row.line
            if client is not None and not mistakes:
                good[client.id] = client
            else:
                self._bad_row(source, CLIENTS, row.line, client_id, mistakes)
        self._take_out_strays(source, good, lines)
        for old in self._draft.clients():
            if old.id not in lines:
                tally.kept.add(old.id)
        for client in good.values():
            before = self._draft.client(client.id)
            if self._differs(source, CLIENTS, before, client):
                self._draft.put_client(client)
        self._tell_reset(source, CLIENTS)

    def _take_out_strays(self, source: Source, good: dict[int, Client], lines: Mapping[int, int]) -> None:
        """Take the clients out of ``good`` whose reseller is missing, below them or too deep; then again."""
        draft = self._draft
        children: dict[int, list[int]] = {}
        for client in good.values():
            if client.parent_id is not None:
                children.setdefault(client.parent_id, []).append(client.id)

        def parent_of(client_id: int) -> int | None:
            client = good.get(client_id) or draft.client(client_id)
            return client.parent_id if client else None

        def take_out(client_id: int, parent_id: int, expected: str) -> None:
            del good[client_id]
            self._bad_clients[client_id] = lines[client_id]
            mistake = Mistake("parent_id", str(parent_id), expected)
            self._bad_row(source, CLIENTS, lines[client_id], client_id, [mistake])

        def gone(client_id: int) -> bool:
            if client_id in good or draft.client(client_id) is not None:
                return False
            return self._skip_bad or client_id not in self._bad_clients  # else its own mistake says enough

        look_at = [parent_id for parent_id in children if gone(parent_id)]
        while True:
            while look_at:
                parent_id = look_at.pop()
                for client_id in children.get(parent_id, ()):
                    if client_id in good:
                        take_out(client_id, parent_id, _not_there("client", parent_id, self._bad_clients))
                        if gone(client_id):
                            look_at.append(client_id)
            # What stands on a loop or too deep is taken out; then older rows count again, which may be so with new
            # ones.
            wrong = self._misplaced(good, parent_of)
            parents = {client_id: good[client_id].parent_id or 0 for client_id in wrong}
            for client_id, expected in wrong.items():
                take_out(client_id, parents[client_id], expected)
            if not wrong or not self._skip_bad:
                return
            look_at = [client_id for client_id in wrong if gone(client_id)]

    def _misplaced(self, good: Mapping[int, Client], parent_of: Callable[[int], int | None]) -> dict[int, str]:
        """Return what would be right of the clients of ``good`` that stand on a loop or make a chain too long."""
        wrong: dict[int, str] = {}
        for client_id, loop in loops(list(good), parent_of).items():
            if client_id in good:
                chain = " below ".join(map(str, (*loop, client_id if len(loop) < SHOWN else "…")))
                wrong[client_id] = f"no client may stand below itself; here {chain}"
        at_most = f"a client and the resellers above it may be {DEEPEST} at most"
        for client_id, depth in depths(good, parent_of).items():
            if depth > DEEPEST and client_id in good:
                wrong[client_id] = f"{at_most}; here they are {depth}: {chain_told(client_id, parent_of)}"

        def before(client_id: int) -> int | None:
            client = self._draft.client(client_id)
            return client.parent_id if client else None

        kept = [client.id for client in self._draft.clients() if client.id not in good]
        for client_id, depth in deepened(kept, parent_of, before).items():
            # Of those that stay as they are, the first one too deep: what is below it is told by that.
            if client_id in good or depth != DEEPEST + 1:
                continue
            row: int | None = client_id
            while row is not None and (row not in good or good[row].parent_id == before(row)):
                row = parent_of(row)
            if row is not None:
                chain = chain_told(client_id, parent_of)
                stays = (
                    f"{at_most}; of client {client_id}, which stays below this one, they would be {depth}: {chain}"
                )
                wrong.setdefault(row, stays)
        return wrong

    # -- accounts

    def _accounts(self, source: Source) -> None:
        draft, tally, vault = self._draft, self._tallies[ACCOUNTS.name], self._vault
        warnings: list[Mistake] = []
        old_total, old_seen = draft.counts.accounts, 0
        for row in self._read(source, ACCOUNTS):
            account_id = id_in(row.cells.get("id"))
            before = draft.account(account_id) if account_id is not None and old_total else None
            mistakes = list(row.mistakes)
            account = None
            if _whole(row):
                try:
                    account = account_from(row.cells, before, vault, warnings=warnings)
                except RowError as error:
                    _join(mistakes, error)
                self._check_client(row, account, mistakes)
            first = self._mark(ACCOUNTS, account_id, row.line, mistakes)
            if before is not None and first:
                old_seen += 1
                self._enabled_before += not before.disabled
            if account is None or mistakes:
                self._bad_row(source, ACCOUNTS, row.line, account_id, mistakes)
                warnings.clear()
                continue
            for warning in warnings:
                self.warnings.add(Problem(source.label, row.line, *warning))
            warnings.clear()
            if before is not None and account.disabled and not before.disabled:
                tally.switched_off.add(account.id)
                self._no_longer_enabled += 1
            if self._differs(source, ACCOUNTS, before, account):
                draft.put_account(account)
        self._tell_reset(source, ACCOUNTS)
        if old_seen < old_total:
            self._absent_accounts(tally)
            self._tell_kept(source, ACCOUNTS, tally)

    def _check_client(self, row: Row, account: Account | None, mistakes: list[Mistake]) -> None:
        """Add a mistake where the account's client is neither in the new table nor in the store."""
        client_id = account.client_id if account else id_in(row.cells.get("client_id"))
        if client_id is None or CLIENTS.name in self._broken:
            return
        there = self._clients_there.get(client_id)
        if there is None:
            there = self._draft.client(client_id) is not None
            _remember(self._clients_there, client_id, there)
        if not there and (self._skip_bad or client_id not in self._bad_clients):
            expected = _not_there("client", client_id, self._bad_clients)
            mistakes.append(Mistake("client_id", str(client_id), expected))

    def _absent_accounts(self, tally: Tally) -> None:
        """Do with the accounts that the table lacks as ``missing`` says."""
        kept = self._missing == "keep" or ACCOUNTS.name in self._nameless
        for account in self._draft.accounts():
            if _mark(ACCOUNTS, account.id) in self._draft.scratch:
                continue
            self._enabled_before += not account.disabled
            if kept or (account.disabled and self._missing == "disable"):
                tally.kept.add(account.id)
                continue
            self._no_longer_enabled += not account.disabled
            if self._missing == "remove":
                self._draft.delete_account(account.id)
                self._removed.append(account.id)
                tally.removed.add(account.id)
            else:
                off = msgspec.structs.replace(account, orig_enabled=False, term_enabled=False)
                self._draft.put_account(off)
                tally.disabled.add(account.id)

    # -- DIDs

    def _dids(self, source: Source) -> None:
        draft, tally = self._draft, self._tallies[DIDS.name]
        old_seen = 0
        for row in self._read(source, DIDS):
            number = number_in(row.cells.get("number"))
            before = draft.did(number) if number is not None and self._old_dids else None
            mistakes = list(row.mistakes)
            did = None
            if _whole(row):
                try:
                    did = did_from(row.cells)
                except RowError as error:
                    _join(mistakes, error)
                account_id = did.account_id if did else id_in(row.cells.get("account_id"))
                self._check_account(account_id, mistakes)
            first = self._mark(DIDS, number, row.line, mistakes)
            old_seen += before is not None and first
            if did is None or mistakes:
                self._bad_row(source, DIDS, row.line, number, mistakes)
                continue
            if self._differs(source, DIDS, before, did):
                draft.put_did(did)
        self._tell_reset(source, DIDS)
        if old_seen < self._old_dids:
            self._absent_dids(tally)
            self._tell_kept(source, DIDS, tally)

    def _check_account(self, account_id: int | None, mistakes: list[Mistake]) -> None:
        """Add a mistake where the DID's account is neither in the new table nor in the store."""
        if account_id is None or ACCOUNTS.name in self._broken:
            return
        there = self._accounts_there.get(account_id)
        if there is None:
            there = self._draft.account(account_id) is not None
            _remember(self._accounts_there, account_id, there)
        if not there:
            line = self._line_of(ACCOUNTS, account_id)
            if line is None or self._skip_bad:
                expected = _not_there("account", account_id, {account_id: line} if line else {})
                mistakes.append(Mistake("account_id", str(account_id), expected))

    def _absent_dids(self, tally: Tally) -> None:
        """Remove the DIDs that the table lacks."""
        kept = DIDS.name in self._nameless
        for did in self._draft.dids():
            if _mark(DIDS, did.number) in self._draft.scratch:
                continue
            if kept:
                tally.kept.add(did.number)
            else:
                self._remove_did(tally, did.number)

    def _remove_orphans(self) -> None:
        """Remove the DIDs of the accounts that were removed."""
        tally = self._tallies.setdefault(DIDS.name, Tally())
        for account_id in self._removed:
            for did in self._draft.account_dids(account_id):
                self._remove_did(tally, did.number)

    def _remove_did(self, tally: Tally, number: str) -> None:
        self._draft.delete_did(number)
        tally.removed.add(number)

    # -- rows of any table

    def _read(self, source: Source, table: Table) -> Iterator[Row]:
        """Yield the rows of a source and tell the progress."""
        tally = self._tallies[table.name]
        total = sum(each.size for each in self._sources.values())
        for row in source.rows():
            if tally.rows % _PROGRESS_ROWS == 0 and self._progress is not None:
                self._progress(self._bytes_before + source.position, total, table.name)
            tally.rows += 1
            yield row

    def _mark(self, table: Table, key: int | str | None, line: int, mistakes: list[Mistake]) -> bool:
        """Note on which line a key stands; a second time is a mistake. Returns whether this is the first time."""
        if key is None:
            return False
        if self._draft.scratch.add(_mark(table, key), line.to_bytes(8, "big")):
            return True
        mistakes.append(_repeated(table.key, key, self._line_of(table, key) or 0))
        return False

    def _line_of(self, table: Table, key: int | str) -> int | None:
        """Return the line on which a key stands in its table, if it does."""
        found = self._draft.scratch.get(_mark(table, key))
        return None if found is None else int.from_bytes(found, "big")

    def _bad_row(
        self, source: Source, table: Table, line: int, key: int | str | None, mistakes: list[Mistake]
    ) -> None:
        tally = self._tallies[table.name]
        tally.skipped += 1
        if key is None:
            self._nameless.setdefault(table.name, line)
        for mistake in mistakes:
            self._problems.add(Problem(source.label, line, *mistake))

    def _tell_kept(self, source: Source, table: Table, tally: Tally) -> None:
        """Warn that absent rows were kept, since a bad row whose key cannot be read may stand for any of them."""
        line = self._nameless.get(table.name)
        if line is not None and tally.kept.total and self._skip_bad:
            text = (
                f"this row may be any of the {tally.kept.total:,} {table.name} that the table lacks; they are kept"
            )
            self.warnings.add(Problem(source.label, line, table.key, None, text))

    def _differs(self, source: Source, table: Table, before: T | None, after: T) -> bool:
        """Count a good row, and return whether it has to be written."""
        tally = self._tallies[table.name]
        if before is None:
            tally.added += 1
            return True
        if before == after:
            tally.unchanged += 1
            return False
        key = getattr(after, table.key)
        tally.changed.add(key)
        for column in table.columns:
            if column not in source.columns and getattr(before, column) != getattr(after, column):
                tally.reset.setdefault(column, Listing()).add(key)
        return True

    def _tell_reset(self, source: Source, table: Table) -> None:
        """Warn of the columns that are not in the table at all, and by that changed rows."""
        for column, found in reversed(self._tallies[table.name].reset.items()):
            if column not in source.columns:
                default = _DEFAULTS[table.name].get(column)
                does = "clears it" if default is None else f"sets it to {default}"
                named = _few(found.done().first, found.total)
                text = f"this column is not there, which {does} in {found.total:,} of the {table.name} ({named})"
                self.warnings.add_first(Problem(source.label, None, column, None, text))

    def _in_order(self) -> tuple[Problem, ...]:
        """Return the problems as they stand in the files, table by table."""
        order = [self._sources[table.name].label for table in TABLES if table.name in self._sources]
        return tuple(sorted(self._problems.first, key=lambda found: (order.index(found.file), found.line or 0)))

    def _much(self) -> str | None:
        """Say what the import does, where that is more than a tenth of what is there (interfaces.md 1)."""
        said = []
        if self._no_longer_enabled * 10 > self._enabled_before:
            accounts = self._tallies[ACCOUNTS.name]
            lists = (accounts.disabled, accounts.removed, accounts.switched_off)
            named = tuple(key for each in lists for key in each.done().first)
            verb = "remove" if self._missing == "remove" and not accounts.switched_off.total else "disable"
            verb = "disable or remove" if accounts.removed.total and accounts.switched_off.total else verb
            said.append(_share(verb, self._no_longer_enabled, self._enabled_before, "enabled accounts", named))
        elif len(self._removed) * 10 > self._old_accounts:  # they were disabled already, and yet
            listed = self._tallies[ACCOUNTS.name].removed.done().first
            said.append(_share("remove", len(self._removed), self._old_accounts, "accounts", listed))
        dids = self._tallies.get(DIDS.name)
        if dids is not None and dids.removed.total * 10 > self._old_dids:
            said.append(_share("remove", dids.removed.total, self._old_dids, "DIDs", dids.removed.done().first))
        return f"it would {' and '.join(said)}" if said else None


def _whole(row: Row) -> bool:
    """Whether the cells of a row stand in the columns where they belong, so that it is worth reading on."""
    return not row.mistakes or all(mistake.column is not None for mistake in row.mistakes)


def _join(mistakes: list[Mistake], error: RowError) -> None:
    """Add what is wrong with the values of columns that nothing was said of yet."""
    columns = {mistake.column for mistake in mistakes}
    mistakes += [mistake for mistake in error.mistakes if mistake.column not in columns]


def _repeated(column: str, key: int | str, line: int) -> Mistake:
    return Mistake(column, str(key), f"it stands on line {line} already; once is wanted")


def _not_there(what: str, key: int, bad_lines: Mapping[int, int]) -> str:
    if key in bad_lines:
        return f"the {what} on line {bad_lines[key]} has mistakes of its own and is left out"
    return f"there is no such {what}, neither in the {what}s of this book nor in the store"


def _mark(table: Table, key: int | str) -> bytes:
    initial = table.name[0].encode()
    return initial + (key.to_bytes(8, "big") if isinstance(key, int) else key.encode())


def _remember(there: dict[int, bool], key: int, value: bool) -> None:
    if len(there) >= _REMEMBERED:
        there.clear()
    there[key] = value


def _share(verb: str, some: int, total: int, what: str, named: tuple[int | str, ...]) -> str:
    return f"{verb} {some:,} of {total:,} {what} ({some * 100 / total:.0f} %: {_few(named, some)})"


def _few(named: tuple[int | str, ...], total: int) -> str:
    return ", ".join(map(str, named[:5])) + (", …" if total > 5 else "")
