"""Unix sockets beside the set of calls, where our own processes and an operator's commands ask."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from identengine.errors import StoreError

BACKLOG = 128
"""Who waits to be let in, while a decider is replaced, say."""


def bind_unix(folder: Path, name: str) -> socket.socket:
    """Return the listening socket ``folder/name``, open to this user only.

    Only whoever holds the lock of the set of calls may do this: a socket that is there is left over, and replaced.
    Raises StoreError where it cannot be.
    """
    path = folder / name
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(unix.fileno(), 0o600)  # what the file gets that bind() makes
        with at_folder(folder, name) as short:
            unix.bind(short)
        path.chmod(0o600)
        unix.setblocking(False)
        unix.listen(BACKLOG)
    except OSError as error:
        unix.close()
        raise StoreError(f"cannot listen on {path}: {error.strerror}") from error
    return unix


@contextlib.contextmanager
def at_folder(folder: Path, name: str) -> Iterator[str]:
    """Give the name of a socket in a folder, however long its path: such a name has 107 bytes only."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)
