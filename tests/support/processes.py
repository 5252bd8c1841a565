"""The processes of a server as the kernel shows them."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Return True if the process exists and has not ended."""
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_stopped(pid: int) -> bool:
    """Return True if the process is stopped, for example by SIGSTOP."""
    return _stat(pid)[0] == "T"


def reaped(pid: int) -> int:
    """Return the page faults of ended children, a number that grows with each child that the process reaps."""
    return int(_stat(pid)[8])


def naps(pid: int) -> int:
    """Return the number of times a process went to sleep. A loop that waits once a turn sleeps once a turn."""
    status = Path(f"/proc/{pid}/status").read_text()
    (count,) = (line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt_switches:"))
    return int(count)


def pending(pid: int) -> set[int]:
    """Return the pending signals of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd:"))
    return {number + 1 for number in range(64) if mask >> number & 1}


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, in the order of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def resident(pid: int) -> int:
    """Return the memory of a process that is not shared with files, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:"))
