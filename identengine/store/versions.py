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
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import lmdb
import msgspec

from identengine.errors import DamagedError, KeyFileError, StoreError, counted, sentences
from identengine.store.auditlog import NARROWED, AuditLog, Narrowed, Rows
from identengine.store.chain import ChainReport, all_contents_hash, check_chain, put_event, with_damage
from identengine.store.draft import Draft, remove_scratches
from identengine.store.file import DATA, StoreFile, Writer, close_file, data_file, open_file
from identengine.store.folders import made_folder, no_new_folders_on_failure
from identengine.store.format import (
    FORMAT,
    FORMAT_UNSEALED,
    AuditEntry,
    Change,
    Event,
    VersionInfo,
    change_of,
    damaged,
)
from identengine.store.history import changes_between
from identengine.store.keys import head_of, info_of, newest, versions_of
from identengine.store.rekey import encrypt_again
from identengine.store.repair import roll_back_into_new_file
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault, drop_old_keys
from identengine.store.verify import Report, examine, examine_copy

T = TypeVar("T")
Inspect = Callable[[Iterator[Change]], None]
"""A function that receives changes before they are committed."""


class Noted(NamedTuple):
    """An event to record, and the account, client or DID that it is about."""

    what: str
    account: int | None = None
    client: int | None = None
    number: str | None = None


class StoreInfo(msgspec.Struct, frozen=True):
    """The description of a store."""

    format: int
    newest: VersionInfo
    """The newest version, or version 0 if the store is empty."""
    events: int
    """Number of events in the audit log. Changes of rows are not events."""
    bytes: int
    """Size of the data file."""


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

    @classmethod
    @contextlib.contextmanager
    def filled(cls, path: Path) -> Iterator[Store]:
        """Yield the store, created if it is missing. If the block fails, a new store is removed."""
        is_new = not data_file(path).exists()
        with no_new_folders_on_failure(path.absolute()):
            try:
                with cls.open(path, create=True) as store:
                    yield store
            except BaseException:
                if is_new:
                    with contextlib.suppress(StoreError, OSError):  # the first exception is the cause
                        cls._remove_if_empty(path)
                raise

    @classmethod
    def _remove_if_empty(cls, path: Path) -> None:
        """Remove the store unless another process has added a version."""
        with cls.open(path) as store, store._opened().writing():
            if not store.head():
                remove_scratches(store._opened().data)
                store._opened().remove()

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

    def info(self) -> StoreInfo:
        """Return a description of the store."""
        file = self._opened()
        with file.reading() as txn:
            form = FORMAT if txn.sealed else FORMAT_UNSEALED
            return StoreInfo(int(form), head_of(txn), newest(txn).event, file.data.stat().st_size)

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

    def diff(self, a: int, b: int) -> Generator[Change]:
        """Yield the changes from version ``a`` to version ``b``: clients, accounts, DIDs, each by key.

        Either version may be the older one. Version 0 is the empty book before the first version.
        """
        with self._opened().reading() as txn:
            for version in (b, a):  # for a revert of `b`, `a` is only the version before it
                info_of(txn, version)
        return self._diff(a, b)

    def _diff(self, a: int, b: int) -> Generator[Change]:
        with self._opened().reading() as txn:
            for _change in changes_between(txn, a, b, self.hash_key):
                pass  # damage is reported before the first change, rather than after the last
            for change in changes_between(txn, a, b, self.hash_key):
                yield change_of(*change)

    def rollback(self, version: int, who: str, inspect: Inspect | None = None) -> VersionInfo:
        """Create a new version with exactly the content of ``version``, and return it.

        Rows that were added since are removed. They remain in the versions between and in the audit log. If the
        store is damaged, its file is replaced by a new one. ``inspect`` receives the changes before they are
        committed, and may be called again. An exception that it raises leaves the store unchanged. Raise
        DamagedError if ``version`` itself is damaged.
        """
        if not version:
            raise StoreError("there is no version 0 to roll back to: it is the empty book before the first")
        try:
            info = self._roll_back(version, who, inspect)
            if info.version != version or not self.is_damaged():
                return info
        except DamagedError:
            pass
        with self._writable().writing():
            return roll_back_into_new_file(self._opened(), version, who, inspect)

    def _roll_back(self, version: int, who: str, inspect: Inspect | None) -> VersionInfo:
        def put_back(draft: Draft) -> None:
            with self._opened().reading() as txn:  # sees the newest version, but not the draft
                info_of(txn, version)
                for key, then, _now in changes_between(txn, version, draft.version - 1, self.hash_key):
                    draft.put_row(key, then)
            draft.verify(version)
            if inspect is not None:
                inspect(draft.changes())

        return self.change(who, f"rollback to version {version}", put_back)[0]

    def is_damaged(self) -> bool:
        """Return True if any row or version does not match its checksum. This reads all rows."""
        with self._opened().reading() as txn:
            return examine(txn, self.hash_key).total > 0

    def audit(
        self,
        client: int | None = None,
        account: int | None = None,
        *,
        number: str | None = None,
        narrowed: Narrowed = NARROWED,
        last: int | None = None,
    ) -> Iterator[AuditEntry]:
        """Yield the audit log, the newest entry last (engine.md 8.4).

        ``client`` restricts it to the client's row, its accounts and their DIDs. ``account`` restricts it to the
        account and its DIDs, and ``number`` to a DID. Entries that concern them only before or only after a change
        are included. ``narrowed`` restricts it by author, time and version. ``last`` is the number of the newest
        entries that are yielded.
        """
        with self._opened().reading() as txn:
            yield from AuditLog(txn, Rows(client, account, number), narrowed, self.hash_key).entries(last)

    def check_audit(self) -> ChainReport:
        """Check the chain of the audit log, and the rows of all versions that it shows (engine.md 8.4)."""
        with self._opened().reading() as txn:
            report = check_chain(txn)
            if report.chained and report.broken is None:
                report = with_damage(report, examine(txn, self.hash_key).damaged)
            return report

    def note(self, who: str, what: str, account: int | None = None) -> None:
        """Record an event that changes no row in the audit log (engine.md 1.7: a password was shown)."""
        self.note_all(who, [Noted(what, account)])

    def note_all(self, who: str, events: Sequence[Noted]) -> None:
        """Record events that change no row in the audit log, all or none."""
        with self._writable().writing() as writer:
            while True:
                try:
                    with writer.transaction() as txn:
                        for event in events:
                            put_event(txn, Event(at=time.time(), who=who, **event._asdict()))
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
            return self._rekey(writer, vault, who)

    def rotate(self, key_file: Path, who: str = "identengine") -> int:
        """Encrypt all passwords under a new key of ``key_file`` (engine.md 1.7). Return their number.

        The key file decrypts every password at each moment. First all passwords are encrypted. Then the new key
        joins the old one in the file, the transaction is committed, and the old key is removed. After a crash,
        rotate again. Rotations take turns, since one could otherwise remove the other's key. Older exports and
        copies of the store need the old key. Raise KeyFileError as :meth:`rekey` does, or StoreError.
        """
        with self._writable().writing() as writer:
            vault = Vault.from_file(key_file).with_new_key()
            count = self._rekey(writer, vault, who, vault.save)
            try:
                drop_old_keys(key_file)
            except KeyFileError as error:
                kept = "all passwords are encrypted under the new key, but the key file still holds the old one"
                raise KeyFileError(sentences(f"{kept}: {error}", "Rotate again to remove it.")) from error
            return count

    def _rekey(self, writer: Writer, vault: Vault, who: str, prepare: Callable[[], None] = lambda: None) -> int:
        """Do the work of :meth:`rekey`. Call ``prepare`` after it succeeded, before the commit."""
        while True:
            try:
                with writer.transaction() as txn:
                    count = encrypt_again(txn, vault, self.hash_key)
                    what = f"key rotated: {counted(count, 'password')} re-encrypted"
                    contents = all_contents_hash(txn, newest(txn).version)
                    event = Event(at=time.time(), who=who, what=what, account=None, content_hash=contents)
                    put_event(txn, event)
                    prepare()
                    writer.commit(txn)
                    return count
            except lmdb.MapFullError:
                writer.grow()

    def copy(self, target: Path) -> Report:
        """Write a compact copy of the store with all versions to ``target``, a new path or an empty folder.

        A target whose name ends in ``.mdb`` becomes a single file, any other a folder with that file. Both can be
        opened as a store. The copy does not contain the key of the passwords. It appears completely or not at all.

        The copy is checked. Raise DamagedError if its newest version is damaged. Return the report, which may name
        other damage.
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
                    report = examine_copy(Path(name), self.hash_key)
                    if report.newest_sound != (report.version or None):
                        raise damaged(f"version {report.version} is damaged, so that nothing was copied")
                    os.link(name, data)
                finally:
                    os.close(handle)
                    Path(name).unlink()
                return report
        except OSError as error:
            raise StoreError(f"the store could not be copied to {target}: {error.strerror}") from error
