"""A version of the book (:class:`Snapshot`), read row by row without holding it in memory."""

from __future__ import annotations

from collections.abc import Iterator

from identengine.model.records import Account, Client, Did
from identengine.store.file import Txn
from identengine.store.format import (
    ACCOUNTS,
    CLIENTS,
    DIDS,
    OWNED,
    STAMP_BYTES,
    VersionInfo,
    account_row,
    client_row,
    did_key,
    did_row,
    id_key,
    is_active,
    owned_row,
    stamp_of,
)
from identengine.store.keys import Counts, rows_under, value_at


class View:
    """The state of the book at one version. Rows are ordered by key."""

    def __init__(self, txn: Txn, stamp: bytes, version: int, hash_key: bytes) -> None:
        self.version = version
        self.hash_key = hash_key
        self._txn = txn
        self._stamp = stamp
        self._cursor = txn.cursor()

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
        return (client_row(value) for _key, value in self._walk(CLIENTS))

    def accounts(self) -> Iterator[Account]:
        """Yield all accounts by id."""
        return (account_row(value) for _key, value in self._walk(ACCOUNTS))

    def dids(self) -> Iterator[Did]:
        """Yield all DIDs by number."""
        return (did_row(key, value) for key, value in self._walk(DIDS))

    def account_dids(self, account_id: int) -> Iterator[Did]:
        """Yield the DIDs of one account by number, without reading other DIDs."""
        if not is_id(account_id):
            return iter(())
        return (owned_row(key, value) for key, value in self._walk(id_key(OWNED, account_id)))

    def active_numbers(self) -> Iterator[tuple[int, str]]:
        """Yield account id and number of each active DID, by account and number."""
        for key, value in self._walk(OWNED):
            if is_active(value):
                yield int.from_bytes(key[1:9], "big"), key[9:-1].decode()

    def _get(self, key: bytes) -> bytes:
        return value_at(self._cursor, key, self._stamp)

    def _rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return rows_under(self._txn, prefix)

    def _walk(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield row key and value of the rows that exist in this version."""
        stamp = self._stamp
        last = b""
        for key, value in self._rows(prefix):
            row_key = key[:-STAMP_BYTES]
            if row_key == last or key[-STAMP_BYTES:] < stamp:
                continue  # outdated in this version, or written later
            last = row_key
            if value:
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

    @property
    def counts(self) -> Counts:
        """Numbers of clients, accounts and DIDs."""
        return Counts(self.info.clients, self.info.accounts, self.info.dids)
