"""The record of decisions: its cost for each reject, and its effect on the latency of all requests.

``python -m benchmarks.record [--quick] [--rounds N] [--seconds S] [--folder DIR] [--json FILE]``. A server gets
10,000 rejected calls per second, and 1,000 accepted calls with their stops between them, each when it is due. The
cases alternate on one server by SIGHUP: no record, rejects in ``DIR`` (a disk), and rejects on a small disk that
fills meanwhile (as root only). Ratios are medians of the rounds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from benchmarks import generator, machine, messages, rounds, served, workload
from benchmarks.messages import Message
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Rounds, Taken
from benchmarks.served import Served
from identengine.stats import file as counters

REJECTS = 10_000
"""Rejected calls per second."""
CALLS = 1_000
"""Accepted calls per second, each with its stop."""
RATE = REJECTS + 2 * CALLS
ROUNDS, SECONDS = 5, 60.0
NONE, RECORDED, FILLING = "no record", "rejects", "rejects, a disk that fills"
ENTRY_BYTES = 170
"""Size of a recorded reject of this benchmark, about."""
PATIENCE = 30.0
COLUMNS = [
    Column("processor", "processor µs", 2),
    Column("cost", "µs per reject", 2),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("p99_ratio", "p99 to none", 2),
    Column("p999", "p99.9 µs"),
    Column("lost", "answers lost"),
    Column("recorded", "recorded/s"),
    Column("unrecorded", "not recorded/s"),
    Column("others", "others' cores", 2),
]


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    count = given.rounds or (1 if given.quick else ROUNDS)
    seconds = given.seconds or (1.0 if given.quick else SECONDS)
    results = Results(
        name="record",
        title="The record of decisions",
        method=f"UDP MessagePack, open loop: {REJECTS:,} rejected and {CALLS:,} accepted calls per second, "
        f"{seconds:g} s for each case, {count} rounds. Processor time is that of the server for each message.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="record",
        columns=COLUMNS,
        rows=measure(count, seconds, given.folder),
    )
    publish(results, given.json)


def measure(count: int, seconds: float, disk: Path) -> list[Row]:
    """Return a row for each case."""
    with served.folder() as place, tempfile.TemporaryDirectory(dir=disk, prefix="identengine-record-") as folder:
        made = workload.make(2_000, CALLS)
        served.store(place / "store", made.book)
        written = messages.write_messages(place / "requests", "msgpack", mixed(made.calls))
        options = replace(messages.options("msgpack", count=int(RATE * seconds) // written * written), rate=RATE)
        with served.serving(place) as engine:
            case = partial(take, engine, place, options)
            cases = {NONE: partial(case, "none", Path(folder)), RECORDED: partial(case, "rejects", Path(folder))}
            if os.geteuid() == 0:
                cases[FILLING] = partial(on_small_disk, case, place / "small", seconds)
            extra: dict[str, list[tuple[int, int]]] = {name: [] for name in cases}
            turns = {name: partial(noted, run, place, extra[name]) for name, run in cases.items()}
            taken = rounds.in_turn(turns, count)
    return [row(taken, name, extra[name], seconds) for name in cases]


def mixed(calls: list[workload.Call]) -> Iterator[Message]:
    """Yield ten rejects, an accepted call and the stop of that call, for each call."""
    for place, step in enumerate(workload.order(calls, workload.Life(0))):
        if step.method == "authorize":
            for number in range(REJECTS // CALLS):
                params = {
                    "call_id": f"rejected-{place}-{number}@192.0.2.1",
                    "src_ip": "192.0.2.77",
                    "src_number": "493012345678",
                    "dst_number": f"4420794{place:06d}",
                }
                yield Message("authorize", params, {"accepted": False}, place + number)
        yield messages.of_step(step)


def take(engine: Served, place: Path, options: generator.Options, decisions: str, folder: Path) -> Taken:
    """Measure one case."""
    config, log = place / "identengine.toml", place / "log"
    before, reloaded = config.read_text().partition("[record]")[0], log.read_text().count("SIGHUP: changed")
    config.write_text(f'{before}[record]\ndecisions = "{decisions}"\npath = "{folder}/record"\n')
    os.kill(engine.pid, signal.SIGHUP)
    until = time.monotonic() + PATIENCE
    while log.read_text().count("SIGHUP: changed") == reloaded:
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    target = f"udp:127.0.0.1:{engine.udp}"
    return rounds.take(rounds.Contender(decisions, engine.pid, target, place / "requests", options))


def on_small_disk(case: partial[Taken], folder: Path, seconds: float) -> Taken:
    """Measure a case on a disk that is full after half of the time."""
    with small_disk(folder, int(REJECTS * seconds * ENTRY_BYTES / 2) >> 10):
        taken = case("rejects", folder)
        case.func(*case.args[:2], replace(case.args[2], count=12), "none", folder)  # so that no file is open
    return taken


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """Mount a small disk in memory at ``folder``."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - ours
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607 - ours


def noted(run: partial[Taken], place: Path, found: list[tuple[int, int]]) -> Taken:
    """Measure a case, and note the numbers of decisions that it recorded and lost."""
    before = recorded(place)
    taken = run()
    time.sleep(0.5)  # the server writes its counters five times a second
    after = recorded(place)
    found.append((after[0] - before[0], after[1] - before[1]))
    return taken


def recorded(place: Path) -> tuple[int, int]:
    """Return the numbers of decisions that were recorded, and that were not."""
    values = counters.read(place / "calls").values
    return values["decisions_recorded"], values["decisions_unrecorded"]


def row(taken: Rounds, case: str, extra: Sequence[tuple[int, int]], seconds: float) -> Row:
    """Return the figures of a case."""
    figures = rounds.figures(taken, case)
    figures["recorded"] = median(one for one, _ in extra) / seconds
    figures["unrecorded"] = median(lost for _, lost in extra) / seconds
    if case != NONE:
        more = [each[case].processor - each[NONE].processor for each in taken]
        figures["cost"] = median(more) * RATE / REJECTS
        p99 = rounds.ratios(taken, case, NONE, lambda one: one.result.latency.p99)
        figures["p99_ratio"] = p99.median
    return Row(case, figures, rounds.histogram(taken, case))


if __name__ == "__main__":
    main()
