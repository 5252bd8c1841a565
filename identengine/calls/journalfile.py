"""The file of the mirror: LMDB on tmpfs, with its space allocated in advance (engine.md 5.8).

LMDB writes through a memory map. If the tmpfs were full, such a write would kill the process (SIGBUS). The map is
therefore never larger than the space that ``posix_fallocate`` has allocated. Space for ``max_legs`` held legs is
allocated at the start. Space for lapsed legs follows in pieces. Only one process opens the file, so that no reader
can make it grow.

The next decider finds the set by its path, and only if no other process holds the lock. :meth:`CallsFile.lost`
therefore compares file and lock with the ones that this process holds open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import lmdb

from identengine.calls.folder import prepare
from identengine.errors import StoreError

FORMAT: Final = 4
"""The format that this program writes."""
READABLE: Final = (1, 2, 3, 4)
"""The formats that this program reads.

In format 1, a leg has the numbers of its counters, and its answer is not encoded on its own. In format 2, a beat
has no ``ahead``. Up to format 3, each leg is a value of its own.
"""
NAME = "calls.mdb"
LOCK = "lock"
"""Name of the lock file in the folder."""
RESERVE = 2 * 1024 * 1024
"""Space for messages that free legs, in bytes. It remains when there is no space for more legs."""
PIECE = 16 * 1024 * 1024
"""Smallest piece by which the file grows, in bytes. A large file grows by an eighth of its size."""
LEFT_TO_OTHERS = 10
"""Fraction of the file system that growth leaves free: one byte in this number. Other users share it."""


class InUseError(StoreError):
    """Another process uses this set of calls."""


class DamagedError(Exception):
    """The content of the file cannot be used."""


class CallsFile:
    """An open file of a mirror, with its lock."""

    def __init__(self, folder: Path, room: int, most: int) -> None:
        """Lock the folder, and create it if it is missing. Call :meth:`open` next.

        ``room`` is the size that is allocated when the file is opened, in bytes. ``most`` is the size to which it
        may grow. Raise InUseError if another process holds the lock, StoreError if the folder or the lock cannot
        be created.
        """
        self.path = folder / NAME
        self.size = 0
        """Allocated size of the file, in bytes."""
        self.created = False
        """True if :meth:`open` has created the file."""
        self._room = room
        self._most = max(room, most)
        self._file: IO[bytes] | None = None
        self._lock = self._take_lock()

    def open(self) -> None:
        """Open the file, or create it.

        Raise StoreError if there is no space for it, DamagedError if the existing file is not an LMDB file or is
        truncated.
        """
        there = self.path.exists()
        self.created = not there
        if there:
            self._look()
        try:
            self.env = environment(self.path, self._room)
        except lmdb.Error as error:
            if there:
                raise DamagedError(str(error)) from error
            self.path.unlink(missing_ok=True)
            raise self._no_room(str(error)) from error
        size = max(self._room, self.end() + RESERVE) if there else self._room
        try:
            self._file = self.path.open("r+b")
            self._take(size)
        except OSError as error:
            self.close_file()
            if not there:
                self.path.unlink(missing_ok=True)
            raise self._no_room(error.strerror or str(error)) from error

    def lost(self) -> str | None:
        """Return the reason why the next decider would not find this set, or None if it would.

        Raise OSError if the folder cannot be examined.
        """
        for opened, path in ((self._lock, self.path.with_name(LOCK)), (self._file, self.path)):
            if opened is None or (found := identity(path)) is None:
                return f"{path} is missing"
            if found != identity(opened.fileno()):
                return f"another file is at {path}"
        assert self._file is not None  # noqa: S101 - the loop has looked at it
        length = os.fstat(self._file.fileno()).st_size
        return None if length >= self.size else f"{self.path} was truncated from {self.size} to {length} bytes"

    def give_up_lost(self) -> None:
        """Close a lost file, and take the lock again if it is lost too. A following :meth:`open` creates a file.

        The new lock is taken before anything else, so that no other process has the folder then. Raise InUseError
        if another process holds it, StoreError if the folder cannot be used.
        """
        lock = self.path.with_name(LOCK)
        try:
            if identity(lock) != identity(self._lock.fileno()):
                new = self._take_lock()
                self._lock.close()
                self._lock = new
            self.close_file()
            if identity(self.path) is not None:
                self.put_aside()
        except OSError as error:
            raise _cannot_keep(self.path.parent, error) from error

    def close_file(self) -> None:
        """Close the file, but keep the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if hasattr(self, "env"):
            self.env.close()

    def close(self) -> None:
        """Close the file and release the lock. The file is kept."""
        self.close_file()
        self._lock.close()

    def end(self) -> int:
        """Return the offset after the last page that was ever written, in bytes."""
        return int(self.env.info()["last_pgno"] + 1) * int(self.env.stat()["psize"])

    def grow(self) -> bool:
        """Allocate more space. Return False if that is not possible."""
        size = min(self.size + max(PIECE, self.size // 8), self._most)
        if size - self.size < RESERVE:
            return False
        try:
            disk = os.statvfs(self.path.parent)
            if (
                disk.f_bavail * disk.f_frsize - (size - self.size)
                < disk.f_blocks * disk.f_frsize // LEFT_TO_OTHERS
            ):
                return False
            self._take(size)
        except OSError:
            return False
        return True

    def put_aside(self) -> str:
        """Close and rename the file, and return its new name. A following :meth:`open` creates a new file.

        Of the files that were renamed earlier, only the latest is kept, since each keeps its full size.
        """
        self.close_file()
        for older in sorted(self.path.parent.glob(f"{NAME}.*"))[:-1]:
            older.unlink()
        aside = self.path.with_name(f"{NAME}.{time.time_ns()}")
        self.path.rename(aside)
        return aside.name

    def _look(self) -> None:
        """Raise DamagedError if the file cannot be opened, or is shorter than its header requires."""
        size = self.path.stat().st_size
        if not size:
            raise DamagedError("it is empty")
        try:
            with environment(self.path, max(size, self._room), readonly=True) as env:
                if (env.info()["last_pgno"] + 1) * env.stat()["psize"] > size:
                    raise DamagedError("it is truncated")
        except lmdb.Error as error:
            raise DamagedError(str(error)) from error

    def _take(self, size: int) -> None:
        """Allocate ``size`` bytes and map them. Raise OSError if the space is not available."""
        assert self._file is not None  # noqa: S101 - the file is open
        os.posix_fallocate(self._file.fileno(), 0, size)
        self.env.set_mapsize(size)
        self.size = size

    def _take_lock(self) -> IO[bytes]:
        """Lock the folder, and create it if it is missing. Raise InUseError or StoreError."""
        folder = self.path.parent
        try:
            # An existing folder was checked at the start of the server. A later chmod must not end the service.
            if not folder.is_dir():
                prepare(folder)
            return _locked(folder / LOCK)
        except OSError as error:
            raise _cannot_keep(folder, error) from error

    def _no_room(self, why: str) -> StoreError:
        return StoreError(
            f"the set of calls needs {self._room >> 20} MiB in {self.path.parent}, which are not available "
            f"({why}). Free space there, or set a smaller [calls] max_legs."
        )


def environment(path: Path, size: int, *, readonly: bool = False) -> lmdb.Environment:
    """Open a file with LMDB. Raise lmdb.Error if that fails."""
    return lmdb.open(
        str(path),
        map_size=size,
        subdir=False,
        lock=False,  # CallsFile has its own lock, and no other process opens this file
        readonly=readonly,
        writemap=not readonly,
        sync=False,
        metasync=False,
        max_dbs=7,
        mode=0o600,
    )


def identity(of: Path | int) -> tuple[int, int] | None:
    """Return device and inode of a path or of an open file, or None if the path is missing. Raise OSError."""
    try:
        found = os.fstat(of) if isinstance(of, int) else of.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def unreadable(found: int) -> str:
    """Return the reason why a mirror of the format ``found`` cannot be used."""
    return f"it is of format {found}; this program reads the formats {READABLE[0]} to {READABLE[-1]}"


def survives(work: Callable[[], object]) -> bool:
    """Return True if ``work`` neither raises nor crashes in a child process. LMDB may abort on damaged files."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):  # the exit status is the only result
            work()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def private(path: str, flags: int) -> int:
    """Open or create a file for the current user only. Use it as an opener of :func:`open`.

    Any user who can open a lock file can lock it, and so prevent a server from starting.
    """
    file = os.open(path, flags, 0o600)
    with contextlib.suppress(OSError):  # the file belongs to another user
        os.fchmod(file, 0o600)  # an older version created the file with another mode
    return file


def _cannot_keep(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}")


def _locked(path: Path) -> IO[bytes]:
    """Return the lock file. It is locked until it is closed or the process ends for any reason."""
    file = open(path, "ab", opener=private)  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InUseError(
            f"another process uses the set of calls in {path.parent}. Stop that process first, or give this "
            "server its own [calls] path."
        ) from None
    return file
