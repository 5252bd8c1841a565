"""The store's file before it is mapped, and what LMDB says of it in an operator's words.

- A file shorter than its own account of itself would kill the process that reads the missing part (SIGBUS).
  Pages that were never needed again may be missing from a sound file, though. So a short file is first read
  whole by a child process: ``python -m identengine.store.check STORE``.
- The lock file is written through a map, where a full disk kills likewise. So its room is taken beforehand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import lmdb

from identengine.errors import StoreError

MODE = 0o660
"""Mode of the files, less the umask: whoever may read the book has to write into the table of readers."""
MAX_READERS = 510
_LOCK_BYTES = 40 << 10

# The head of an LMDB 0.9 data file: two pages, each 16 bytes of page header and a description of the file.
_META = struct.Struct("<16x II QQ I44x 48x QQ")
_MAGIC = 0xBEEFC0DE
_LMDB_FORMAT = 1
# The first page's header: its number 0, that it describes the file, and no more; then the magic number.
_BEGIN = struct.pack("<QHHII", 0, 0, 8, 0, _MAGIC)


def check_file(path: Path, data: Path, *, readonly: bool) -> None:
    """Raise StoreError where the data file is empty, foreign, or lacks parts that it speaks of."""
    try:
        if not stat.S_ISREG(data.stat().st_mode):  # before it is opened, where a pipe would wait for ever
            raise StoreError(f"{data} is no store: it is no regular file")
        with data.open("rb") as file:
            head = file.read(_META.size)
            damaged = f"the store {path} is damaged: {data.name} "
            advice = "put a copy in its place, or import the book into a new store"
            if not head:
                raise StoreError(f"{damaged}is empty; {advice}")
            if not _BEGIN.startswith(head[: len(_BEGIN)]):
                raise StoreError(f"{data} is no store: it is not an LMDB file")
            if len(head) < _META.size:
                raise StoreError(f"{damaged}is cut short; {advice}")
            _magic, version, _address, _mapsize, page, last, txnid = _META.unpack(head)
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
            size = os.fstat(file.fileno()).st_size  # after the rest, as it may be growing
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    wanted = (last + 1) * page
    if size < wanted:
        reserve_lock(path, data)
        if not readable(path):
            raise StoreError(f"{damaged}is cut short ({size:,} bytes of {wanted:,}); {advice}")
        if not readonly:
            lengthen(data, wanted)


def readable(path: Path) -> bool:
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
        lmdb.open(str(path), subdir=not single, map_size=0, readonly=True, create=False) as env,
        env.begin() as txn,
    ):
        for _key, _value in txn.cursor():
            pass


def lengthen(data: Path, size: int) -> None:
    """Make the file at least ``size`` bytes long; never shorter, whatever others write meanwhile."""
    if data.stat().st_size < size:
        # No room or no such call on this file system: it stays short, and each opening tries to read it first.
        with contextlib.suppress(OSError), data.open("rb+") as file:
            os.posix_fallocate(file.fileno(), size - 1, 1)


def reserve_lock(path: Path, data: Path) -> None:
    """Take the room for LMDB's lock file beforehand: it is written through a map, where a full disk kills."""
    lock = data.with_name("lock.mdb") if path != data else Path(f"{data}-lock")
    try:
        if not lock.exists():
            # Linked in when it is whole, since LMDB reads its size as the number of readers that it has room for.
            made = lock.with_name(f".lock-{secrets.token_hex(8)}")
            handle = os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE)
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


def in_words(error: lmdb.Error, data: Path) -> str:
    """Say what an error of LMDB means to the operator, and what to do."""
    if error.code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (
        # LMDB makes "input/output error" of a write that was cut short, which is what a full disk does.
        error.code == errno.EIO and _no_room(data)
    ):
        return "there is no room left on the disk. Nothing was changed; make room there and try again"
    if isinstance(error, lmdb.DiskError) or error.code == errno.EIO:
        return (
            "the disk failed, is full, or a limit on the size of files was met. Nothing was changed; see the "
            "system's log, make room, and try again"
        )
    if error.code == errno.EROFS:
        return (
            "it stands on a read-only file system, and would be written (showing a password too is noted in the "
            "audit log). Nothing was changed"
        )
    if isinstance(error, lmdb.ReadonlyError) or error.code in (errno.EACCES, errno.EPERM):
        return (
            f"permission denied. Nothing was changed; {data} and its lock file have to be readable and "
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
        return f"{MAX_READERS} processes are reading it already. Try again when some of them have ended"
    if isinstance(error, lmdb.MemoryError) or error.code == errno.ENOMEM:
        return (
            "there is no address space for it; a limit on virtual memory (ulimit -v) below a few times its "
            "size is in the way. Nothing was changed"
        )
    if isinstance(error, lmdb.PanicError):
        return "an earlier write failed half way; close it and open it again, what was there is whole"
    return f"{str(error).rstrip('.')}. Nothing was changed"


def _no_room(data: Path) -> bool:
    try:
        return shutil.disk_usage(data.parent).free < 16 << 20
    except OSError:
        return False


if __name__ == "__main__":
    _read_all(Path(sys.argv[1]))
