"""Wakes a process that waits for signals when a socket becomes readable."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket


def wake_by(watched: socket.socket) -> None:
    """Make the kernel send SIGIO to this process when ``watched`` becomes readable."""
    with contextlib.suppress(OSError):  # otherwise the next periodic check finds the message
        fcntl.fcntl(watched, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
