"""The machine of a measurement, and the load of its processors meanwhile."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from identengine.server.interpreter import is_plain_build

GENERATOR_CORE, SERVER_CORE = 0, 1
PACKAGES = ("msgspec", "uvloop", "lmdb", "pytricia")
_NANOSECONDS = 1e9


class Machine(msgspec.Struct, frozen=True):
    """The facts without which figures cannot be compared."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    """Version of Python, and its build."""
    packages: dict[str, str]
    """Versions by name, those of peers included."""


class Memory(msgspec.Struct, frozen=True):
    """Memory of a process, in MiB."""

    resident: float
    proportional: float
    """Memory in which a page shared by N processes counts as 1/N."""
    anonymous: float
    """The part of the proportional memory that belongs to no file: objects, not the mirror of the calls."""
    shared: float
    """The part of the proportional memory that is a file on tmpfs, such as the mirror of the calls."""


def describe(**others: str) -> Machine:
    """Return a description of this machine. ``others`` holds versions of further programs."""
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
    """Return the version of this Python, and its build. Every benchmark prints it."""
    return _described(platform.python_implementation(), platform.python_version(), sysconfig.get_config_vars())


def interpreter_at(python: Path) -> str:
    """Return the version and the build of the Python at a path."""
    script = "import platform, sysconfig, json; print(json.dumps([platform.python_implementation(), "
    script += "platform.python_version(), sysconfig.get_config_vars()]))"
    asked = subprocess.run([python, "-c", script], capture_output=True, check=True)  # noqa: S603 - a given program
    return _described(*msgspec.json.decode(asked.stdout, type=tuple[str, str, dict[str, object]]))


def _described(implementation: str, version: str, variables: Mapping[str, object]) -> str:
    arguments = str(variables.get("CONFIG_ARGS") or "")
    linked = "with LTO, " if "--with-lto" in arguments else ""
    if is_plain_build(variables):
        built = f"{linked}built without profile-guided optimization"
    elif "--enable-optimizations" in arguments:
        built = f"{linked or 'without LTO, '}built with profile-guided optimization"
    else:  # as Debian's, whose rules use a profile
        built = "built by rules of its packager, which CONFIG_ARGS does not record"
    return f"{implementation} {version}, {built}"


def cores() -> tuple[int, int]:
    """Return the cores of the generator and of the server. On a single core both are the same."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[GENERATOR_CORE], usable[min(SERVER_CORE, len(usable) - 1)]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the processes that the block starts, and their children, on one core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """Return the pids of a process and all of its descendants."""
    found, parents = [pid], [pid]
    while parents:
        parent = parents.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            children = [int(child) for child in task.read_text(encoding="ascii").split()]
            found += children
            parents += children
    return found


def processor_seconds(pids: list[int]) -> float:
    """Return the total processor time of processes in seconds, as the scheduler counts it."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / _NANOSECONDS


def memory(pid: int) -> Memory:
    """Return the memory of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    return Memory(*(int(found[name]) / 1024 for name in ("Rss", "Pss", "Pss_Anon", "Pss_Shmem")))


class Others:
    """The processor use of other processes during a measurement. If it is high, the figures mean little."""

    ALLOWED = 0.15
    """Processor use of others that is acceptable, in cores."""

    def __init__(self, pids: list[int]) -> None:
        """Measure for the processes ``pids``. Neither they nor this process and its children count as others."""
        self._pids = pids
        self._began, self._ours, self._busy = time.monotonic(), self._known(), _busy()

    def cores(self) -> float:
        """Return the mean processor use of others since the beginning, in cores."""
        taken = _busy() - self._busy - (self._known() - self._ours)
        return max(0.0, taken / (time.monotonic() - self._began))

    def _known(self) -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return processor_seconds(self._pids) + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _busy() -> float:
    """Return the busy time of all processors, in seconds."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, kernel, _, _, interrupts, soft, *_ = map(int, first.split()[1:])
    return (user + nice + kernel + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
