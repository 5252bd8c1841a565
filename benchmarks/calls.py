"""The set of calls: the cost of a slot, compared with a bare LMDB put and delete of the same batches.

``python -m benchmarks.calls [--legs N …] [--quick]``. Each run reserves and stops calls in batches of 16, by the
functions that the usual way of the engine calls. The calls count on three levels (account, client, client in both
directions). N active legs are held meanwhile, and the mirror is on tmpfs. Rounds of the set of calls and of bare
LMDB alternate, so that both see the same machine. LMDB holds the same number of other keys, or none. Times are
processor time. Each answer is checked. Memory is what the held legs added to the process and to the mirror.
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
from msgspec.structs import replace

from benchmarks import machine
from identengine.calls.backend import DONE, FREED_ONE, Settings
from identengine.calls.journal import Journal
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels
from identengine.calls.memory import Calls
from identengine.calls.numbers import packed
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction
from identengine.model.usual import UsualRequest

BATCH = 16
BATCHES = 200
ROUNDS = 15
RESERVED = 50_000
"""Number of reserved legs whose memory is measured."""
SCOPE = call_key("sbc1", "")
"""The beginning of the keys of all calls."""
ACCOUNTS = 1_000
SIZES = (1_000, 100_000, 1_000_000)
QUICK = (1_000, 20_000)
VALUE = b"x" * 400
"""The value that bare LMDB stores. It is as long as a reserved leg."""


class Figures(NamedTuple):
    """Processor time of one slot, or of one put and delete, in seconds. Ratios are medians of the rounds.

    Memory is in bytes per leg.
    """

    ours: float
    bare: float
    ratio: float
    """Ratio to bare LMDB that holds as many keys as the set holds legs."""
    empty: float
    """Ratio to bare LMDB that holds no other key."""
    sweep: float
    """Share of a core that held legs cost while no message arrives: expiry checks and heartbeats."""
    active: tuple[float, float]
    """Bytes of memory and of the mirror for each active leg."""
    reserved: tuple[float, float]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=int, nargs="*", default=None)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(machine.interpreter())
    print("                admit+stop    LMDB   ratio  ratio, LMDB   sweep, %  active leg, B  reserved leg, B")
    print("     legs held          us      us           else empty  of a core    memory+tmpfs      memory+tmpfs")
    for legs in given.legs or (QUICK if given.quick else SIZES):
        found = measure(legs)
        (active, active_kept), (reserved, reserved_kept) = found.active, found.reserved
        print(
            f"{legs:>14,}{found.ours * 1e6:>12.2f}{found.bare * 1e6:>8.2f}{found.ratio:>8.1f}{found.empty:>13.1f}"
            f"{found.sweep * 100:>11.4f}{active:>12.0f}+{active_kept:.0f}{reserved:>14.0f}+{reserved_kept:.0f}",
            flush=True,
        )


def measure(legs: int) -> Figures:
    """Fill a set with active legs, then measure."""
    shm = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, on the memory that the set is made for
    folder = Path(tempfile.mkdtemp(prefix="identengine-bench-", dir=shm if shm.is_dir() else None))
    levels = _levels()
    decisions = [_decision(each) for each in levels]
    answers = [packed(each) for each in decisions]
    try:
        with Journal(folder, legs + 2 * RESERVED, 0, print) as journal:
            journal.read()
            calls = Calls(Settings(max_legs=legs + 2 * RESERVED), journal)
            gc.collect()
            before = _resident()
            now = _fill(calls, legs, levels, answers)
            gc.collect()
            active = (_resident() - before) / legs, journal.used() / legs
            gc.freeze()
            sweep = _sweep(calls, journal, now)
            times = []
            as_many, empty = _bare(folder / "as many", legs), _bare(folder / "empty", 0)
            for number in range(ROUNDS):
                now += 100.0  # forget the stops of the last round
                while calls.work(now):
                    pass
                times.append((_ours(calls, number, levels, answers, now), as_many(), empty()))
            return Figures(
                median(ours for ours, _, _ in times),
                median(bare for _, bare, _ in times),
                median(ours / bare for ours, bare, _ in times),
                median(ours / bare for ours, _, bare in times),
                sweep,
                active,
                _reserve(calls, journal, levels, decisions, now),
            )
    finally:
        shutil.rmtree(folder)


def _levels() -> list[Levels]:
    clients = [
        ClientLevels(
            (client << 2, client << 2 | 2),
            (
                (1, 100_000, Reason.CLIENT_CAPACITY),
                (2, 100_000, Reason.CLIENT_CAPACITY),
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
        account_id=levels.counter >> 1,
        account_name=f"account {levels.counter >> 1}",
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


def _call_id(number: int) -> str:
    return f"{number:010x}-8ec2f@198.51.100.7;as7d6f3c1b"


def _asked(number: int) -> UsualRequest:
    src, dst = "442079460123", "77#493012345678"
    return UsualRequest(call_id=_call_id(number), src_ip="192.0.2.5", src_number=src, dst_number=dst)


def _reserved(calls: Calls, asked: UsualRequest, levels: Levels, answer: bytes) -> None:
    """Reserve a slot, as the usual way does."""
    cells = calls.admissible(levels)
    assert isinstance(cells, tuple)
    calls.reserve(SCOPE + (asked.call_id or ""), "o", "sbc1", cells, asked, answer)


def _fill(calls: Calls, legs: int, levels: list[Levels], answers: list[bytes]) -> float:
    now = 1000.0
    for first in range(0, legs, 64):
        now += 0.001
        some = range(first, min(first + 64, legs))
        calls.begin(now)
        for number in some:
            place = number * 7919 % ACCOUNTS
            _reserved(calls, _asked(number), levels[place], answers[place])
        assert not calls.end()
        calls.begin(now)
        for number in some:
            assert calls.refresh_call("start", SCOPE + _call_id(number), "sbc1") is DONE
        assert not calls.end()
    assert calls.gauges().held == legs
    return now


def _ours(calls: Calls, number: int, levels: list[Levels], answers: list[bytes], now: float) -> float:
    first = 10**9 + number * BATCHES * BATCH
    held = calls.gauges().held
    taken = 0.0
    for batch in range(BATCHES):
        numbers = range(first + batch * BATCH, first + (batch + 1) * BATCH)
        places = [each * 7919 % ACCOUNTS for each in numbers]
        admits = [(_asked(each), levels[at], answers[at]) for each, at in zip(numbers, places, strict=True)]
        keys = [SCOPE + _call_id(each) for each in numbers]
        began = time.process_time()
        calls.begin(now)
        for admit in admits:
            _reserved(calls, *admit)
        rolled_back = calls.end()
        calls.begin(now)
        freed = [calls.stop_call(key) for key in keys]
        calls.end()
        taken += time.process_time() - began
        assert not rolled_back
        assert freed == [FREED_ONE] * BATCH
    assert calls.gauges().held == held
    return taken / (BATCHES * BATCH)


def _sweep(calls: Calls, journal: Journal, now: float) -> float:
    """Return the share of a core that expiry takes, five times a second for a minute, as in the decider."""
    began = time.process_time()
    for step in range(5 * 60):
        assert not calls.work(now + step / 5)
        journal.beat()
    return (time.process_time() - began) / 60


def _reserve(
    calls: Calls, journal: Journal, levels: list[Levels], decisions: list[Decision], now: float
) -> tuple[float, float]:
    """Return the bytes of memory and of the mirror that a reserved leg takes, answer and content included."""
    gc.collect()
    memory, mirror = _resident(), journal.used()
    for first in range(0, RESERVED, 64):
        calls.begin(now)
        for number in range(first, min(first + 64, RESERVED)):
            # The numbers are new objects for each call. The names are shared with the book.
            src_number, dst_number = f"4420{number:08}", f"4930{number:08}"
            answer = replace(decisions[number % ACCOUNTS], src_number=src_number, dst_number=dst_number)
            asked = replace(_asked(2 * 10**9 + number), src_number=src_number, dst_number="77#" + dst_number)
            _reserved(calls, asked, levels[number % ACCOUNTS], packed(answer))
        calls.end()
    gc.collect()
    return (_resident() - memory) / RESERVED, (journal.used() - mirror) / RESERVED


def _bare(path: Path, held: int) -> Callable[[], float]:
    """Return a function that puts and deletes values under random keys, among ``held`` other keys."""
    env = lmdb.open(
        str(path), map_size=1 << 32, writemap=True, sync=False, metasync=False, lock=False, subdir=False
    )
    for first in range(0, held, 1000):
        with env.begin(write=True) as txn:
            for _ in range(min(1000, held - first)):
                txn.put(os.urandom(16), VALUE)

    def run() -> float:
        taken = 0.0
        for _ in range(BATCHES):
            keys = [os.urandom(16) for _ in range(BATCH)]
            began = time.process_time()
            with env.begin(write=True) as txn:
                for key in keys:
                    txn.put(key, VALUE)
            with env.begin(write=True) as txn:
                for key in keys:
                    txn.delete(key)
            taken += time.process_time() - began
        return taken / (BATCHES * BATCH)

    return run


def _resident() -> int:
    """Return the private memory of the process, in bytes. The mirror is counted separately."""
    resident, shared = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
