"""Processes that are not children of this one: a server that takes over, and the start of such a server."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn


class Watched:
    """A process that is not a child of this one. Signals never reach another process that reuses its pid."""

    def __init__(self, pid: int) -> None:
        """Watch a process. Raise OSError if there is no such process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Return the descriptor (pidfd_open(2))."""
        return self._descriptor

    def send(self, number: int) -> None:
        """Send the process a signal. Nothing happens if it has exited or belongs to another user."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._descriptor, number)

    def ended(self) -> bool:
        """Return True if the process has exited."""
        end = select.poll()
        end.register(self._descriptor, select.POLLIN)
        return bool(end.poll(0))

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def start_successor(mask: Iterable[int]) -> int:
    """Start the program that is installed now, to take over from this server, and return its pid.

    It has the command line of this process and ``--take-over``. It is not a child of this process, so it keeps
    running when this process exits. ``mask`` holds the signals that it blocks. Raise OSError if no process can be
    started.
    """
    reader, writer = os.pipe()
    try:
        between = os.fork()
        if between == 0:
            _start(writer, mask)
        os.close(writer)
        writer = -1
        os.waitpid(between, 0)
        pid = os.read(reader, 32)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if not pid:
        raise OSError(0, "it could not be started")
    return int(pid)


def _start(writer: int, mask: Iterable[int]) -> NoReturn:
    """Run as the process in between: start the successor, write its pid, and exit."""
    try:
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execve(sys.executable, command(sys.orig_argv), _environment(os.environ))  # noqa: S606 - as here
        os.write(writer, str(pid).encode())
    finally:
        os._exit(1)


def command(ours: list[str]) -> list[str]:
    """Return the command line of the successor of a process with the command line ``ours``."""
    return [sys.executable, *ours[1:], *([] if "--take-over" in ours else ["--take-over"])]


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the successor, whose watchdog has the same period."""
    return dict(ours) | ({"WATCHDOG_PID": str(os.getpid())} if "WATCHDOG_PID" in ours else {})
