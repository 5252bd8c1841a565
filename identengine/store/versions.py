"""The store: the versions of the book, durable and atomic, on LMDB (engine.md 8.1, 8.3, 8.4).

Every edit is one write transaction and one new version: whole on disk when :meth:`Store.change` returns, not
there at all when it did not, whatever kills the process. Versions that were stay readable row by row; see
:mod:`identengine.store.format` for how.

What serves calls does not read from here: a truncated file kills its reader by SIGBUS, so a server reads a
version through a process of its own, once. One process opens a store once (a second ``open`` shares it); after
a fork, open it in the child only where the parent does not have it open.
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

from identengine.errors import KeyFileError, StoreError
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
"""Accounts that a message names, of however many it speaks."""

T = TypeVar("T")


class Store:
    """An open store; made by :meth:`open`, closed by ``with`` or :meth:`close`.

    ``hash_key`` are the 32 bytes made with the store that key the choice of numbers (engine.md 4.3);
    ``path`` is where it is. Every method raises StoreError where the store cannot be read or written.
    """

    def __init__(self, file: StoreFile, *, readonly: bool) -> None:
        self._file: StoreFile | None = file
        self._readonly = readonly
        self.path = file.path
        self.hash_key = file.hash_key

    @classmethod
    def open(cls, path: Path, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store in the directory ``path`` (or a copy, which is one file); with ``create`` make it.

        Raises StoreError, saying what to do, where it is missing, damaged, foreign, of another format, or not
        to be read; and where it is not to be written, unless ``readonly``.
        """
        return cls(open_file(path, create=create, readonly=readonly), readonly=readonly)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; twice does no harm."""
        if self._file is not None:
            close_file(self._file)
            self._file = None

    def _opened(self) -> StoreFile:
        if self._file is None:
            raise StoreError(f"the store {self.path} was closed")
        return self._file

    def _writable(self) -> StoreFile:
        if self._readonly:
            raise StoreError(f"the store {self.path} was opened for reading only; nothing was changed")
        return self._opened()

    def head(self) -> int:
        """Return the number of the newest version, 0 where the store is empty."""
        with self._opened().reading() as txn:
            return head_of(txn).version

    def versions(self) -> list[VersionInfo]:
        """Return all versions, the oldest first."""
        with self._opened().reading() as txn:
            return list(versions_of(txn))

    @contextlib.contextmanager
    def read(self, version: int | None = None) -> Iterator[Snapshot]:
        """Hold one version still (the newest by default) while the ``with`` block reads it.

        Pages that a reading can see are not used again: one held for hours makes the file grow.
        """
        with self._opened().reading() as txn:
            info = head_of(txn) if version is None else info_of(txn, version)
            yield Snapshot(txn, info, self.hash_key)

    def change(
        self, who: str, what: str, edit: Callable[[Draft], T], *, dry_run: bool = False
    ) -> tuple[VersionInfo, T]:
        """Make one new version by ``edit`` and return what is known of it, with what ``edit`` returned.

        One transaction: an exception of ``edit`` leaves everything as it was. ``edit`` may be called again (the
        map was full and grew), so it starts from nothing each time. Where it changed nothing no version is made,
        and the newest is returned. With ``dry_run`` all is done but kept.
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
        """Yield what differs from version ``a`` to version ``b``: clients, accounts, DIDs, each by key.

        Either may be the older one; 0 is the empty book before the first version.
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
        """Make a new version that holds exactly what ``version`` held, and return it (engine.md 8.3).

        What was added since is taken out: it stays in the versions between, and in the audit log.
        """
        file = self._opened()

        def put_back(draft: Draft) -> None:
            with file.reading() as txn:  # sees the newest version and nothing of the draft
                if not version:
                    raise StoreError("there is no version 0 to go back to: it is the empty book before the first")
                info_of(txn, version)
                for key, then, _now in changes_between(txn, version, draft.version - 1):
                    draft.put_row(key, then)

        return self.change(who, f"rollback to version {version}", put_back)[0]

    def audit(self, client: int | None = None, account: int | None = None) -> Iterator[AuditEntry]:
        """Yield the audit log, the newest entry last (engine.md 8.4).

        ``client``: only its own row, its accounts and their DIDs; ``account``: only that and its DIDs; before or
        after the change.
        """
        with self._opened().reading() as txn:
            yield from audit_log(txn, client, account)

    def note(self, who: str, what: str, account: int | None = None) -> None:
        """Write an event that changes no row into the audit log (engine.md 1.7: a password was shown)."""
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
        """Encrypt every password of every version anew under the vault's first key; returns how many.

        One transaction, and version numbers stay. From then on passwords under the other keys are refused
        (:meth:`Draft.put_account`): an import that began before would bring back what no key opens any more.
        Raises KeyFileError, naming the accounts, where one that an account has now is under a key that the vault
        lacks; then nothing was changed. Those of earlier versions under such a key stay as they are.
        """
        with self._writable().writing() as writer:
            return _rekey_by(writer, vault, who)

    def rotate(self, key_file: Path, who: str = "identengine") -> int:
        """Encrypt all passwords under a new key of ``key_file`` (engine.md 1.7); return how many there were.

        The file opens every password at each moment. After a crash, rotate again. The steps: all passwords are
        encrypted, the new key joins the old one in the file, the transaction is committed, the old key is dropped.
        Rotations take turns, or one would drop the other's key. Copies of the store and exports from before need
        the old key. Raise KeyFileError as :meth:`rekey` does, or StoreError.
        """
        with self._writable().writing() as writer:
            vault = Vault.from_file(key_file).with_new_key()
            count = _rekey_by(writer, vault, who, vault.save)
            try:
                drop_old_keys(key_file)
            except KeyFileError as error:
                raise KeyFileError(
                    "all passwords are encrypted under the new key, but the old one is still in its file, since "
                    f"{error}; rotate again to drop it"
                ) from error
            return count

    def copy(self, target: Path) -> None:
        """Write a compact copy of the store, all versions, to ``target``: not there yet, or an empty folder.

        A name that ends in ``.mdb`` is made one file, any other a directory with that file in it; either opens
        as a store. The key of the passwords is not in it. It appears whole or not at all.
        """
        file = self._opened()
        place = target if target.suffix == ".mdb" else target / DATA
        try:
            if place.exists():
                raise StoreError(f"{target} is there already; nothing was changed")
            if target.is_dir() and (there := next(target.iterdir(), None)):
                raise StoreError(f"{target} holds something already ({there.name}); nothing was changed")
            with made_folder(place.parent):
                handle, name = tempfile.mkstemp(prefix=".copy-", dir=place.parent)
                try:
                    file.copy(handle)
                    os.fsync(handle)
                    os.link(name, place)
                finally:
                    os.close(handle)
                    Path(name).unlink()
        except OSError as error:
            raise StoreError(f"the store could not be copied to {target}: {error.strerror}") from error


def _rekey_by(writer: Writer, vault: Vault, who: str, prepare: Callable[[], None] = lambda: None) -> int:
    """Do the work of :meth:`Store.rekey`; ``prepare`` is called when it succeeded, before it is made to last."""
    while True:
        try:
            with writer.transaction() as txn:
                count = _rekey(txn, vault)
                _add_event(txn, who, f"key rotated: {count} passwords encrypted anew", None)
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
    """Do the work of :meth:`Store.rekey` in a transaction."""
    retired = {*txn.get(META_RETIRED, b"").decode().split(), *vault.key_ids}
    count = 0
    lost: list[int] = []
    owner = b""
    renewed: dict[str, str | None] = {}  # of one account: a token that stayed must not look changed afterwards
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
    """Return a token of the same password under the vault's first key; None where no key opens it."""
    try:
        return token if key_id(token) == vault.key_ids[0] else vault.encrypt(vault.decrypt(token))
    except (KeyFileError, ValueError):
        return None


def _lost(accounts: list[int]) -> str:
    named = ", ".join(map(str, accounts[:_NAMED])) + (", …" if len(accounts) > _NAMED else "")
    return (
        f"passwords that cannot be read, as they are under a key that is not at hand: {len(accounts)} (of the "
        f"accounts {named}). Nothing was changed; put that key beside the others (a line of its own in the key "
        "file), or set these passwords again (`identengine accounts password set ID`), and start again"
    )
