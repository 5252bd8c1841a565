"""Folders on disk: created completely or not at all, and synced, so that new names survive a power failure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Create the folder ``path`` and its parents if they are missing. An exception in the block removes them."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
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
