"""What a service manager is told: the protocol of sd_notify(3), as systemd and others speak it.

Datagrams of ``VARIABLE=value`` lines to the Unix socket that the environment names. Nothing here ever waits or
raises: what cannot be sent now is kept, and tried again with the next beat; without a service manager nothing
happens at all.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping

_KEPT = 16
"""Messages that wait for a service manager that does not read."""
_BEATS = 4
"""Signs of life within the time that it allows between two."""


class Notifier:
    """Tells the service manager of one process; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take ``NOTIFY_SOCKET``, a path or ``@`` and an abstract name, and the watchdog's time.

        The time counts where ``WATCHDOG_PID`` is not set or names this process. Values that cannot be used are
        taken for none: a service manager that sets such is none that we know.
        """
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""
        self._unsent: deque[bytes] = deque(maxlen=_KEPT)
        self._status = ""
        self._due = 0.0
        microseconds = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID") or str(os.getpid())
        self.watchdog: float | None = None
        """Seconds within which it wants a sign of life; None where it wants none."""
        if self._address and meant == str(os.getpid()) and microseconds.isdecimal() and int(microseconds) > 0:
            self.watchdog = int(microseconds) / 1e6

    def ready(self) -> None:
        """Say that the server serves: after the start, and after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the config is read again; :meth:`ready` says that it is done."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the end begins."""
        self._tell("STOPPING=1")

    def main_process(self, pid: int) -> None:
        """Say that another process of this service is the main one from now on."""
        self._tell(f"MAINPID={pid}")

    def status(self, line: str) -> None:
        """Say in a line for people how it is, if that is new."""
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def beat(self, *, well: bool) -> None:
        """Give the sign of life that is due, if all is well; send what could not be sent before."""
        if self._unsent:
            self._send()
        now = time.monotonic()
        if self.watchdog is not None and well and now >= self._due and not self._unsent:
            self._due = now + self.watchdog / _BEATS
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address:
            self._unsent.append("\n".join(lines).encode(errors="replace"))
            self._send()

    def _send(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
                unix.connect(self._address)
                while self._unsent:
                    unix.send(self._unsent[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    self._unsent.popleft()
        except OSError:  # it does not read, or is not there: later
            return
