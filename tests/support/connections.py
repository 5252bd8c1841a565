"""The TCP connections of a server as the kernel shows them, those of a stopped process included."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from support.waiting import wait_for

_CLOSED = {"06", "07", "0A"}
"""States of sockets that are not connections: TIME_WAIT, CLOSE, LISTEN."""


class Connection(NamedTuple):
    """The server's end of a connection over IPv4."""

    unread: int
    """Number of bytes that arrived and were not read."""


def connections(port: int) -> list[Connection]:
    """Return the connections to a port of this machine that the server has not closed."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port and state not in _CLOSED:
            found.append(Connection(int(queues.rpartition(":")[2], 16)))
    return found


def unread(port: int) -> int:
    """Return the number of bytes that wait in connections to a port."""
    return sum(connection.unread for connection in connections(port))


def kill_with_unread(pid: int, port: int) -> None:
    """Kill a process that serves a port while requests wait unread in its connections."""

    def is_behind() -> bool:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        if unread(port):
            return True
        os.kill(pid, signal.SIGCONT)  # it stopped between reading the last requests and answering them
        return False

    wait_for(is_behind)
    os.kill(pid, signal.SIGKILL)
