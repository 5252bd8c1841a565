"""The protocol of sd_notify(3), by which systemd and other service managers learn the state of a service.

Messages are datagrams of ``VARIABLE=value`` lines to the Unix socket that the environment names. Rule: nothing
here waits or raises. A message that cannot be sent is kept and sent with a later sign of life. Without a service
manager, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping

_KEPT = 16
"""Largest number of messages kept for a service manager that does not read."""
_BEATS = 4
"""Signs of life in each period of the watchdog."""


class Notifier:
    """Sends messages to the service manager, if there is one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read ``NOTIFY_SOCKET`` (a path, or ``@`` and an abstract name) and the period of the watchdog.

        The period applies if ``WATCHDOG_PID`` is not set or names this process. Unusable values are ignored, since
        no known service manager sets them.
        """
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""
        self._unsent: deque[bytes] = deque(maxlen=_KEPT)
        self._status = ""
        self._due = 0.0
        microseconds = environment.get("WATCHDOG_USEC", "")
        watched = environment.get("WATCHDOG_PID") or str(os.getpid())
        self.watchdog: float | None = None
        """Longest allowed time between two signs of life, in seconds, or None if the manager does not watch."""
        if self._address and watched == str(os.getpid()) and microseconds.isdecimal() and int(microseconds) > 0:
            self.watchdog = int(microseconds) / 1e6

    def ready(self) -> None:
        """Report that the server serves: after the start, and after a reload."""
        self._post("READY=1")

    def reloading(self) -> None:
        """Report the start of a reload. :meth:`ready` reports its end."""
        self._post("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the server is stopping."""
        self._post("STOPPING=1")

    def main_process(self, pid: int) -> None:
        """Report that another process of this service is its main process now."""
        self._post(f"MAINPID={pid}")

    def status(self, line: str) -> None:
        """Report a line about the state for people, if it has changed."""
        if line != self._status:
            self._status = line
            self._post(f"STATUS={line}")

    def beat(self, *, healthy: bool) -> None:
        """Send the messages that are kept, then a sign of life if one is due and the server is healthy."""
        if self._unsent:
            self._send()
        now = time.monotonic()
        if self.watchdog is not None and healthy and now >= self._due and not self._unsent:
            self._due = now + self.watchdog / _BEATS
            self._post("WATCHDOG=1")

    def _post(self, *lines: str) -> None:
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
        except OSError:  # the manager does not read or is not there: later
            return
