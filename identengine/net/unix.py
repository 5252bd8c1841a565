"""Unix sockets in the folder of the set of calls, for our own processes and the commands of an operator."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from identengine.errors import StoreError

BACKLOG = 128
"""Maximum number of connections that wait to be accepted, for example while a decider is replaced."""


def bind_unix(folder: Path, name: str) -> socket.socket:
    """Return the listening socket ``folder/name``, open to this user only. Raise StoreError if that fails.

    The caller must hold the lock of the set of calls. So an existing socket is a leftover, and is replaced.
    """
    path = folder / name
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(unix.fileno(), 0o600)  # bind() creates the file with this mode
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
    """Yield a short name for a socket in a folder: the system allows 107 bytes, and a path can have more."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)
