"""The store's file: opened, shared within a process, and grown.

Only this package and the mirror of the calls use LMDB. LMDB's requirements on a process are met here:

- A process may open a file only once, since the locks belong to the process. :func:`open_file` therefore returns
  one shared, counted :class:`StoreFile`. It cannot be used after a fork.
- A full map is enlarged, which would invalidate all reads of the process. It is therefore an error while a read
  is open.
- Writers of all processes take turns by a separate lock around LMDB's. Ctrl-C interrupts waiting for this lock,
  but not waiting for LMDB's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb

from identengine.errors import DamagedError, StoreError
from identengine.store.check import (
    MAX_READERS,
    MODE,
    check_file,
    diagnosis,
    lengthen,
    lock_file,
    reserve_lock,
)
from identengine.store.convert import converted
from identengine.store.folders import copy_owner, folder_lock, made_folder, sync_folder
from identengine.store.format import FORMAT, FORMAT_UNSEALED, META_FORMAT, META_HASH_KEY, META_RETIRED
from identengine.store.keys import Newest, put_newest
from identengine.store.transaction import PAGE_ERRORS, Txn

DATA = "data.mdb"
INITIAL_MAP = 4 << 30
"""Address space that the map of a new store takes, in bytes. It is neither memory nor disk space."""
GROWTH = 4
"""Factor by which a full map grows. Address space is cheap, and each growth repeats the edit."""
_HASH_KEY_BYTES = 32


class StoreFile:
    """A data file that is open in this process. ``path`` is the store as the user named it."""

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
        self.identity = _identity(data)
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
                map_size=0,  # LMDB uses the size in the file
                readonly=readonly,
                create=False,
                mode=MODE,
                max_readers=MAX_READERS,
            )

    @contextlib.contextmanager
    def trouble(self, doing: str) -> Iterator[None]:
        """Convert errors of LMDB to StoreErrors that name the cause and the remedy."""
        try:
            yield
        except lmdb.MapFullError:
            raise  # the editor grows the map and starts again
        except lmdb.Error as error:
            kind = DamagedError if isinstance(error, PAGE_ERRORS) else StoreError
            raise kind(f"the store {self.path} could not be {doing}: {diagnosis(error, self.data)}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Txn]:
        """Yield a transaction that sees one state of the store. It does not see later writes."""
        with self.trouble("read"):
            txn = self._begin_reading()
            try:
                yield txn
            finally:
                # In a forked child, the entry in the reader table belongs to the parent.
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
                self._resize(0)  # another process enlarged the map: adopt its size
                txn = self._env.begin()
            except lmdb.ReadersFullError:
                self._env.reader_check()
                txn = self._env.begin()
            self._readings += 1
            return Txn(txn, self._env.begin)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the only writer of all processes and threads. Wait for other writers. Ctrl-C interrupts the wait."""
        self._same_process()
        if self._writer == threading.get_ident():
            raise StoreError("an edit of the store cannot start another edit")
        try:
            turn = self.data.open("rb")
        except OSError as error:
            raise StoreError(f"the store {self.path} cannot be opened: {error.strerror}") from error
        with self.trouble("changed"), turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if _identity(self.data) != self.identity:
                raise StoreError(f"the store {self.path} was replaced since it was opened. Open it again.")
            self._writer = threading.get_ident()
            try:
                self._env.reader_check()  # readers that were killed would keep old pages in use
                yield Writer(self)
            finally:
                self._writer = None

    def begin_writing(self) -> Txn:
        """Begin the write transaction of a :class:`Writer`."""
        with self._lock:
            try:
                return Txn(self._env.begin(write=True))
            except lmdb.MapResizedError:
                self._resize(0)
                return Txn(self._env.begin(write=True))

    def grow(self) -> None:
        """Enlarge the map. No transaction may be open."""
        with self._lock:
            self._resize(self.map_size() * GROWTH)

    def _resize(self, size: int) -> None:
        if self._readings:
            raise StoreError(
                f"the store {self.path} has to grow, but this process is still reading it. Nothing was changed. "
                "Finish all reads and try again."
            )
        self._env.set_mapsize(size)

    def fill_up(self) -> None:
        """Extend the file to the length that its header declares, so that :func:`check_file` need not read it."""
        wanted = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        lengthen(self.data, wanted)

    def map_size(self) -> int:
        """Return the size of the map in bytes."""
        size: int = self._env.info()["map_size"]
        return size

    def replace(self, new: Path) -> None:
        """Put the data file ``new`` in the place of this file, and use it. The caller must be the only writer.

        It gets a new lock file, since LMDB's lock file belongs to one data file. Other processes keep the old pair
        until they open the store again.
        """
        lock, new_lock = lock_file(self.path, self.data), lock_file(new.parent, new)
        with self._lock:
            if self._readings:
                raise StoreError(f"the store {self.path} must be replaced, but this process is still reading it")
            try:
                new_lock.unlink(missing_ok=True)  # it is as long as another number of readers needs
                reserve_lock(new.parent, new)
                with folder_lock(self.data.parent, fcntl.LOCK_EX):
                    copy_owner(lock, new_lock)
                    copy_owner(self.data, new)
                    new_lock.replace(lock)
                    new.replace(self.data)
                    sync_folder(self.data.parent)
            except OSError as error:
                raise StoreError(f"the store {self.path} could not be replaced: {error.strerror}") from error
            self._env.close()
            self._env = self._open(readonly=False)
        with _files_lock:
            _files[_identity(self.data)] = _files.pop(self.identity)
            self.identity = _identity(self.data)

    def copy(self, handle: int) -> None:
        """Write a compact copy of the file to the file descriptor ``handle``."""
        self._same_process()
        with self.trouble("copied"):
            self._env.copyfd(handle, compact=True)

    def _same_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store {self.path} was opened before a fork. Open it in the process that uses it."
            )

    def upgrade(self) -> None:
        """Reopen a file for writing that was opened for reading only."""
        with self._lock:
            if self._readings:
                raise StoreError(f"the store {self.path} is open for reading only, and this process is reading it")
            self._env.close()
            try:
                self._env = self._open(readonly=False)
            except StoreError:
                self._env = self._open(readonly=True)
                raise
            self.readonly = False

    def remove(self) -> None:
        """Remove the data file and its lock file. The caller must be the only writer."""
        with folder_lock(self.data.parent, fcntl.LOCK_EX):
            self.data.unlink()
            lock_file(self.path, self.data).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file permanently."""
        if os.getpid() == self._pid:  # a forked child would delete the parent's entries in the reader table
            self._env.close()


class Writer:
    """The right to write. It allows several transactions, since an edit runs again after the map has grown."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Txn]:
        """Yield a transaction in the present format, to which a store of format 1 is converted.

        An exception or the caller's ``abort`` aborts it, the caller's ``commit`` commits it.
        """
        txn = self._file.begin_writing()
        try:
            yield converted(txn, self._file.hash_key)
        finally:
            txn.abort()  # no effect after a commit

    def commit(self, txn: Txn) -> None:
        """Commit the transaction. It is on disk on return."""
        txn.commit()
        self._file.fill_up()

    def grow(self) -> None:
        """Enlarge the map between two transactions."""
        self._file.grow()


_files: dict[tuple[int, int], StoreFile] = {}
_files_lock = threading.Lock()


def open_file(path: Path, *, create: bool, readonly: bool) -> StoreFile:
    """Return the store's file, opened and checked. Share it if this process has it open already.

    ``path`` is the folder of a store, or a single data file (a copy). Raise StoreError if it cannot be opened.
    """
    path = path.absolute()
    try:
        data = data_file(path)
        if create and not readonly and not data.exists():
            _create(path, data)
        data.stat()
    except OSError as error:
        raise StoreError(_no_store(path, error)) from error
    # A repair replaces the data file and its lock file. Both must be opened before or after that.
    with _files_lock, folder_lock(data.parent, fcntl.LOCK_SH):
        key = _identity(data)
        file = _files.get(key)
        if file is None:
            check_file(path, data, readonly=readonly)
            reserve_lock(path, data)
            file = _files[key] = StoreFile(path, data, readonly=readonly)
        elif file.readonly and not readonly:
            file.upgrade()
        file.users += 1
        return file


def _identity(data: Path) -> tuple[int, int]:
    """Return device and inode of a data file, or zeros if it is missing."""
    try:
        status = data.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def data_file(path: Path) -> Path:
    """Return the path of the data file of the store at ``path``. The file need not exist."""
    try:
        return path if path.is_file() else path / DATA
    except OSError:  # the folder is not accessible, which reading will report
        return path / DATA


def require(path: Path) -> None:
    """Raise StoreError if no store exists at ``path``. Neither open nor create one."""
    try:
        data_file(path).stat()
    except OSError as error:
        raise StoreError(_no_store(path, error)) from error


def close_file(file: StoreFile) -> None:
    """Release a file that :func:`open_file` returned. The last user closes it."""
    with _files_lock:
        file.users -= 1
        if not file.users:
            for key in [key for key, known in _files.items() if known is file]:
                del _files[key]
            file.close()


def _no_store(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"there is no store at {path}. `identengine init` with the same options creates an empty one."
    return f"the store {path} cannot be opened: {error.strerror}"


def _create(path: Path, data: Path) -> None:
    """Create an empty store if none exists. It appears complete, so that an empty data file is always damage."""
    try:
        with made_folder(path), tempfile.TemporaryDirectory(prefix=".new-", dir=path) as made:
            new = lmdb.open(made, map_size=INITIAL_MAP, mode=MODE, lock=False)
            with new as env, env.begin(write=True) as raw:
                raw.put(META_FORMAT, FORMAT)
                txn = Txn(raw)
                txn.put(META_HASH_KEY, os.urandom(_HASH_KEY_BYTES))
                txn.put(META_RETIRED, b"")
                put_newest(txn, Newest(0, 0))
            with contextlib.suppress(FileExistsError):  # another process created one at the same time: use it
                os.link(Path(made, DATA), data)
        sync_folder(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot create a store at {path}: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreError(f"cannot create a store at {path}: {error}. Check that the disk has space.") from error


def _checked(txn: Txn, path: Path) -> bytes:
    """Return the store's hash key. Raise StoreError if this is not a store or has another format."""
    found = txn.raw.get(META_FORMAT)
    if found is None:
        raise StoreError(f"{path} is an LMDB file, but not an identengine store")
    if found not in (FORMAT, FORMAT_UNSEALED):
        raise StoreError(
            f"the store {path} has format {found.decode(errors='replace')}; this program reads format "
            f"{FORMAT.decode()}. Use the program that wrote it, or export the book with that program and import "
            "it here."
        )
    hash_key = txn.get(META_HASH_KEY)
    if hash_key is None or len(hash_key) != _HASH_KEY_BYTES:
        raise StoreError(f"the store {path} is damaged: its hash key is missing")
    return hash_key
