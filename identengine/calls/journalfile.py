"""The file of the mirror: LMDB on tmpfs, its room taken before it is needed (engine.md 5.8).

With a writable map a tmpfs without room would kill the process (SIGBUS), so that the map is never larger than what
``posix_fallocate`` has got: room for all legs that may be held at the start, more in pieces later, for legs that
are remembered. One process writes, and nobody else opens the file, so that no reader can make it grow.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import lmdb

from identengine.errors import StoreError

NAME = "calls.mdb"
RESERVE = 2 * 1024 * 1024
"""Bytes that are left for what frees calls, when there is no room for more of them."""
PIECE = 16 * 1024 * 1024
"""What is taken at a time later; an eighth of what there is, if that is more."""
LEFT_TO_OTHERS = 10
"""The file system keeps one in so many bytes free, when more is taken later: it is not ours alone."""


FOLDER_MODE = 0o700
"""Of a folder of a set of calls that we make."""


class InUseError(StoreError):
    """Another process decides on this set of calls."""


class DamagedError(Exception):
    """What is in the file cannot be used."""


class CallsFile:
    """One open file, with its lock."""

    def __init__(self, folder: Path, room: int, most: int) -> None:
        """Lock the folder, which is made where it is missing; :meth:`open` comes next.

        ``room``: bytes that are taken when the file is opened; ``most``: bytes it may grow to.
        Raises InUseError where another process has it, StoreError where it cannot be made.
        """
        self.path = folder / NAME
        self.size = 0
        """Bytes that are taken."""
        self._room = room
        self._most = max(room, most)
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self._lock = _locked(folder / "lock")
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}") from error

    def open(self) -> None:
        """Open it, or make it.

        Raises StoreError where there is no room for it, DamagedError where what is there is no such file or is cut
        short.
        """
        there = self.path.exists()
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
            self._take(size)
        except OSError as error:
            self.env.close()
            if not there:
                self.path.unlink(missing_ok=True)
            raise self._no_room(error.strerror or str(error)) from error

    def close(self) -> None:
        """Close it; it stays."""
        if hasattr(self, "env"):
            self.env.close()
        self._lock.close()

    def end(self) -> int:
        """Return the bytes up to the last page that was ever written."""
        return int(self.env.info()["last_pgno"] + 1) * int(self.env.stat()["psize"])

    def grow(self) -> bool:
        """Take more; returns whether there was more to take."""
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
        """Close the file and give it another name, which is returned; :meth:`open` makes a new one then.

        Of those that were put aside before, the last one stays: each takes its whole room.
        """
        if hasattr(self, "env"):
            self.env.close()
        for older in sorted(self.path.parent.glob(f"{NAME}.*"))[:-1]:
            older.unlink()
        aside = self.path.with_name(f"{NAME}.{time.time_ns()}")
        self.path.rename(aside)
        return aside.name

    def _look(self) -> None:
        """Raise DamagedError where the file cannot be opened, or is shorter than it says."""
        size = self.path.stat().st_size
        if not size:
            raise DamagedError("it is empty")
        try:
            with environment(self.path, max(size, self._room), readonly=True) as env:
                if (env.info()["last_pgno"] + 1) * env.stat()["psize"] > size:
                    raise DamagedError("it is cut short")
        except lmdb.Error as error:
            raise DamagedError(str(error)) from error

    def _take(self, size: int) -> None:
        """Have so many bytes, and map them; OSError where they are not there."""
        with self.path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        self.env.set_mapsize(size)
        self.size = size

    def _no_room(self, why: str) -> StoreError:
        return StoreError(
            f"the set of calls needs {self._room >> 20} MiB in {self.path.parent}, and they are not there "
            f"({why}); make room, or set a smaller max_legs"
        )


def environment(path: Path, size: int, *, readonly: bool = False) -> lmdb.Environment:
    """Open LMDB on a file; raises lmdb.Error."""
    return lmdb.open(
        str(path),
        map_size=size,
        subdir=False,
        lock=False,  # the lock file beside it is ours; nobody else opens this one
        readonly=readonly,
        writemap=not readonly,
        sync=False,
        metasync=False,
        max_dbs=5,
        mode=0o600,
    )


def survives(work: Callable[[], object]) -> bool:
    """Whether a process lives through it and nothing is raised: LMDB may abort on what is damaged."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):  # it tells by its status alone
            work()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def private(path: str, flags: int) -> int:
    """Open or make a file that is for this user only, as an opener of :func:`open`.

    Who may open a lock may lock it, and so keep a server from its start.
    """
    file = os.open(path, flags, 0o600)
    with contextlib.suppress(OSError):  # it is another user's
        os.fchmod(file, 0o600)  # one that an older version made
    return file


def _locked(path: Path) -> IO[bytes]:
    """Return the lock file, held until it is closed or the process ends, however it ends."""
    file = open(path, "ab", opener=private)  # noqa: SIM115 - it stays open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InUseError(
            f"another process decides on the set of calls in {path.parent}; end it first, or give this server a "
            "path of its own ([calls] path)"
        ) from None
    return file
