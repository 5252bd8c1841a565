"""The store: the versions of the book, durable and atomic, in LMDB (engine.md 8.1, 8.3, 8.4).

Every edit is one write transaction and creates one version. When :meth:`Store.change` returns, the version is
completely on disk. If the process is killed earlier, the version does not exist. Old versions stay readable row by
row, as :mod:`identengine.store.format` describes.

Processes that serve calls do not read the store themselves, since a truncated file kills its reader (SIGBUS). They
read a version once, through a child process. A process opens a store once, and a second ``open`` shares it. After
a fork, the child may open a store only if the parent does not have it open.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import lmdb
import msgspec

from identengine.errors import KeyFileError, StoreError, counted, sentences
from identengine.store.draft import Draft
from identengine.store.file import DATA, StoreFile, Txn, Writer, close_file, open_file
from identengine.store.folders import made_folder
from identengine.store.format import (
    ACCOUNTS,
    EVENTS,
    META_RETIRED,
    STAMP_BYTES,
    AuditEntry,
    Change,
    Event,
    VersionInfo,
    account_row,
    change_of,
    encode,
    number_bytes,
)
from identengine.store.history import audit_log, changes_between, versions_of
from identengine.store.keys import head_of, info_of, last_key, rows_while_writing
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault, drop_old_keys, key_id

_NAMED = 10
"""Maximum number of accounts that a message names."""

T = TypeVar("T")


class Store:
    """An open store, created by :meth:`open` and closed by ``with`` or :meth:`close`.

    ``path`` is its location. ``hash_key`` is a key of 32 bytes for the choice of numbers (engine.md 4.3), created
    with the store. Every method raises StoreError if the store cannot be read or written.
    """

    def __init__(self, file: StoreFile, *, readonly: bool) -> None:
        self._file: StoreFile | None = file
        self._readonly = readonly
        self.path = file.path
        self.hash_key = file.hash_key

    @classmethod
    def open(cls, path: Path, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store in the folder ``path``, or a copy in a single file. With ``create``, create it.

        Raise StoreError with the remedy if the store is missing, damaged, foreign, unreadable or of another
        format. Raise it also if the store is not writable, unless ``readonly`` is set.
        """
        return cls(open_file(path, create=create, readonly=readonly), readonly=readonly)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Closing it again has no effect."""
        if self._file is not None:
            close_file(self._file)
            self._file = None

    def _opened(self) -> StoreFile:
        if self._file is None:
            raise StoreError(f"the store {self.path} was closed")
        return self._file

    def _writable(self) -> StoreFile:
        if self._readonly:
            raise StoreError(f"the store {self.path} was opened for reading only. Nothing was changed.")
        return self._opened()

    def head(self) -> int:
        """Return the number of the newest version, or 0 if the store is empty."""
        with self._opened().reading() as txn:
            return head_of(txn).version

    def versions(self) -> list[VersionInfo]:
        """Return all versions, the oldest first."""
        with self._opened().reading() as txn:
            return list(versions_of(txn))

    @contextlib.contextmanager
    def read(self, version: int | None = None) -> Iterator[Snapshot]:
        """Yield a snapshot of one version, by default the newest.

        Pages that a read can see are not reused. A read that lasts for hours therefore makes the file grow.
        """
        with self._opened().reading() as txn:
            info = head_of(txn) if version is None else info_of(txn, version)
            yield Snapshot(txn, info, self.hash_key)

    def change(
        self, who: str, what: str, edit: Callable[[Draft], T], *, dry_run: bool = False
    ) -> tuple[VersionInfo, T]:
        """Create a version by calling ``edit``. Return its record and the result of ``edit``.

        The edit is one transaction, and an exception in it leaves the store unchanged. ``edit`` may be called
        again after the map has grown, so it must not keep state between calls. If it changes nothing, no version
        is created and the newest is returned. With ``dry_run``, everything is done but not committed.
        """
        file = self._writable()
        with file.writing() as writer:
            while True:
                try:
                    return self._try(file, writer, who, what, edit, dry_run)
                except lmdb.MapFullError:
                    writer.grow()

    def _try(
        self, file: StoreFile, writer: Writer, who: str, what: str, edit: Callable[[Draft], T], dry_run: bool
    ) -> tuple[VersionInfo, T]:
        with writer.transaction() as txn:
            before = head_of(txn)
            draft = Draft(txn, before, self.hash_key, file.data)
            try:
                result = edit(draft)
                info = draft.finish(who, what, time.time())
            finally:
                draft.drop()
            if info is not before and not dry_run:
                writer.commit(txn)
            return info, result

    def diff(self, a: int, b: int) -> Iterator[Change]:
        """Yield the changes from version ``a`` to version ``b``: clients, accounts, DIDs, each by key.

        Either version may be the older one. Version 0 is the empty book before the first version.
        """
        with self._opened().reading() as txn:
            for version in (a, b):
                info_of(txn, version)
        return self._diff(a, b)

    def _diff(self, a: int, b: int) -> Iterator[Change]:
        with self._opened().reading() as txn:
            for key, before, after in changes_between(txn, a, b):
                yield change_of(key, before, after)

    def rollback(self, version: int, who: str) -> VersionInfo:
        """Create a new version with exactly the content of ``version``, and return it (engine.md 8.3).

        Rows that were added since are removed. They remain in the versions between and in the audit log.
        """
        file = self._opened()

        def put_back(draft: Draft) -> None:
            with file.reading() as txn:  # sees the newest version, but not the draft
                if not version:
                    raise StoreError(
                        "there is no version 0 to roll back to: it is the empty book before the first"
                    )
                info_of(txn, version)
                for key, then, _now in changes_between(txn, version, draft.version - 1):
                    draft.put_row(key, then)

        return self.change(who, f"rollback to version {version}", put_back)[0]

    def audit(self, client: int | None = None, account: int | None = None) -> Iterator[AuditEntry]:
        """Yield the audit log, the newest entry last (engine.md 8.4).

        ``client`` restricts it to the client's row, its accounts and their DIDs. ``account`` restricts it to the
        account and its DIDs. Entries that concern them only before or only after a change are included.
        """
        with self._opened().reading() as txn:
            yield from audit_log(txn, client, account)

    def note(self, who: str, what: str, account: int | None = None) -> None:
        """Record an event that changes no row in the audit log (engine.md 1.7: a password was shown)."""
        with self._writable().writing() as writer:
            while True:
                try:
                    with writer.transaction() as txn:
                        _add_event(txn, who, what, account)
                        writer.commit(txn)
                        return
                except lmdb.MapFullError:
                    writer.grow()

    def rekey(self, vault: Vault, who: str = "identengine") -> int:
        """Encrypt every password of every version again, under the vault's first key. Return their number.

        This is one transaction that keeps all version numbers. Afterwards passwords under other keys are rejected
        (:meth:`Draft.put_account`). Otherwise an import that began earlier could store passwords that no key
        decrypts.

        Raise KeyFileError, naming the accounts, if the vault does not have the key of a current password. Nothing
        is changed in this case. Passwords of earlier versions whose key is missing are kept unchanged.
        """
        with self._writable().writing() as writer:
            return _rekey_by(writer, vault, who)

    def rotate(self, key_file: Path, who: str = "identengine") -> int:
        """Encrypt all passwords under a new key of ``key_file`` (engine.md 1.7). Return their number.

        The key file decrypts every password at each moment. First all passwords are encrypted. Then the new key
        joins the old one in the file, the transaction is committed, and the old key is removed. After a crash,
        rotate again. Rotations take turns, since one could otherwise remove the other's key. Older exports and
        copies of the store need the old key. Raise KeyFileError as :meth:`rekey` does, or StoreError.
        """
        with self._writable().writing() as writer:
            vault = Vault.from_file(key_file).with_new_key()
            count = _rekey_by(writer, vault, who, vault.save)
            try:
                drop_old_keys(key_file)
            except KeyFileError as error:
                kept = "all passwords are encrypted under the new key, but the key file still holds the old one"
                raise KeyFileError(sentences(f"{kept}: {error}", "Rotate again to remove it.")) from error
            return count

    def copy(self, target: Path) -> None:
        """Write a compact copy of the store with all versions to ``target``, a new path or an empty folder.

        A target whose name ends in ``.mdb`` becomes a single file, any other a folder with that file. Both can be
        opened as a store. The copy does not contain the key of the passwords. It appears completely or not at all.
        """
        file = self._opened()
        data = target if target.suffix == ".mdb" else target / DATA
        try:
            if data.exists():
                raise StoreError(f"{target} exists already. Nothing was changed.")
            if target.is_dir() and (there := next(target.iterdir(), None)):
                raise StoreError(f"{target} is not empty (it holds {there.name}). Nothing was changed.")
            with made_folder(data.parent):
                handle, name = tempfile.mkstemp(prefix=".copy-", dir=data.parent)
                try:
                    file.copy(handle)
                    os.fsync(handle)
                    os.link(name, data)
                finally:
                    os.close(handle)
                    Path(name).unlink()
        except OSError as error:
            raise StoreError(f"the store could not be copied to {target}: {error.strerror}") from error


def _rekey_by(writer: Writer, vault: Vault, who: str, prepare: Callable[[], None] = lambda: None) -> int:
    """Do the work of :meth:`Store.rekey`. Call ``prepare`` after it succeeded, before the commit."""
    while True:
        try:
            with writer.transaction() as txn:
                count = _rekey(txn, vault)
                _add_event(txn, who, f"key rotated: {counted(count, 'password')} re-encrypted", None)
                prepare()
                writer.commit(txn)
                return count
        except lmdb.MapFullError:
            writer.grow()


def _add_event(txn: Txn, who: str, what: str, account: int | None) -> None:
    last = last_key(txn, EVENTS)
    number = 1 if last is None else int.from_bytes(last[1:], "big") + 1
    event = Event(at=time.time(), who=who, what=what, account=account, version=head_of(txn).version)
    txn.put(EVENTS + number_bytes(number), encode(event))


def _rekey(txn: Txn, vault: Vault) -> int:
    """Do the work of :meth:`Store.rekey` within a transaction."""
    retired = {*txn.get(META_RETIRED, b"").decode().split(), *vault.key_ids}
    count = 0
    lost: list[int] = []
    owner = b""
    renewed: dict[str, str | None] = {}  # per account, so that an unchanged token does not look changed
    for key, value in rows_while_writing(txn, ACCOUNTS):
        newest = key[:-STAMP_BYTES] != owner
        if newest:
            owner, renewed = key[:-STAMP_BYTES], {}
        row = account_row(value) if value else None
        if row is None or row.password is None:
            continue
        if row.password not in renewed:
            renewed[row.password] = _renewed(row.password, vault)
        token = renewed[row.password]
        if token is None:
            if newest:
                lost.append(row.id)
        elif token != row.password:
            retired.add(key_id(row.password))
            txn.put(key, encode(msgspec.structs.replace(row, password=token)))
            count += 1
    if lost:
        raise KeyFileError(_lost(lost))
    txn.put(META_RETIRED, " ".join(sorted(retired - {vault.key_ids[0]})).encode())
    return count


def _renewed(token: str, vault: Vault) -> str | None:
    """Return a token of the same password under the vault's first key, or None if no key decrypts it."""
    try:
        return token if key_id(token) == vault.key_ids[0] else vault.encrypt(vault.decrypt(token))
    except (KeyFileError, ValueError):
        return None


def _lost(accounts: list[int]) -> str:
    named = ", ".join(map(str, accounts[:_NAMED])) + (", …" if len(accounts) > _NAMED else "")
    return (
        f"passwords that cannot be decrypted, since their key is missing: {len(accounts)} (of the accounts "
        f"{named}). Nothing was changed. Add that key to the key file on a line of its own, or set these "
        "passwords again (`identengine accounts password set ID`), and repeat."
    )
