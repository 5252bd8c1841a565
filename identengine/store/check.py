"""Checks of the store's file before it is mapped, and explanations of LMDB's errors for the operator.

- If the file is shorter than its header declares, reading the missing part kills the process (SIGBUS). An intact
  file may be short too, if the missing pages are unused. A child process therefore reads a short file completely
  first: ``python -m identengine.store.check STORE``.
- LMDB writes its lock file through a map, where a full disk kills the process too. The space of the lock file is
  therefore allocated in advance.
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

from identengine.errors import StoreError, sentences
from identengine.store.transaction import PAGE_ERRORS

MODE = 0o660
"""Mode of the files before the umask. Every user who reads the book must be able to write the reader table."""
MAX_READERS = 510
_LOCK_BYTES = 40 << 10

# The first two pages of an LMDB 0.9 data file each hold a page header of 16 bytes and a description of the file.
_META = struct.Struct("<16x II QQ I44x 48x QQ")
_MAGIC = 0xBEEFC0DE
_LMDB_FORMAT = 1
# The header of the first page: page number 0 and the flag of a description. The magic number follows.
_BEGIN = struct.pack("<QHHII", 0, 0, 8, 0, _MAGIC)


def check_file(path: Path, data: Path, *, readonly: bool) -> None:
    """Raise StoreError if the data file is empty, foreign, or shorter than its header declares."""
    try:
        if not stat.S_ISREG(data.stat().st_mode):  # checked before opening, since opening a pipe would block
            raise StoreError(f"{data} is not a store: it is not a regular file")
        with data.open("rb") as file:
            head = file.read(_META.size)
            damaged = f"the store {path} is damaged: {data.name} "
            advice = "Replace it with a copy, or import the book into a new store."
            if not head:
                raise StoreError(sentences(f"{damaged}is empty", advice))
            if not _BEGIN.startswith(head[: len(_BEGIN)]):
                raise StoreError(f"{data} is not a store: it is not an LMDB file")
            if len(head) < _META.size:
                raise StoreError(sentences(f"{damaged}is truncated", advice))
            _magic, version, _address, _mapsize, page, last, txnid = _META.unpack(head)
            if version != _LMDB_FORMAT:
                raise StoreError(
                    f"{data} has version {version} of LMDB's format; this program reads {_LMDB_FORMAT}"
                )
            if page not in (512 << shift for shift in range(8)):
                raise StoreError(sentences(f"{damaged}has an invalid header", advice))
            file.seek(page)
            second = file.read(_META.size)
            if len(second) < _META.size:
                raise StoreError(sentences(f"{damaged}is truncated", advice))
            other = _META.unpack(second)
            if other[0] == _MAGIC and other[6] > txnid:
                last = other[5]
            size = os.fstat(file.fileno()).st_size  # read last, since the file may be growing
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    wanted = (last + 1) * page
    if size < wanted:
        reserve_lock(path, data)
        if not readable(path):
            raise StoreError(sentences(f"{damaged}is truncated ({size:,} bytes of {wanted:,})", advice))
        if not readonly:
            lengthen(data, wanted)


def readable(path: Path) -> bool:
    """Return True if every used page can be read. A child process tries, since a missing page would kill it."""
    return not run_module(__name__, str(path)).returncode


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a module of this program in a child process, which a damaged store may kill."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return subprocess.run(  # noqa: S603 - a module of this program, no shell
        [sys.executable, "-P", "-m", name, *arguments],  # -P: import nothing from the working folder
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root},
    )


def _read_all(path: Path) -> None:
    single = path.is_file()
    with (
        lmdb.open(str(path), subdir=not single, map_size=0, readonly=True, create=False) as env,
        env.begin() as txn,
    ):
        for _key, _value in txn.cursor():
            pass


def lengthen(data: Path, size: int) -> None:
    """Make the file at least ``size`` bytes long. Never shorten it, even if another process writes to it."""
    if data.stat().st_size < size:
        # The disk may be full, or the file system may not support the call. Each opening then reads the file
        # first.
        with contextlib.suppress(OSError), data.open("rb+") as file:
            os.posix_fallocate(file.fileno(), size - 1, 1)


def lock_file(path: Path, data: Path) -> Path:
    """Return the path of LMDB's lock file."""
    return data.with_name("lock.mdb") if path != data else Path(f"{data}-lock")


def reserve_lock(path: Path, data: Path) -> None:
    """Allocate LMDB's lock file in advance. LMDB writes it through a map, where a full disk kills the process."""
    lock = lock_file(path, data)
    try:
        if not lock.exists():
            # Linked when complete, since LMDB derives the maximum number of readers from its size.
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
                f"the store {path} could not be opened: the disk is full and has no space even for its lock file. "
                "Nothing was changed. Free space on it and try again."
            ) from error
        # The file system does not support the call, or permission is denied. LMDB reports the error if it matters.


def diagnosis(error: lmdb.Error, data: Path) -> str:
    """Return the meaning of an LMDB error and its remedy, for the operator."""
    if error.code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (
        # LMDB reports an incomplete write, as a full disk causes it, as "input/output error".
        error.code == errno.EIO and _no_room(data)
    ):
        return "the disk is full. Nothing was changed. Free space on it and try again."
    if isinstance(error, lmdb.DiskError) or error.code == errno.EIO:
        return (
            "the disk failed or is full, or the file reached a size limit. Nothing was changed. Check the system "
            "log, free space and try again."
        )
    if error.code == errno.EROFS:
        return (
            "it is on a read-only file system, and must be writable (the audit log also records when a password "
            "is shown). Nothing was changed."
        )
    if isinstance(error, lmdb.ReadonlyError) or error.code in (errno.EACCES, errno.EPERM):
        return (
            f"permission denied. Nothing was changed. Make {data} and its lock file readable and writable, since "
            "readers are recorded in the lock file too."
        )
    if isinstance(error, lmdb.VersionMismatchError):
        return "its LMDB format has another version than this program reads. Nothing was changed."
    if isinstance(error, (lmdb.InvalidError, *PAGE_ERRORS)):
        return (
            f"it is damaged or not a store ({error}). Nothing was changed. `identengine store check` names the "
            "sound versions, and `identengine rollback N` restores one. Without a sound version, replace the "
            "store with a copy (`identengine copy` creates copies), or import the book into a new store."
        )
    if isinstance(error, lmdb.ReadersFullError):
        return f"{MAX_READERS} processes are reading it already. Try again when some of them have finished."
    if isinstance(error, lmdb.MemoryError) or error.code == errno.ENOMEM:
        return (
            "its address space cannot be allocated. Nothing was changed. Raise the limit on virtual memory "
            "(`ulimit -v`) to several times its size."
        )
    if isinstance(error, lmdb.PanicError):
        return "an earlier write failed halfway. Close it and open it again; its content is intact."
    return sentences(error, "Nothing was changed.")


def _no_room(data: Path) -> bool:
    try:
        return shutil.disk_usage(data.parent).free < 16 << 20
    except OSError:
        return False


if __name__ == "__main__":
    _read_all(Path(sys.argv[1]))
