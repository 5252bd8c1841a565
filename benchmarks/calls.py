"""The set of calls: what a slot costs, against a bare LMDB put and delete of the same batches.

``python -m benchmarks.calls [--legs N …] [--quick]``. Admissions and stops in batches of 16, on three levels
(account, client, client in both directions), with N active legs held, the mirror on tmpfs. Rounds of ours and of
bare LMDB alternate, so that both see the same machine. Each answer is checked. Memory is what the held legs added
to the process, and what they take in the mirror.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import lmdb

from identengine.calls.journal import Journal
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels
from identengine.calls.memory import Calls, Settings
from identengine.calls.messages import Admit, Done, Named, Progress, Stop
from identengine.model import Decision, Direction
from identengine.reasons import Reason

BATCH = 16
BATCHES = 200
ROUNDS = 15
ACCOUNTS = 1_000
SIZES = (1_000, 100_000, 1_000_000)
QUICK = (1_000, 20_000)
VALUE = b"x" * 400
"""What bare LMDB puts: as long as a reserved leg is."""


class Figures(NamedTuple):
    """Seconds for one admission and stop, or put and delete; bytes an active leg."""

    ours: float
    bare: float
    ratio: float
    """Median of the rounds."""
    memory: float
    mirror: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=int, nargs="*", default=None)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(f"{'legs held':>10}{'admit + stop us':>17}{'bare put + delete us':>22}{'ratio':>7}", end="")
    print(f"{'memory B/leg':>14}{'mirror B/leg':>14}")
    for legs in given.legs or (QUICK if given.quick else SIZES):
        found = measure(legs)
        print(f"{legs:>10}{found.ours * 1e6:>17.2f}{found.bare * 1e6:>22.2f}{found.ratio:>7.1f}", end="")
        print(f"{found.memory:>14.0f}{found.mirror:>14.0f}", flush=True)


def measure(legs: int) -> Figures:
    """Fill a set with active legs, then measure."""
    shm = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, on the memory that the set is meant for
    folder = Path(tempfile.mkdtemp(prefix="identengine-bench-", dir=shm if shm.is_dir() else None))
    levels = _levels()
    decisions = [_decision(each) for each in levels]
    try:
        with Journal(folder, legs + 100_000, 0, print) as journal:
            calls = Calls(Settings(max_legs=legs + 100_000), journal)
            gc.collect()
            before = _resident()
            now = _fill(calls, legs, levels, decisions)
            gc.collect()
            memory = (_resident() - before) / legs
            mirror = journal.used() / legs
            gc.freeze()
            ours, bare = [], []
            put = _bare(folder)
            for number in range(ROUNDS):
                now += 100.0  # stops of the last round are forgotten
                while calls.work(now):
                    pass
                ours.append(_ours(calls, number, levels, decisions, now))
                bare.append(put())
            ratio = median(one / other for one, other in zip(ours, bare, strict=True))
            return Figures(median(ours), median(bare), ratio, memory, mirror)
    finally:
        shutil.rmtree(folder)


def _levels() -> list[Levels]:
    clients = [
        ClientLevels(
            (client << 2, client << 2 | 2),
            (
                (client << 2, 100_000, Reason.CLIENT_CAPACITY),
                (client << 2 | 2, 100_000, Reason.CLIENT_CAPACITY),
            ),
        )
        for client in range(1, ACCOUNTS // 4 + 1)
    ]
    return [
        Levels(account << 1, 100_000, None, clients[account % len(clients)]) for account in range(1, ACCOUNTS + 1)
    ]


def _decision(levels: Levels) -> Decision:
    return Decision(
        accepted=True,
        account_id=levels.account >> 1,
        account_name=f"account {levels.account >> 1}",
        client_id=levels.client.counters[0] >> 1,
        client_name="Carrier 22",
        direction=Direction.ORIGINATION,
        version=12,
        matched_by="ip",
        matched="192.0.2.5",
        ambiguous=False,
        src_number="442079460123",
        src_rewritten=False,
        dst_number="493012345678",
        rate_table="rates-1",
        routing_plan="plan-1",
        lease=200,
    )


def _call(number: int) -> str:
    return call_key("sbc1", f"{number:010x}-8ec2f@198.51.100.7;as7d6f3c1b")


def _admit(number: int, levels: list[Levels], decisions: list[Decision]) -> Admit:
    place = number * 7919 % ACCOUNTS
    content = b"%0150d" % number
    return Admit(_call(number), "o", "sbc1", content, lambda: (decisions[place], levels[place]))


def _fill(calls: Calls, legs: int, levels: list[Levels], decisions: list[Decision]) -> float:
    now = 1000.0
    for first in range(0, legs, 64):
        now += 0.001
        some = range(first, min(first + 64, legs))
        calls.apply([_admit(number, levels, decisions) for number in some], now)
        started = [
            Progress("start", Named(_call(number), None, None), "sbc1", None, None, lambda _: levels[0])
            for number in some
        ]
        assert all(answer == Done(True) for answer in calls.apply(started, now))
    assert calls.counts.held == legs
    return now


def _ours(calls: Calls, number: int, levels: list[Levels], decisions: list[Decision], now: float) -> float:
    first = 10**9 + number * BATCHES * BATCH
    held = calls.counts.held
    taken = 0.0
    for batch in range(BATCHES):
        admits = [_admit(first + batch * BATCH + place, levels, decisions) for place in range(BATCH)]
        stops = [Stop(Named(admit.call or "", None, None)) for admit in admits]
        began = time.perf_counter()
        accepted = calls.apply(admits, now)
        freed = calls.apply(stops, now)
        taken += time.perf_counter() - began
        assert all(isinstance(answer, Decision) and answer.accepted for answer in accepted)
        assert freed == [Done(True, freed=1)] * BATCH
    assert calls.counts.held == held
    return taken / (BATCHES * BATCH)


def _bare(folder: Path) -> Callable[[], float]:
    """Return what puts and deletes as many values under random keys, beside nothing else."""
    env = lmdb.open(
        str(folder / "bare"), map_size=1 << 28, writemap=True, sync=False, metasync=False, lock=False, subdir=False
    )

    def run() -> float:
        taken = 0.0
        for _ in range(BATCHES):
            keys = [os.urandom(16) for _ in range(BATCH)]
            began = time.perf_counter()
            with env.begin(write=True) as txn:
                for key in keys:
                    txn.put(key, VALUE)
            with env.begin(write=True) as txn:
                for key in keys:
                    txn.delete(key)
            taken += time.perf_counter() - began
        return taken / (BATCHES * BATCH)

    return run


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
