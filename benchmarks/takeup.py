"""The switch of a running server to a new version: the time from commit to service, and the effect on callers.

``python -m benchmarks.takeup [--accounts N …] [--quick]``. One caller asks a real server with a book of N accounts
over UDP without pause. An edit of one account is committed. The program measures the time until an answer names
the new version, and the longest time of an answer before, during and after. Each answer is checked.
"""

from __future__ import annotations

import argparse
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks import books, machine, served
from identengine.model.records import Account, Request
from identengine.store.draft import Draft
from identengine.store.versions import Store

SIZES = (10_000, 100_000, 1_000_000)
QUICK = (10_000,)
EDITS = 3
_PATIENCE = 300.0


class Figures(NamedTuple):
    """Results of one size in seconds: medians of the edits, maxima of the answers."""

    accounts: int
    start: float
    served: float
    worst_before: float
    worst_during: float
    pause: str
    resident_mib: int


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="*", default=None)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(machine.interpreter())
    print(f"{'accounts':>10}{'start s':>10}{'served after s':>16}", end="")
    print(f"{'worst answer ms, idle':>23}{'while taken up':>16}{'longest step':>14}{'RSS MiB':>9}")
    for accounts in given.accounts or (QUICK if given.quick else SIZES):
        figures = measure(accounts)
        print(f"{figures.accounts:>10}{figures.start:>10.2f}{figures.served:>16.2f}", end="")
        print(f"{figures.worst_before * 1e3:>23.1f}{figures.worst_during * 1e3:>16.1f}", end="")
        print(f"{figures.pause:>14}{figures.resident_mib:>9}", flush=True)


def measure(accounts: int) -> Figures:
    """Return the results of one size of book."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = books.make(accounts)
        request, expected = made.requests["single"][0]
        edited = made.accounts[-1]
        served.store(folder / "store", made)
        del made
        config = folder / "identengine.toml"
        calls = f'[calls]\npath = "{folder}/calls"\nmax_legs = 1000\n'
        config.write_text(f'[store]\npath = "{folder}/store"\n{calls}[listen]\nudp = ["127.0.0.1:0"]\ntcp = []\n')
        command = [sys.executable, "-m", "identengine", "serve", "--config", str(config)]
        log = (folder / "log").open("w+")
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:  # noqa: S603
            try:
                port = served.ready(server)["udp"]
                start = time.perf_counter() - began
                caller = _Caller(port, request, expected)
                caller.ask_until(time.perf_counter() + 1.0)
                worst_before, caller.worst = caller.worst, 0.0
                taken = sorted(_edit(folder / "store", edited, number, caller) for number in range(EDITS))
                (decider,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
                resident = _resident_mib(int(decider))
            finally:
                server.send_signal(signal.SIGTERM)
        log.seek(0)
        pauses = re.findall(r"longest (?:pause|step) ([\d.]+ ms)", log.read())
        pause = pauses[-1] if pauses else "-"
        return Figures(accounts, start, taken[EDITS // 2], worst_before, caller.worst, pause, resident)


class _Caller:
    """A caller that asks one request at a time, checks the answer, and keeps the longest time."""

    def __init__(self, port: int, request: Request, expected: int | None) -> None:
        self.worst = 0.0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        params = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        message = {"jsonrpc": "2.0", "id": 1, "method": "identify", "params": params}
        self._message = msgspec.json.encode(message)
        self._expected = expected

    def ask(self) -> int:
        """Ask once. Return the version that answered."""
        began = time.perf_counter()
        self._socket.send(self._message)
        if not select.select([self._socket], [], [], 5.0)[0]:
            raise AssertionError("an answer was lost")
        result = msgspec.json.decode(self._socket.recv(2048))["result"]
        self.worst = max(self.worst, time.perf_counter() - began)
        if result.get("account_id") != self._expected:
            raise AssertionError(f"a wrong answer: {result}")
        return int(result["version"])

    def ask_until(self, end: float) -> None:
        """Ask until ``end``."""
        while time.perf_counter() < end:
            self.ask()


def _edit(store: Path, account: Account, number: int, caller: _Caller) -> float:
    """Commit a change of one account. Return the seconds until the server uses it."""

    def edit(draft: Draft) -> None:
        draft.put_account(msgspec.structs.replace(account, notes=f"edit {number}"))

    with Store.open(store) as opened:
        version = opened.change("benchmark", "edit", edit)[0].version
    committed = time.perf_counter()
    while caller.ask() < version:
        if time.perf_counter() - committed > _PATIENCE:
            raise AssertionError("the new version was never served")
    return time.perf_counter() - committed


def _resident_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024


if __name__ == "__main__":
    main()
