"""Imports the tables of accounts and DIDs, one row at a time.

Accounts that are not in the table are disabled, kept or removed, depending on ``missing``. DIDs that are not in
the table are removed or kept (engine.md 1.5, 9.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from identengine.book.clientnames import ClientNames, name_in
from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, id_in, number_in
from identengine.book.files import FileRow, Source
from identengine.book.importrun import ImportRun, join_mistakes, readable, row_mark, unknown_key
from identengine.book.labels import Labels
from identengine.book.mistakes import Mistake, RowError
from identengine.book.numbers import numbers_of, range_in
from identengine.book.records import Cells, account_from, did_from
from identengine.book.removedids import reused_id
from identengine.book.report import TableCounts
from identengine.model.records import Account

_REMEMBERED = 100_000
"""Capacity of the cache of existing ids, in ids. The cache saves a lookup in the store for each row."""


class AccountsImport:
    """Writes the table of accounts to the draft of a run."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run
        self._clients_there: dict[int, bool] = {}
        self._names: ClientNames | None = None
        self._labels = Labels(run.draft)
        self.enabled_before = 0
        """Accounts that were enabled before the import."""
        self.no_longer_enabled = 0
        """Accounts that were enabled before, and that the import disables or removes."""

    def load(self, source: Source) -> None:
        """Write the rows of ``source``, then disable, keep or remove absent accounts. Raise LoadError."""
        run = self._run
        draft, tally, vault = run.draft, run.tallies[ACCOUNTS.name], run.vault
        warnings: list[Mistake] = []
        old_total, old_seen = draft.counts.accounts, 0
        for row in run.read(source, ACCOUNTS):
            account_id = id_in(row.cells.get("id"))
            before = draft.account(account_id) if account_id is not None and old_total else None
            mistakes = list(row.mistakes)
            account = None
            if readable(row):
                try:
                    cells = self._with_client_id(run.cells(source, ACCOUNTS, row, account_id, before))
                    account = account_from(cells, before, vault, warnings=warnings)
                except RowError as error:
                    join_mistakes(mistakes, error)
                self._check_client(row, account, mistakes)
                if account is not None and before is None and not run.reuse_id and draft.version > 1:
                    mistakes += filter(None, (reused_id(draft, account),))
            first = run.mark(ACCOUNTS, account_id, row.line, mistakes)
            if before is not None and first:
                old_seen += 1
                self.enabled_before += not before.disabled
            if account is None or mistakes:
                run.bad_row(source, ACCOUNTS, row.line, account_id, mistakes)
                warnings.clear()
                continue
            if row.labels:
                warnings += self._labels.warnings(account, row.labels)
            if warnings:
                run.warn(source, row.line, warnings)
                warnings.clear()
            account = run.held(before, account)
            if before is not None and account.disabled and not before.disabled:
                tally.switched_off.add(account.id)
                self.no_longer_enabled += 1
            run.note_limits(account)
            if run.differs(ACCOUNTS, before, account):
                draft.put_account(account)
        if old_seen < old_total:
            self._absent_accounts(tally)
            run.warn_kept(source, ACCOUNTS, tally)

    def _with_client_id(self, cells: Cells) -> Cells:
        """Return the cells of a row with the id of a client that they name. Raise RowError."""
        name = name_in(cells.get("client_id"))
        if name is None:
            return cells
        if self._names is None:  # the clients of the book are in the draft
            self._names = ClientNames(self._run.draft.clients())
        found = self._names.id_of("client_id", name)
        if isinstance(found, Mistake):
            raise RowError([found])
        return {**cells, "client_id": found}

    def _check_client(self, row: FileRow, account: Account | None, mistakes: list[Mistake]) -> None:
        """Add a mistake if the account's client is neither in the new table nor in the store."""
        run = self._run
        client_id = account.client_id if account else id_in(row.cells.get("client_id"))
        if client_id is None or CLIENTS.name in run.broken:
            return
        there = self._clients_there.get(client_id)
        if there is None:
            there = run.draft.client(client_id) is not None
            _remember(self._clients_there, client_id, there)
        if not there and (run.skip_bad or client_id not in run.bad_clients):
            message = unknown_key("client", client_id, run.bad_clients)
            mistakes.append(Mistake("client_id", str(client_id), message))

    def _absent_accounts(self, tally: TableCounts) -> None:
        """Disable, keep or remove the accounts that are not in the table, depending on ``missing``."""
        run = self._run
        kept = run.missing == "keep" or ACCOUNTS.name in run.nameless
        for account in run.draft.accounts():
            if row_mark(ACCOUNTS, account.id) in run.draft.scratch:
                continue
            self.enabled_before += not account.disabled
            if kept or (account.disabled and run.missing == "disable"):
                tally.kept.add(account.id)
                continue
            self.no_longer_enabled += not account.disabled
            if run.missing == "remove":
                run.draft.delete_account(account.id)
                run.removed.append(account.id)
                tally.removed.add(account.id)
            else:
                off = msgspec.structs.replace(account, orig_enabled=False, term_enabled=False)
                run.draft.put_account(off)
                tally.disabled.add(account.id)


class DidsImport:
    """Writes the table of DIDs to the draft of a run."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run
        self._accounts_there: dict[int, bool] = {}
        self._labels = Labels(run.draft)
        self.old_total = run.draft.counts.dids
        """Number of DIDs before the import."""

    def load(self, source: Source) -> None:
        """Write the rows of ``source``, then remove or keep absent DIDs. Raise LoadError."""
        run = self._run
        draft, tally = run.draft, run.tallies[DIDS.name]
        old_seen = 0
        warnings: list[Mistake] = []
        for row in self._numbers(source):
            number = number_in(row.cells.get("number"))
            before = draft.did(number) if number is not None and self.old_total else None
            mistakes = list(row.mistakes)
            did = None
            if readable(row):
                try:
                    did = did_from(run.cells(source, DIDS, row, number, before), before, warnings=warnings)
                except RowError as error:
                    join_mistakes(mistakes, error)
                account_id = did.account_id if did else id_in(row.cells.get("account_id"))
                self._check_account(account_id, mistakes)
            first = run.mark(DIDS, number, row.line, mistakes)
            old_seen += before is not None and first
            if did is None or mistakes:
                run.bad_row(source, DIDS, row.line, number, mistakes)
                warnings.clear()
                continue
            if row.labels:
                warnings += self._labels.warnings(did, row.labels)
            if warnings:
                run.warn(source, row.line, warnings)
                warnings.clear()
            if run.differs(DIDS, before, did):
                draft.put_did(did)
        if old_seen < self.old_total:
            self._absent_dids(tally)
            run.warn_kept(source, DIDS, tally)

    def _numbers(self, source: Source) -> Iterator[FileRow]:
        """Yield the rows of ``source``, and for a range of DIDs a row for each of its numbers (engine.md 1.3)."""
        for row in self._run.read(source, DIDS):
            number = row.cells.get("number")
            found = range_in(number) if isinstance(number, str) and "-" in number else None
            if found is None:
                yield row
                continue
            for one in numbers_of(*found):
                yield row._replace(cells={**row.cells, "number": one})

    def _check_account(self, account_id: int | None, mistakes: list[Mistake]) -> None:
        """Add a mistake if the DID's account is neither in the new table nor in the store."""
        run = self._run
        if account_id is None or ACCOUNTS.name in run.broken:
            return
        there = self._accounts_there.get(account_id)
        if there is None:
            there = run.draft.account(account_id) is not None
            _remember(self._accounts_there, account_id, there)
        if not there:
            line = run.line_of(ACCOUNTS, account_id)
            if line is None or run.skip_bad:
                if run.removes(account_id):
                    message = f"account {account_id} is not in this book, so --missing remove removes it"
                else:
                    message = unknown_key("account", account_id, {account_id: line} if line else {})
                mistakes.append(Mistake("account_id", str(account_id), message))

    def _absent_dids(self, tally: TableCounts) -> None:
        """Remove or keep the DIDs that are not in the table, depending on ``missing``."""
        run = self._run
        kept = run.missing == "keep" or DIDS.name in run.nameless
        for did in run.draft.dids():
            if row_mark(DIDS, did.number) in run.draft.scratch:
                continue
            if kept:
                tally.kept.add(did.number)
            else:
                self._remove_did(tally, did.number)

    def remove_orphans(self, removed: Iterable[int]) -> None:
        """Remove the DIDs of the accounts whose ids are ``removed``."""
        tally = self._run.tallies.setdefault(DIDS.name, TableCounts())
        for account_id in removed:
            for did in self._run.draft.account_dids(account_id):
                self._remove_did(tally, did.number)

    def _remove_did(self, tally: TableCounts, number: str) -> None:
        self._run.draft.delete_did(number)
        tally.removed.add(number)


def _remember(there: dict[int, bool], key: int, value: bool) -> None:
    if len(there) >= _REMEMBERED:
        there.clear()
    there[key] = value
