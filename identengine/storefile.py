"""The store's file: opened and checked before it is mapped, shared within a process, grown, spoken of in words.

LMDB is met here and in the other ``store*`` modules alone. What it wants is kept here:

- A file is open at most once in a process (its locks belong to the process), so :func:`open_file` hands out
  one shared, counted :class:`StoreFile`. It does not outlive a fork.
- A map that is full grows by itself, which ends all readings of the process; so it waits for none to be open.
- Writers of all processes take turns by a lock of our own around LMDB's, since a wait for LMDB's cannot be
  interrupted by Ctrl-C.
- A file shorter than its own account of itself would kill the process that reads the missing part (SIGBUS).
  Pages that were never needed again may be missing from a sound file, though. So a short file is first read
  whole by a child process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import lmdb

from .errors import StoreError
from .storeformat import FORMAT, META_FORMAT, META_HASH_KEY

DATA = "data.mdb"
INITIAL_MAP = 4 << 30
"""Address space (not memory, not disk) that a new store's map takes, in bytes."""
GROWTH = 4
"""By how much a full map grows. Address space is cheap, and the edit that filled the map is run again."""
_MAX_READERS = 510
_LOCK_BYTES = 40 << 10
_MODE = 0o660  # less the umask: whoever may read the book has to write into the table of readers
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
        with self.reading() as txn:
            self.hash_key = _checked(txn, path)

    def _open(self, readonly: bool) -> lmdb.Environment:
        with self.trouble("opened"):
            return lmdb.open(
                str(self.data if self.path == self.data else self.path),
                subdir=self.path != self.data,
                map_size=0,  # as the file says
                readonly=readonly,
                create=False,
                mode=_MODE,
                max_readers=_MAX_READERS,
            )

    @contextlib.contextmanager
    def trouble(self, doing: str) -> Iterator[None]:
        """Turn what LMDB says within into a StoreError that says what happened, and what to do."""
        try:
            yield
        except lmdb.MapFullError:
            raise  # the editor's business: it grows the map and starts again
        except lmdb.Error as error:
            raise StoreError(f"the store {self.path} could not be {doing}: {self._in_words(error)}") from error

    def _in_words(self, error: lmdb.Error) -> str:
        if error.code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (
            # LMDB makes "input/output error" of a write that was cut short, which is what a full disk does.
            error.code == errno.EIO and not self.readonly and _no_room(self.data)
        ):
            return "there is no room left on the disk. Nothing was changed; make room there and try again"
        if isinstance(error, lmdb.DiskError) or error.code == errno.EIO:
            return (
                "the disk failed, is full, or a limit on the size of files was met. Nothing was changed; see the "
                "system's log, make room, and try again"
            )
        if error.code == errno.EROFS:
            return "it stands on a read-only file system. Nothing was changed"
        if isinstance(error, lmdb.ReadonlyError) or error.code in (errno.EACCES, errno.EPERM):
            return (
                f"permission denied. Nothing was changed; {self.data} and its lock file have to be readable and "
                "writable (for reading too, since readers enter themselves in the lock file)"
            )
        if isinstance(error, lmdb.VersionMismatchError):
            return "its LMDB format is of another version than this program's. Nothing was changed"
        if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.PageNotFoundError):
            return (
                f"it is damaged, or no store ({error}). Nothing was changed; put a copy of it in its place "
                "(`identengine copy` makes them), or import the book into a new store"
            )
        if isinstance(error, lmdb.ReadersFullError):
            return f"{_MAX_READERS} processes are reading it already. Try again when some of them have ended"
        if isinstance(error, lmdb.MemoryError) or error.code == errno.ENOMEM:
            return (
                "there is no address space for it; a limit on virtual memory (ulimit -v) below a few times its "
                "size is in the way. Nothing was changed"
            )
        if isinstance(error, lmdb.PanicError):
            return "an earlier write failed half way; close it and open it again, what was there is whole"
        return f"{str(error).rstrip('.')}. Nothing was changed"

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
        if self.readonly:
            raise StoreError(f"the store {self.path} was opened for reading only; nothing was changed")
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
        _lengthen(self.data, wanted)

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
            self._env = self._open(readonly=False)
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
        data = path if path.is_file() else path / DATA
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
            _reserve_lock(path, data)
            file = _files[key] = StoreFile(path, data, readonly=readonly)
        elif file.readonly and not readonly:
            file.upgrade()
        file.users += 1
        return file


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
        return f"there is no store at {path}; `identengine import BOOK --store {path}` makes one"
    return f"the store {path} cannot be opened: {error.strerror}"


def _create(path: Path, data: Path) -> None:
    """Make an empty store where there is none. It appears whole, so that an empty data file is always damage."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path) as made:
            new = lmdb.open(made, map_size=INITIAL_MAP, mode=_MODE, lock=False)
            with new as env, env.begin(write=True) as txn:
                txn.put(META_FORMAT, FORMAT)
                txn.put(META_HASH_KEY, os.urandom(_HASH_KEY_BYTES))
            with contextlib.suppress(FileExistsError):  # somebody else made one at the same time: use theirs
                os.link(Path(made, DATA), data)
        _sync_folder(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"no store can be made at {path}: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreError(f"no store can be made at {path}: {error}; is there room on the disk?") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


# The head of an LMDB 0.9 data file: two pages, each 16 bytes of page header and a description of the file.
_META = struct.Struct("<16x II QQ I44x 48x QQ")
_MAGIC = 0xBEEFC0DE
_LMDB_FORMAT = 1


def check_file(path: Path, data: Path, *, readonly: bool) -> None:
    """Raise StoreError where the data file is empty, foreign, or lacks parts that it speaks of."""
    try:
        with data.open("rb") as file:
            head = file.read(_META.size)
            size = os.fstat(file.fileno()).st_size
            damaged = f"the store {path} is damaged: {data.name} "
            advice = "put a copy in its place, or import the book into a new store"
            if not head:
                raise StoreError(f"{damaged}is empty; {advice}")
            if len(head) < _META.size:
                raise StoreError(f"{damaged}is cut short; {advice}")
            magic, version, _address, _mapsize, page, last, txnid = _META.unpack(head)
            if magic != _MAGIC:
                raise StoreError(f"{data} is no store: it is not an LMDB file")
            if version != _LMDB_FORMAT:
                raise StoreError(f"{data} is in LMDB's format {version}, and this program knows {_LMDB_FORMAT}")
            if page not in (512 << shift for shift in range(8)):
                raise StoreError(f"{damaged}begins with garbage; {advice}")
            file.seek(page)
            second = file.read(_META.size)
            if len(second) < _META.size:
                raise StoreError(f"{damaged}is cut short; {advice}")
            other = _META.unpack(second)
            if other[0] == _MAGIC and other[6] > txnid:
                last = other[5]
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    wanted = (last + 1) * page
    if size < wanted:
        if not _readable(path):
            raise StoreError(f"{damaged}is cut short ({size:,} bytes of {wanted:,}); {advice}")
        if not readonly:
            _lengthen(data, wanted)


def _readable(path: Path) -> bool:
    """Whether every page that is in use can be read; tried by a process of its own, as it may die of it."""
    done = subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", __name__, str(path)],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0


def _read_all(path: Path) -> None:
    single = path.is_file()
    with (
        lmdb.open(str(path), subdir=not single, map_size=0, readonly=True, create=False, lock=False) as env,
        env.begin() as txn,
    ):
        for _key, _value in txn.cursor():
            pass


def _lengthen(data: Path, size: int) -> None:
    """Make the file at least ``size`` bytes long; never shorter, whatever others write meanwhile."""
    if data.stat().st_size < size:
        # No room or no such call on this file system: it stays short, and each opening tries to read it first.
        with contextlib.suppress(OSError), data.open("rb+") as file:
            os.posix_fallocate(file.fileno(), size - 1, 1)


def _reserve_lock(path: Path, data: Path) -> None:
    """Take the room for LMDB's lock file beforehand: it is written through a map, where a full disk kills."""
    lock = data.with_name("lock.mdb") if path != data else Path(f"{data}-lock")
    try:
        if not lock.exists():
            # Linked in when it is whole, since LMDB reads its size as the number of readers that it has room for.
            made = lock.with_name(f".lock-{secrets.token_hex(8)}")
            handle = os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE)
            try:
                os.posix_fallocate(handle, 0, _LOCK_BYTES)
                with contextlib.suppress(FileExistsError):
                    os.link(made, lock)
            finally:
                os.close(handle)
                made.unlink()
        else:
            status = lock.stat()
            if status.st_blocks * 512 < status.st_size:
                with lock.open("rb+") as file:
                    os.posix_fallocate(file.fileno(), 0, status.st_size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"the store {path} could not be opened: there is no room left on the disk, not even for its lock "
                "file. Nothing was changed; make room there and try again"
            ) from error
        # No such call, or no permission: LMDB says what is wrong where it minds.


def _no_room(data: Path) -> bool:
    try:
        return shutil.disk_usage(data.parent).free < 16 << 20
    except OSError:
        return False


if __name__ == "__main__":
    _read_all(Path(sys.argv[1]))
