"""Folders on disk: created completely or not at all, and synced, so that new names survive a power failure."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Create the folder ``path`` and its parents if they are missing. An exception in the block removes them."""
    with no_new_folders_on_failure(path):
        path.mkdir(parents=True, exist_ok=True)
        yield


@contextlib.contextmanager
def no_new_folders_on_failure(path: Path) -> Iterator[None]:
    """Remove ``path`` and its parents after an exception in the block, if they were missing and are empty."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # another process may have put a file there
                folder.rmdir()
        raise


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk: names that were linked, renamed or removed. Raise OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def folder_lock(folder: Path, kind: int) -> Iterator[None]:
    """Hold a lock of the folder, ``LOCK_SH`` or ``LOCK_EX``. File systems without locks are ignored."""
    handle = None
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, kind)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def copy_owner(source: Path, target: Path) -> None:
    """Set owner, group and mode of ``target`` to those of ``source``, as far as permitted. Raise OSError."""
    status = source.stat()
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)
