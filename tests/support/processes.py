"""The processes of a server, as the kernel shows them."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the child processes of one."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
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
    """Whether a process was stopped, as by SIGSTOP."""
    return _stat(pid)[0] == "T"


def reaped(pid: int) -> int:
    """Return a number that is larger after each child that the process waited for: the page faults of those."""
    return int(_stat(pid)[8])


def naps(pid: int) -> int:
    """Return how often a process went to sleep: a loop that waits once a turn has taken so many turns."""
    status = Path(f"/proc/{pid}/status").read_text()
    (count,) = (line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt_switches:"))
    return int(count)


def pending(pid: int) -> set[int]:
    """Return the signals that were sent to a process and not taken yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd:"))
    return {number + 1 for number in range(64) if mask >> number & 1}


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, as proc(5) has them."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
