"""The time and memory of lint, by the size of the book.

``python -m benchmarks.lint [--accounts N …] [--quick]``. For each size, a store with a book of N accounts, their
clients and DIDs is made. A process of its own runs all checks on it. The program prints the time in all and for an
account, the memory that the process needs above an empty one, and the findings. It also prints the processor time
that the findings of one edit add.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple, Self

import msgspec

from benchmarks import books, machine, served
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope
from identengine.lint.touched import brought
from identengine.lint.walk import lint
from identengine.provisioning.changes import changed
from identengine.store.draft import Draft
from identengine.store.versions import Store

SIZES = (10_000, 100_000, 1_000_000)
QUICK = (1_000, 10_000)
EDITS = 5


class Figures(NamedTuple):
    """Results of one size. Times are processor time in seconds."""

    accounts: int
    dids: int
    time: float
    memory_mib: int
    findings: int
    edit: float
    """Median time that the findings of an edit of one account take."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="*", default=None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.store is not None:
        print(json.dumps(measure(given.store)))
        return
    print(machine.interpreter())
    print(f"{'accounts':>10}{'DIDs':>9}{'lint s':>9}{'µs an account':>15}{'MiB':>6}{'findings':>10}{'edit ms':>9}")
    for accounts in given.accounts or (QUICK if given.quick else SIZES):
        figures = measured_apart(accounts)
        print(f"{figures.accounts:>10}{figures.dids:>9}{figures.time:>9.2f}", end="")
        print(f"{figures.time / figures.accounts * 1e6:>15.1f}{figures.memory_mib:>6}", end="")
        print(f"{figures.findings:>10}{figures.edit * 1e3:>9.1f}", flush=True)


def measured_apart(accounts: int) -> Figures:
    """Return the results of one size, from a process that has not made the book."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        served.store(store, books.make(accounts, requests=0))
        command = [sys.executable, "-m", "benchmarks.lint", "--store", str(store)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return Figures(*json.loads(done.stdout))


def measure(path: Path) -> Figures:
    """Return the results of a store."""
    with Store.open(path) as store:
        with store.read() as book, _Peak() as peak:
            began = time.process_time()
            found = lint(book, Scope()).findings
            took = time.process_time() - began
            counts = book.counts
        edits = sorted(_edited(store, number) for number in range(EDITS))
    return Figures(counts.accounts, counts.dids, took, peak.mib, len(found), edits[EDITS // 2])


def _edited(store: Store, number: int) -> float:
    """Return the time that the findings of an edit take. The edit is not committed."""

    def edit(draft: Draft) -> tuple[float, list[Finding]]:
        before = draft.account(number + 1)
        assert before is not None
        after = msgspec.structs.replace(before, tech_prefix="5#")
        draft.put_account(after)
        began = time.process_time()
        found = brought(draft, [changed(before, after)], Scope())
        return time.process_time() - began, found

    _, (took, _) = store.change("benchmark", "an edit", edit, dry_run=True)
    return took


class _Peak:
    """The largest memory of the process during a block, above that at its begin. Mapped files do not count."""

    def __init__(self) -> None:
        self._begin = self._most = _anonymous_kib()
        self._done = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def mib(self) -> int:
        """The memory in MiB."""
        return (self._most - self._begin) // 1024

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, _anonymous_kib())


def _anonymous_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


if __name__ == "__main__":
    main()
