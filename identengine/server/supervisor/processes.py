"""Processes that are not our children: a new program that is to take over, and how one is started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn


class Watched:
    """A process that is not our child, known so that its id cannot become another's meanwhile."""

    def __init__(self, pid: int) -> None:
        """Watch a process; raises OSError where there is none."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def send(self, number: int) -> None:
        """Send it a signal; nothing where it has ended or is not ours."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._descriptor, number)

    def ended(self) -> bool:
        """Whether it has ended."""
        end = select.poll()
        end.register(self._descriptor, select.POLLIN)
        return bool(end.poll(0))

    def close(self) -> None:
        """Forget it."""
        os.close(self._descriptor)


def start_successor(mask: Iterable[int]) -> int:
    """Start the program that is installed now as this one was started, to take over from us; return its process.

    It is no child of ours: it stays when we end, and whoever supervises us is its parent then. ``mask`` is what it
    blocks. Raises OSError where no process can be had.
    """
    reader, writer = os.pipe()
    try:
        between = os.fork()
        if between == 0:
            _start(writer, mask)
        os.close(writer)
        writer = -1
        os.waitpid(between, 0)
        said = os.read(reader, 32)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if not said:
        raise OSError(0, "it could not be started")
    return int(said)


def _start(writer: int, mask: Iterable[int]) -> NoReturn:
    """Be the process between: start the next one, tell who it is, and end."""
    try:
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execve(sys.executable, command(sys.orig_argv), _environment(os.environ))  # noqa: S606 - as we were
        os.write(writer, str(pid).encode())
    finally:
        os._exit(1)


def command(ours: list[str]) -> list[str]:
    """Return the command line of a successor of a program that was started by ``ours``."""
    return [sys.executable, *ours[1:], *([] if "--take-over" in ours else ["--take-over"])]


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return our environment; the watchdog's time is meant for the successor as it was for us."""
    return dict(ours) | ({"WATCHDOG_PID": str(os.getpid())} if "WATCHDOG_PID" in ours else {})
