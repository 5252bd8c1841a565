"""A real ``identengine serve`` with a made-up book, on one core, with its calls on tmpfs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import books, machine
from benchmarks.switches import SECRET
from identengine.store.draft import Draft
from identengine.store.versions import Store

_CONFIG = """\
[store]
path = "{store}"
[calls]
path = "{folder}/calls"
max_legs = {legs}
[identify]
passwordless_name = "normal"
[listen]
udp = ["127.0.0.1:0"]
tcp = ["127.0.0.1:0"]
{switch}datagram_age_ms = {age}
"""
_SWITCH = """\
radius_auth = ["127.0.0.1:0"]
radius_acct = ["127.0.0.1:0"]
[[switch]]
name = "native"
addresses = ["127.0.0.0/8"]
[[switch]]
name = "radius"
addresses = ["127.0.0.0/8"]
secret = {{ env = "{variable}" }}
[limits]
"""
_VARIABLE = "IDENTENGINE_BENCHMARK_SECRET"
AGE_MS = 5_000
"""Longest age of a datagram in the server, in milliseconds.

A busy machine must not cost a datagram, since the stop of a lost call would be a wrong answer.
"""
LEGS = 100_000


class Served(NamedTuple):
    """A running engine."""

    pid: int
    """Pid of its first process."""
    decider: int
    udp: int
    """Ports of the listeners."""
    tcp: int
    start: float
    """Time from the start of the process until the book was loaded, in seconds."""
    radius: int = 0
    """Port of the authorizations of RADIUS, or 0 without RADIUS."""
    accounting: int = 0
    """Port of the accounting of RADIUS, or 0 without RADIUS."""


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for the block, in memory if possible, where the mirror of the calls is too."""
    shm = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    made = Path(tempfile.mkdtemp(prefix="identengine-bench-", dir=shm if shm.is_dir() else None))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def store(path: Path, made: books.Book) -> None:
    """Make a store at ``path`` that holds a book."""

    def fill(draft: Draft) -> None:
        for client in made.clients:
            draft.put_client(client)
        for account in made.accounts:
            draft.put_account(account)
        for did in made.dids:
            draft.put_did(did)

    with Store.open(path, create=True) as opened:
        opened.change("benchmark", "a made-up book", fill)


class Program(NamedTuple):
    """The program to serve with."""

    python: Path = Path(sys.executable)
    tree: Path = Path(__file__).parents[1]
    """Source tree of the program. It is the working folder of the processes, and the first place of imports."""
    module: tuple[str, ...] = ("identengine",)
    """The module to run, with arguments before ``serve``: the engine itself, or its watcher."""

    @property
    def command(self) -> list[str]:
        """The command without its last arguments."""
        return [str(self.python), "-m", *self.module]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        return os.environ | {"PYTHONPATH": str(self.tree)}

    def check(self) -> None:
        """Raise AssertionError if the program would import the engine from another tree."""
        command = [str(self.python), "-c", "import identengine; print(identengine.__file__)"]
        asked = subprocess.run(  # noqa: S603 - ours
            command, cwd=self.tree, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        )
        found = Path(asked.stdout.strip()).resolve()
        if not found.is_relative_to(self.tree.resolve()):
            raise AssertionError(f"expected the engine of {self.tree}, got {found}")


@contextmanager
def serving(
    place: Path,
    program: Program = Program(),  # noqa: B008 - frozen
    book: Path | None = None,
    *,
    switch: bool = False,
) -> Iterator[Served]:
    """Serve a book during the block, by default ``place/store``, with all processes on the server's core.

    With ``switch``, a switch on loopback asks by RADIUS too.
    """
    config = place / "identengine.toml"
    more = _SWITCH.format(variable=_VARIABLE) if switch else "[limits]\n"
    config.write_text(
        _CONFIG.format(folder=place, store=book or place / "store", legs=LEGS, age=AGE_MS, switch=more)
    )
    environment = program.environment | ({_VARIABLE: SECRET} if switch else {})
    command = [*program.command, "serve", "--config", str(config)]
    with (place / "log").open("w") as log, machine.on_core(machine.cores()[1]):
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - ours
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=program.tree, env=environment
        )
    try:
        ports = ready(process)
        start = time.perf_counter() - began
        (decider,) = [pid for pid in machine.family(process.pid) if _name(pid) == "ident-decider"]
        radius, accounting = (ports.get(name, 0) for name in ("radius_auth", "radius_acct"))
        yield Served(process.pid, decider, ports["udp"], ports["tcp"], start, radius, accounting)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def ready(server: subprocess.Popen[str]) -> dict[str, int]:
    """Wait until a server is ready. Return its ports by kind as in the keys of ``[listen]``."""
    ports = {}
    for line in server.stdout or ():
        if line.startswith("listening "):
            _, kind, endpoint = line.split()
            ports[kind] = int(endpoint.rpartition(":")[2])
        if line.strip() == "READY":
            return ports
    raise AssertionError("the server did not start")


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
