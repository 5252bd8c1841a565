"""The store's file: opened, shared within a process, grown.

Only this package and the mirror of the calls use LMDB. What it wants of a process is kept here:

- A file is open at most once in a process (its locks belong to the process), so :func:`open_file` hands out
  one shared, counted :class:`StoreFile`. It does not outlive a fork.
- A map that is full grows by itself, which ends all readings of the process; so it waits for none to be open.
- Writers of all processes take turns by a lock of our own around LMDB's, since a wait for LMDB's cannot be
  interrupted by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import lmdb

from identengine.errors import StoreError
from identengine.store.check import MAX_READERS, MODE, check_file, in_words, lengthen, reserve_lock
from identengine.store.folders import made_folder, sync_folder
from identengine.store.format import FORMAT, META_FORMAT, META_HASH_KEY

DATA = "data.mdb"
INITIAL_MAP = 4 << 30
"""Address space (not memory, not disk) that a new store's map takes, in bytes."""
GROWTH = 4
"""By how much a full map grows. Address space is cheap, and the edit that filled the map is run again."""
_HASH_KEY_BYTES = 32

Txn: TypeAlias = "lmdb.Transaction[bytes]"


class StoreFile:
    """One data file, open in this process; ``path`` is the store as the user named it."""

    def __init__(self, path: Path, data: Path, *, readonly: bool) -> None:
        self.path = path
        self.data = data
        self.readonly = readonly
        self.users = 0
        self._pid = os.getpid()
        self._readings = 0
        self._lock = threading.Lock()
        self._writer: int | None = None
        self._env = self._open(readonly)
        try:
            with self.reading() as txn:
                self.hash_key = _checked(txn, path)
        except StoreError:
            self._env.close()
            raise

    def _open(self, readonly: bool) -> lmdb.Environment:
        with self.trouble("opened"):
            return lmdb.open(
                str(self.data if self.path == self.data else self.path),
                subdir=self.path != self.data,
                map_size=0,  # as the file says
                readonly=readonly,
                create=False,
                mode=MODE,
                max_readers=MAX_READERS,
            )

    @contextlib.contextmanager
    def trouble(self, doing: str) -> Iterator[None]:
        """Turn what LMDB says within into a StoreError that says what happened, and what to do."""
        try:
            yield
        except lmdb.MapFullError:
            raise  # the editor's business: it grows the map and starts again
        except lmdb.Error as error:
            raise StoreError(
                f"the store {self.path} could not be {doing}: {in_words(error, self.data)}"
            ) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Txn]:
        """Hold one state of the store still; it sees nothing of what is written meanwhile."""
        with self.trouble("read"):
            txn = self._begin_reading()
            try:
                yield txn
            finally:
                # In a forked child the place in the table of readers is the parent's: leave it alone.
                if os.getpid() == self._pid:
                    txn.abort()
                    with self._lock:
                        self._readings -= 1

    def _begin_reading(self) -> Txn:
        self._same_process()
        with self._lock:
            try:
                txn = self._env.begin()
            except lmdb.MapResizedError:
                self._resize(0)  # another process made it grow: adopt its size
                txn = self._env.begin()
            except lmdb.ReadersFullError:
                self._env.reader_check()
                txn = self._env.begin()
            self._readings += 1
            return txn

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the only writer, of all processes and threads. Waits for others; Ctrl-C ends the wait."""
        self._same_process()
        if self._writer == threading.get_ident():
            raise StoreError("an edit of the store cannot start another one")
        try:
            turn = self.data.open("rb")
        except OSError as error:
            raise StoreError(f"the store {self.path} cannot be opened: {error.strerror}") from error
        with self.trouble("changed"), turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self._writer = threading.get_ident()
            try:
                self._env.reader_check()  # processes that were killed while they read would keep old pages alive
                yield Writer(self)
            finally:
                self._writer = None

    def begin_writing(self) -> Txn:
        """Begin the write transaction of a :class:`Writer`."""
        with self._lock:
            try:
                return self._env.begin(write=True)
            except lmdb.MapResizedError:
                self._resize(0)
                return self._env.begin(write=True)

    def grow(self) -> None:
        """Make the map larger; no transaction may be open."""
        with self._lock:
            self._resize(self._env.info()["map_size"] * GROWTH)

    def _resize(self, size: int) -> None:
        if self._readings:
            raise StoreError(
                f"the store {self.path} has to grow and is being read in this process, which cannot be at "
                "once. Nothing was changed; end the readings and try again"
            )
        self._env.set_mapsize(size)

    def fill_up(self) -> None:
        """Give the file the length that it speaks of, so that :func:`check_file` has no reason to wonder."""
        wanted = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        lengthen(self.data, wanted)

    def copy(self, handle: int) -> None:
        """Write a compact copy of the file to the file descriptor ``handle``."""
        self._same_process()
        with self.trouble("copied"):
            self._env.copyfd(handle, compact=True)

    def _same_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store {self.path} was opened before a fork; open it in the process that uses it"
            )

    def upgrade(self) -> None:
        """Make a file that was opened for reading only one that can be written."""
        with self._lock:
            if self._readings:
                raise StoreError(f"the store {self.path} is open for reading only and being read in this process")
            self._env.close()
            try:
                self._env = self._open(readonly=False)
            except StoreError:
                self._env = self._open(readonly=True)
                raise
            self.readonly = False

    def close(self) -> None:
        """Close the file for good."""
        if os.getpid() == self._pid:  # a forked child would strike the parent from the table of readers
            self._env.close()


class Writer:
    """The turn to write: transactions one after another, as when the map grew and the edit runs again."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Txn]:
        """One transaction: aborted by an exception, else by the caller's ``abort`` or ``commit``."""
        txn = self._file.begin_writing()
        try:
            yield txn
        finally:
            txn.abort()  # does nothing after a commit

    def commit(self, txn: Txn) -> None:
        """Make the transaction last; when this returns it is on disk."""
        txn.commit()
        self._file.fill_up()

    def grow(self) -> None:
        """Make the map larger, between two transactions."""
        self._file.grow()


_files: dict[tuple[int, int], StoreFile] = {}
_files_lock = threading.Lock()


def open_file(path: Path, *, create: bool, readonly: bool) -> StoreFile:
    """Return the store's file, opened and checked, or the one that this process has open already.

    ``path`` is a store's directory, or a data file by itself (a copy). Raises StoreError.
    """
    path = path.absolute()
    try:
        data = data_file(path)
        if create and not readonly and not data.exists():
            _create(path, data)
        status = data.stat()
    except OSError as error:
        raise StoreError(_no_store(path, error)) from error
    with _files_lock:
        key = (status.st_dev, status.st_ino)
        file = _files.get(key)
        if file is None:
            check_file(path, data, readonly=readonly)
            reserve_lock(path, data)
            file = _files[key] = StoreFile(path, data, readonly=readonly)
        elif file.readonly and not readonly:
            file.upgrade()
        file.users += 1
        return file


def data_file(path: Path) -> Path:
    """Return where the data of the store at ``path`` is, whether it is there or not."""
    try:
        return path if path.is_file() else path / DATA
    except OSError:  # of a folder that is closed to us; reading says so
        return path / DATA


def require(path: Path) -> None:
    """Raise StoreError where there is no store at ``path``; it is not opened, and nothing is made."""
    try:
        data_file(path).stat()
    except OSError as error:
        raise StoreError(_no_store(path, error)) from error


def close_file(file: StoreFile) -> None:
    """Give back what :func:`open_file` gave; the last one closes the file."""
    with _files_lock:
        file.users -= 1
        if not file.users:
            for key in [key for key, known in _files.items() if known is file]:
                del _files[key]
            file.close()


def _no_store(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"there is no store at {path}. `identengine init` with the same options creates an empty one"
    return f"the store {path} cannot be opened: {error.strerror}"


def _create(path: Path, data: Path) -> None:
    """Make an empty store where there is none. It appears whole, so that an empty data file is always damage."""
    try:
        with made_folder(path), tempfile.TemporaryDirectory(prefix=".new-", dir=path) as made:
            new = lmdb.open(made, map_size=INITIAL_MAP, mode=MODE, lock=False)
            with new as env, env.begin(write=True) as txn:
                txn.put(META_FORMAT, FORMAT)
                txn.put(META_HASH_KEY, os.urandom(_HASH_KEY_BYTES))
            with contextlib.suppress(FileExistsError):  # somebody else made one at the same time: use theirs
                os.link(Path(made, DATA), data)
        sync_folder(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"no store can be made at {path}: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreError(f"no store can be made at {path}: {error}; is there room on the disk?") from error


def _checked(txn: Txn, path: Path) -> bytes:
    """Return the store's hash key, when it is a store and its format is the one that this program knows."""
    found = txn.get(META_FORMAT)
    if found is None:
        raise StoreError(f"{path} is an LMDB file, but no store of identengine")
    if found != FORMAT:
        raise StoreError(
            f"the store {path} has format {found.decode(errors='replace')}, and this program knows format "
            f"{FORMAT.decode()}; use the program that wrote it, or export the book with that and import it here"
        )
    hash_key = txn.get(META_HASH_KEY)
    if hash_key is None or len(hash_key) != _HASH_KEY_BYTES:
        raise StoreError(f"the store {path} is damaged: its hash key is missing")
    return hash_key
