"""The machine that figures are of, and what its processors did during a measurement."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from identengine.server.interpreter import is_plain_build

GENERATOR_CORE, SERVER_CORE = 0, 1
PACKAGES = ("msgspec", "uvloop", "lmdb", "pytricia")
_NANOSECONDS = 1e9


class Machine(msgspec.Struct, frozen=True):
    """What figures cannot be compared without."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    """Its version, and how it was built if that costs speed."""
    packages: dict[str, str]
    """Versions by name; peers may be among them."""


class Memory(msgspec.Struct, frozen=True):
    """Of a process, in MiB."""

    resident: float
    proportional: float
    """Pages that several processes share count by the part of each."""


def describe(**others: str) -> Machine:
    """Return what this machine is; ``others`` are versions of programs besides our packages."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return Machine(
        processor=found[1] if found else platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=interpreter(),
        packages={name: _version(name) for name in PACKAGES} | others,
    )


def interpreter() -> str:
    """Return the version of this Python, and how it was built if that costs speed; every benchmark prints it."""
    build = ", built without profile-guided optimization" if is_plain_build() else ""
    return f"{platform.python_implementation()} {platform.python_version()}{build}"


def cores() -> tuple[int, int]:
    """Return the cores of the generator and of the server; where there is but one, both are that one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[GENERATOR_CORE], usable[min(SERVER_CORE, len(usable) - 1)]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Let what is started in the block run on one core only; so do all its children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found, parents = [pid], [pid]
    while parents:
        parent = parents.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            children = [int(child) for child in task.read_text(encoding="ascii").split()]
            found += children
            parents += children
    return found


def processor_seconds(pids: list[int]) -> float:
    """Return how long processes have run in all, by the scheduler's own count."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / _NANOSECONDS


def memory(pid: int) -> Memory:
    """Return what a process takes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    resident, proportional = (re.findall(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("Rss", "Pss"))
    return Memory(int(resident[0]) / 1024, int(proportional[0]) / 1024)


class Others:
    """How much of the processors others take while something is measured; where it is much, figures say little."""

    ALLOWED = 0.15
    """Cores that others may take."""

    def __init__(self, pids: list[int]) -> None:
        """``pids``: those that are measured. Our own time and that of our ended children is not others' either."""
        self._pids = pids
        self._began, self._ours, self._busy = time.monotonic(), self._known(), _busy()

    def cores(self) -> float:
        """Return how many cores others took, in the mean since the beginning."""
        taken = _busy() - self._busy - (self._known() - self._ours)
        return max(0.0, taken / (time.monotonic() - self._began))

    def _known(self) -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return processor_seconds(self._pids) + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _busy() -> float:
    """Return the seconds that all processors have worked."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, kernel, _, _, interrupts, soft, *_ = map(int, first.split()[1:])
    return (user + nice + kernel + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
