"""A version of the book (:class:`Snapshot`), read row by row without holding it in memory.

Each row is checked when it is read. A walk through a whole table also checks at its end that no row is missing.
A search for one row cannot notice that a damaged page lost the row, since only the sum of a table reveals that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, islice, pairwise

from identengine.model.records import Account, BookRow, Client, Did
from identengine.store.format import (
    ACCOUNTS,
    CLIENTS,
    DIDS,
    OWNED,
    ROOM_NAMES,
    STAMP_BYTES,
    VersionInfo,
    account_row,
    change_of,
    client_row,
    damaged,
    did_key,
    did_row,
    id_key,
    is_active,
    owned_row,
    row_name,
    stamp_of,
    version_of,
)
from identengine.store.keys import Counts, newest, record_of, rows_under, stored_rows
from identengine.store.sums import SUMMED, reduced, row_hash, sums_of
from identengine.store.transaction import Finder, Txn

_SEARCHED = 64
"""Rows that a search looks at together."""


class View:
    """The state of the book at one version. Rows are ordered by key. Every method raises DamagedError."""

    def __init__(self, txn: Txn, stamp: bytes, version: int, hash_key: bytes) -> None:
        self.version = version
        self.hash_key = hash_key
        self._txn = txn
        self._stamp = stamp
        self._finder = Finder(txn)
        self._row_hash = row_hash(hash_key)

    def client(self, client_id: int) -> Client | None:
        """Return the client with this id, or None."""
        value = self._get(id_key(CLIENTS, client_id)) if is_id(client_id) else b""
        return client_row(value) if value else None

    def account(self, account_id: int) -> Account | None:
        """Return the account with this id, or None."""
        value = self._get(id_key(ACCOUNTS, account_id)) if is_id(account_id) else b""
        return account_row(value) if value else None

    def did(self, number: str) -> Did | None:
        """Return the DID with this number (in normal form), or None."""
        try:
            key = did_key(number)
        except ValueError:
            return None
        value = self._get(key)
        return did_row(key, value) if value else None

    def clients(self) -> Iterator[Client]:
        """Yield all clients by id."""
        return (client_row(value) for _key, value in self._table(CLIENTS))

    def accounts(self) -> Iterator[Account]:
        """Yield all accounts by id."""
        return (account_row(value) for _key, value in self._table(ACCOUNTS))

    def accounts_like(self, matches: Callable[[bytes], bool]) -> Iterator[Account]:
        """Yield the accounts whose stored row matches, in this version or in an earlier one, by id.

        ``matches`` is also asked about several rows in one text, and must be True if it is for one of them. Other
        rows are neither checked nor decoded, so that a search costs a fraction of a walk.
        """
        last = 0
        rows = self._rows(ACCOUNTS)
        while batch := list(islice(rows, _SEARCHED)):
            if not matches(b"\0".join([stored for _, stored in batch])):
                continue
            for key, stored in batch:
                if matches(stored) and (account_id := int.from_bytes(key[1:9], "big")) != last:
                    last = account_id
                    if (account := self.account(account_id)) is not None:
                        yield account

    def dids(self) -> Iterator[Did]:
        """Yield all DIDs by number."""
        return (did_row(key, value) for key, value in self._table(DIDS))

    def dids_from(self, digits: str) -> Iterator[Did]:
        """Yield the DIDs that begin with ``digits`` (in normal form) by number, without reading other DIDs."""
        return (did_row(key, value) for key, value in self._walk(DIDS + digits.encode()))

    def account_dids(self, account_id: int) -> Iterator[Did]:
        """Yield the DIDs of one account by number, without reading other DIDs."""
        if not is_id(account_id):
            return iter(())
        return (owned_row(key, value) for key, value in self._walk(id_key(OWNED, account_id)))

    def active_numbers(self) -> Iterator[tuple[int, str]]:
        """Yield account id and number of each active DID, by account and number."""
        for key, value in self._table(OWNED):
            if is_active(value):
                yield int.from_bytes(key[1:9], "big"), key[9:-1].decode()

    def history(
        self, row: Client | Account, since: int = 0
    ) -> Iterator[tuple[VersionInfo, BookRow | None, BookRow | None]]:
        """Yield the versions after ``since`` that changed a row, newest first, with the row before and after.

        This version is the last one that counts. A draft has no record yet, so the one before it is the last.
        """
        key = id_key(CLIENTS if isinstance(row, Client) else ACCOUNTS, row.id)
        last = min(self.version, newest(self._txn).version)
        found = [(version, value) for version, value in self._versions_of(key) if version <= last]
        for (version, after), (_, before) in pairwise([*found, (0, b"")]):
            if version <= since:
                return
            if before != after:
                change = change_of(key, before, after)
                yield record_of(self._txn, version), change.before, change.after

    def did_changes(self, account_id: int, since: int) -> Iterator[tuple[VersionInfo, Did | None, Did | None]]:
        """Yield each DID of an account that differs from that of an earlier version, by number.

        A DID of another account does not count as one. The version is the one that wrote the DID last.
        """
        if not is_id(account_id):
            return
        rows = rows_under(self._txn, id_key(OWNED, account_id))
        for key, group in groupby(rows, lambda row: row[0][:-STAMP_BYTES]):
            stamped = ((version_of(full[-STAMP_BYTES:]), value) for full, value in group)
            written = [(version, value) for version, value in stamped if version <= self.version]
            before = next((value for version, value in written if version <= since), b"")
            version, after = written[0] if written else (0, b"")
            if before != after:
                then, now = (owned_row(key, value) if value else None for value in (before, after))
                yield record_of(self._txn, version), then, now

    def _versions_of(self, key: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the versions that wrote a row, and its values, newest first."""
        return ((version_of(full[-STAMP_BYTES:]), value) for full, value in rows_under(self._txn, key))

    def _get(self, key: bytes) -> bytes:
        return self._finder.value(key, self._stamp)

    def _rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return stored_rows(self._txn, prefix)

    def _table(self, table: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield row key and value of all rows of a table that exist in this version."""
        return self._walk(table)

    def _summed(self, table: bytes, wanted: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of a table. Raise DamagedError at the end if their sum is not ``wanted``."""
        total, of = 0, self._row_hash
        for row in self._walk(table):
            total += of(*row)
            yield row
        if reduced({table: total})[table] != wanted:
            raise damaged(
                f"rows of the table {ROOM_NAMES[table]} are missing or outdated in version {self.version}, since "
                "its sum differs"
            )

    def _walk(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield row key and value of the rows that exist in this version, below a prefix."""
        stamp, opened = self._stamp, self._txn.opened
        last = b""
        for key, stored in self._rows(prefix):
            row_key = key[:-STAMP_BYTES]
            if row_key == last or key[-STAMP_BYTES:] < stamp:
                continue  # outdated in this version, or written later
            if row_key < last:
                raise damaged(f"the rows near {row_name(key)} are out of order")
            last = row_key
            if value := opened(key, stored):
                yield row_key, value


def is_id(value: int) -> bool:
    """Return True if ``value`` can be the id of a row: at most 8 bytes, and not 0."""
    return 0 < value < 1 << 64


class Snapshot(View):
    """A version of the book that does not change. One thread may use it during its read (:meth:`Store.read`).

    ``info`` is its VersionInfo, ``version`` its number, and ``hash_key`` that of the store (engine.md 4.3).
    """

    def __init__(self, txn: Txn, info: VersionInfo, hash_key: bytes) -> None:
        super().__init__(txn, stamp_of(info.version), info.version, hash_key)
        self.info = info
        self._sums = sums_of(txn, info.version)

    @property
    def counts(self) -> Counts:
        """Numbers of clients, accounts and DIDs."""
        return Counts(self.info.clients, self.info.accounts, self.info.dids)

    def verify(self) -> None:
        """Read all rows of the version. Raise DamagedError if a row is damaged or missing.

        A store of format 1 has no checksums, so that only the order of its rows is checked.
        """
        for table in SUMMED:
            for _row in self._table(table):
                pass

    def _table(self, table: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._walk(table) if self._sums is None else self._summed(table, self._sums[table])
