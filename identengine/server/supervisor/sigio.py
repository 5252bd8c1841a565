"""Being woken by a socket while waiting for signals alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket


def wake_by(watched: socket.socket) -> None:
    """Have SIGIO sent to this process when something can be read there."""
    with contextlib.suppress(OSError):  # else it is seen with the next look
        fcntl.fcntl(watched, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
