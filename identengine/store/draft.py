"""The next version of the book while an edit creates it (:class:`Draft`), and its scratch file."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lmdb

from identengine.errors import StoreError
from identengine.model.records import Account, Client, Did
from identengine.store.chain import put_version
from identengine.store.format import (
    ACCOUNTS,
    BOOK,
    CHANGES,
    CLIENTS,
    DIDS,
    NEWEST,
    Change,
    Changes,
    VersionInfo,
    change_of,
    damaged,
    did_key,
    did_value,
    encode,
    id_key,
    number_bytes,
    owned_key,
    stamp_of,
)
from identengine.store.history import walked_changes
from identengine.store.keys import (
    MAX_LISTED_KEYS,
    Counts,
    last_key,
    retired_keys,
    stored_rows_while_writing,
)
from identengine.store.seals import seal
from identengine.store.snapshot import View, is_id
from identengine.store.sums import add_change, no_sums, put_sums, reduced, sums_of
from identengine.store.transaction import Txn
from identengine.store.vault import key_id

_SCRATCH_MAP = 1 << 36
_SCRATCH_COMMIT = 200_000


def remove_scratches(data: Path) -> None:
    """Remove the scratch files of the data file ``data`` that killed or interrupted writers have left."""
    for left in data.parent.glob(f"{glob.escape(_prefix(data))}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(data: Path) -> str:
    return f".scratch-{data.name}-"


class Scratch:
    """A temporary mapping from keys to values, both bytes, that needs hardly any memory.

    It is a nameless file in the store's folder, so that nothing remains of it if the process is killed.
    """

    def __init__(self, data: Path) -> None:
        """Create it in the folder of the data file ``data``. Its name includes that of the data file."""
        folder = data.parent
        try:
            remove_scratches(data)
            with tempfile.TemporaryDirectory(prefix=_prefix(data), dir=folder) as made:
                self._env = lmdb.open(made, map_size=_SCRATCH_MAP, sync=False, lock=False)
        except OSError as error:
            raise StoreError(f"cannot create a temporary file in {folder}: {error.strerror}") from error
        self._txn = self._env.begin(write=True)
        self._puts = 0

    def add(self, key: bytes, value: bytes = b"") -> bool:
        """Store ``value`` under ``key`` if the key is new. Return True if it was."""
        try:
            self._puts += 1
            if self._puts % _SCRATCH_COMMIT == 0:  # an open transaction holds its pages in memory
                self._txn.commit()
                self._txn = self._env.begin(write=True)
            return self._txn.put(key, value, overwrite=False)
        except lmdb.Error as error:
            # The message names the cause, since the space is free again when the operator looks.
            raise StoreError(
                "a temporary file next to the store could not be written, most likely because the disk is full "
                f"({error}). Nothing was changed. Free space on it and try again."
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        return self._txn.get(key)

    def __contains__(self, key: bytes) -> bool:
        return self._txn.get(key) is not None

    def close(self) -> None:
        """Close the file, which removes it."""
        self._txn.abort()
        self._env.close()


class _RowCounts:
    """Counts of one table while a draft is edited, and the keys that the edit wrote."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.added = self.changed = self.removed = 0
        self.keys: list[bytes] | None = []

    def note(self, key: bytes) -> None:
        if self.keys is not None:
            self.keys.append(key)
            if len(self.keys) > MAX_LISTED_KEYS:
                self.keys = None

    def move(self, was: bytes, now: bytes, value: bytes) -> None:
        """Count that a row with the value ``was`` in the version before changes from ``now`` to ``value``."""
        self._count(was, now, -1)
        self._count(was, value, 1)
        self.rows += bool(value) - bool(now)

    def _count(self, was: bytes, now: bytes, by: int) -> None:
        if was == now:
            return
        if not was:
            self.added += by
        elif not now:
            self.removed += by
        else:
            self.changed += by

    @property
    def changes(self) -> Changes:
        return Changes(self.added, self.changed, self.removed)


class Draft(View):
    """The next version while an edit creates it (:meth:`Store.change`). It shows what the edit has written so far.

    The store keeps rows. Their consistency (such as an account's client) is the responsibility of the editor. Rows
    may be put or deleted during a walk (``accounts()`` …). For rows that it has not reached, the walk may show
    either state. ``version`` is the number of the version to be created.
    """

    def __init__(self, txn: Txn, before: VersionInfo, hash_key: bytes, data: Path) -> None:
        super().__init__(txn, NEWEST, before.version + 1, hash_key)
        self._own = stamp_of(self.version)
        # Cursors of their own, since a cursor that stays near one page need not start from the root.
        self._cursor = txn.cursor()
        self._owned = txn.cursor()
        self._sums = sums_of(txn, before.version) or no_sums()
        self._before = before
        self._data = data
        self._tallies = {
            CLIENTS: _RowCounts(before.clients),
            ACCOUNTS: _RowCounts(before.accounts),
            DIDS: _RowCounts(before.dids),
        }
        self._retired = frozenset(retired_keys(txn))
        self._scratch: Scratch | None = None

    @property
    def counts(self) -> Counts:
        """Current numbers of clients, accounts and DIDs."""
        tallies = self._tallies
        return Counts(tallies[CLIENTS].rows, tallies[ACCOUNTS].rows, tallies[DIDS].rows)

    @property
    def scratch(self) -> Scratch:
        """A temporary area, created on first use and removed at the end of the edit."""
        if self._scratch is None:
            self._scratch = Scratch(self._data)
        return self._scratch

    def put_client(self, client: Client) -> bool:
        """Add or replace a client. Return True if that changed the book."""
        return self.put_row(id_key(CLIENTS, client.id), encode(client))

    def put_account(self, account: Account) -> bool:
        """Add or replace an account. Return True if that changed the book.

        Raise StoreError if its password was encrypted under a key that a rotation has retired.
        """
        key = id_key(ACCOUNTS, account.id)
        value = encode(account)
        if account.password is not None and self._retired and key_id(account.password) in self._retired:
            raise StoreError(
                f"the password of account {account.id} was encrypted under the key {key_id(account.password)}, "
                "which has been rotated away. Nothing was changed. Repeat the edit with the current key file."
            )
        return self.put_row(key, value)

    def put_did(self, did: Did) -> bool:
        """Add or replace a DID.

        Return True if that changed the book. Raise ValueError if its number is invalid.
        """
        return self.put_row(did_key(did.number), did_value(did))

    def delete_client(self, client_id: int) -> bool:
        """Remove a client. Return True if it existed."""
        return is_id(client_id) and self.put_row(id_key(CLIENTS, client_id), b"")

    def delete_account(self, account_id: int) -> bool:
        """Remove an account. Return True if it existed. Its DIDs are rows of their own and are kept."""
        return is_id(account_id) and self.put_row(id_key(ACCOUNTS, account_id), b"")

    def delete_did(self, number: str) -> bool:
        """Remove a DID. Return True if it existed."""
        with contextlib.suppress(ValueError):
            return self.put_row(did_key(number), b"")
        return False

    def before(self) -> View:
        """Return the version that the edit began with. It may be read until the next row is written."""
        return View(self._txn, stamp_of(self._before.version), self._before.version, self.hash_key)

    def changes(self) -> Iterator[Change]:
        """Yield the changes of the edit so far, by table and key."""
        then, now = stamp_of(self.version - 1), self._own
        for table in BOOK:
            keys = self._tallies[table].keys
            if keys is None:
                raw = walked_changes(self._txn, table, self.version - 1, self.version)
            else:
                value = self._finder.value
                raw = ((key, value(key, then), value(key, now)) for key in sorted(keys))
            yield from (change_of(*one) for one in raw if one[1] != one[2])

    def next_client_id(self) -> int:
        """Return an id that no client has or ever had, since statistics refer to ids (engine.md 1.5)."""
        return self._next_id(CLIENTS)

    def next_account_id(self) -> int:
        """Return an id that no account has or ever had."""
        return self._next_id(ACCOUNTS)

    def _next_id(self, table: bytes) -> int:
        key = last_key(self._txn, table)
        return 1 if key is None else int.from_bytes(key[1:9], "big") + 1

    def put_row(self, key: bytes, value: bytes) -> bool:
        """Set the value of the row ``key``, or delete it if ``value`` is empty. Return True if the row changed."""
        was = now = b""
        written = False
        if newest_row := self._finder.newest(key, NEWEST):
            found, now = newest_row
            if found.endswith(self._own):
                written = True
                was = self._finder.value(key, stamp_of(self.version - 1))
            else:
                was = now
        if value == now:
            return False
        # A row that returns to its former value is still written, since the list of keys names it once already.
        self._write(self._cursor, key, value)
        add_change(self._sums, self._row_hash, key, now, value)
        tally = self._tallies[key[:1]]
        if not written:
            tally.note(key)
        tally.move(was, now, value)
        if key.startswith(DIDS):
            if now and now[:8] != value[:8]:
                self._write(self._owned, owned_key(now[:8], key), b"")
            if value:
                self._write(self._owned, owned_key(value[:8], key), value[8:])
        return True

    def _write(self, cursor: lmdb.Cursor[bytes], key: bytes, value: bytes) -> None:
        full = key + self._own
        cursor.put(full, seal(full, value))

    def finish(self, who: str, what: str, at: float) -> VersionInfo:
        """Record the new version and return it. Return the version before if nothing changed."""
        clients, accounts, dids = (self._tallies[table] for table in BOOK)
        info = VersionInfo(
            version=self.version,
            at=at,
            who=who,
            what=what,
            clients=clients.rows,
            accounts=accounts.rows,
            dids=dids.rows,
            client_changes=clients.changes,
            account_changes=accounts.changes,
            did_changes=dids.changes,
        )
        if not info.changes:
            return self._before
        version = number_bytes(self.version)
        put_sums(self._txn, self.version, self._sums)
        info = put_version(self._txn, info, self._sums)
        for table in BOOK:
            keys = self._tallies[table].keys
            if keys is None or keys:
                self._txn.put(CHANGES + version + table, encode(None if keys is None else sorted(keys)))
        return info

    def verify(self, version: int | None = None) -> None:
        """Read all rows of the draft. Raise DamagedError if a row is damaged or missing.

        Raise it also if the rows are not exactly those of ``version``.
        """
        sums = reduced(self._sums)
        if version is not None and sums != sums_of(self._txn, version):
            raise damaged(f"rows of version {version} are missing")
        for table, total in sums.items():
            for _row in self._summed(table, total):
                pass

    def drop(self) -> None:
        """Release the resources of the edit."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def _rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return stored_rows_while_writing(self._txn, prefix)
