"""Memory, start and the garbage collector's pauses, by the size of the book.

``python -m benchmarks.memory [--quick] [--accounts N …] [--requests N] [--json FILE]``. A real server of each size
is asked every call of the workload once; then what its decider takes is read from the system. The largest is asked
``--requests`` in all while each collection of its garbage collector is timed: inside of the process, since from
outside one could not tell a pause from a neighbour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from benchmarks import echoes, generator, machine, messages, rounds, served, watched, workload
from benchmarks.results import Column, Results, Row, arguments, publish, today

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 5_000)
REQUESTS = 10_000_000
LONGEST_RUN = 590.0
"""Seconds that one run of the generator may take."""
COLUMNS = [
    Column("start", "start, s", 2),
    Column("resident", "resident, MiB"),
    Column("proportional", "proportional, MiB"),
    Column("each", "bytes an account"),
    Column("requests", "requests"),
    Column("collections", "collections"),
    Column("full", "of these full"),
    Column("pauses_total", "all pauses, ms", 1),
    Column("pause_p99", "pause p99, µs"),
    Column("pause_max", "longest, µs"),
    Column("answer_max", "longest answer, µs"),
    Column("after", "resident after, MiB"),
]


def main() -> None:
    """Measure, print a table, and write what was found."""
    parser = arguments(__doc__)
    parser.add_argument("--accounts", type=int, nargs="*")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--calls", type=int)
    given = parser.parse_args()
    sizes = tuple(given.accounts or (QUICK if given.quick else SIZES))
    calls = given.calls or (5_000 if given.quick else workload.CALLS)
    wanted = given.requests or (50_000 if given.quick else REQUESTS)
    rows = measure(sizes, calls, wanted)
    results = Results(
        name="memory",
        title="Memory, start and the collector",
        method="A real server; *start* is from its process to READY, with the book taken up. Memory of the "
        f"process that decides, after {calls:,} calls were authorized and stopped; *proportional* counts pages "
        "that several processes share by the part of each; *bytes an account* is what was added to the smallest "
        "book. The largest was asked by TCP, 64 in flight; every collection in the deciding process was timed.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="accounts",
        columns=COLUMNS,
        rows=rows,
        caveats=[
            "The watch itself costs some microseconds a collection, which are not in its figures.",
            "The longest answer has all in it: also what the machine does beside.",
        ],
    )
    publish(results, given.json)


def measure(sizes: Sequence[int], calls: int, wanted: int) -> list[Row]:
    """Return a row for each size; only the last has the collector's figures."""
    rows: list[Row] = []
    for accounts in sizes:
        figures = _one(accounts, calls, wanted if accounts == sizes[-1] else 0)
        if rows:
            least = rows[0]
            added = (figures["proportional"] - least.figures["proportional"]) * 2**20
            figures["each"] = added / (accounts - sizes[0])
        rows.append(Row(f"{accounts:,}", figures))
    return rows


def _one(accounts: int, calls: int, wanted: int) -> dict[str, float]:
    with served.folder() as place:
        made = workload.make(accounts, calls)
        served.store(place / "store", made.book)
        lag = min(workload.LAG, accounts)  # of a small book none is full then
        count = messages.write(place / "requests", "msgpack", made.calls, lag)
        del made
        notes = place / "pauses"
        with served.serving(place, ("benchmarks.watched", str(notes))) as engine:
            options = messages.options("msgpack", count=count, tcp=True)
            target = f"tcp:{echoes.HOST}:{engine.tcp}"
            contender = rounds.Contender("engine", engine.pid, target, place / "requests", options)
            rounds.check([contender])
            memory = machine.memory(engine.decider)
            figures = {"start": engine.start, "resident": memory.resident, "proportional": memory.proportional}
            if not wanted:
                return figures
            before = sum(1 for _ in watched.read(notes))
            longest = sent = 0.0
            while sent < wanted:
                most = int(min(wanted - sent + count - 1, 5_000_000)) // count * count
                asked = messages.options("msgpack", count=max(count, most), tcp=True)
                result = generator.run(target, contender.requests, replace(asked, seconds=LONGEST_RUN))
                if result.answered < max(count, most):
                    raise AssertionError(f"only {result.answered} of {max(count, most)} were answered")
                sent += result.answered
                longest = max(longest, result.latency.max)
            figures |= _pauses([*watched.read(notes)][before:], engine.decider)
            after = machine.memory(engine.decider).resident
            return figures | {"requests": sent, "answer_max": longest, "after": after}


def _pauses(noted: list[watched.Pause], decider: int) -> dict[str, float]:
    own = [pause for pause in noted if pause.pid == decider]
    times = sorted(pause.nanoseconds / 1e3 for pause in own) or [0.0]
    return {
        "collections": len(own),
        "full": Counter(pause.generation for pause in own)[2],
        "pauses_total": sum(times) / 1e3,
        "pause_p99": times[int(len(times) * 0.99)],
        "pause_max": times[-1],
    }


if __name__ == "__main__":
    main()
