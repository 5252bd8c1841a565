"""Folders on the disk: made whole or not at all, and synced, so that a new name in one outlives a power cut."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make the folder ``path``, and those above it, if they are missing. An exception in the block undoes that."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # somebody else put something there meanwhile
                folder.rmdir()
        raise


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk: names that were linked, renamed or removed. Raise OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
