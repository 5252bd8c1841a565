"""Memory of accounts and of held legs, start time and garbage collector pauses, by the size of the book.

``python -m benchmarks.memory [--quick] [--accounts N …] [--requests N] [--json FILE]``. A real server of each size
is asked every call of the workload once. Then the memory of its decider is read from the system. The largest one
is asked ``--requests`` times in all while each garbage collection is timed. That happens inside of the process,
since an observer cannot distinguish a pause from the load of another process.

Bytes an account are the growth of that memory between the smallest book and another one. They include everything
that grows with the book: clients (one for four accounts), DIDs (three for each tenth account), the index, ready
answers, and the counters of all accounts that were asked.

Bytes a leg are measured in a server of their own. Each account holds a leg, then a second one that is started,
then a third one that is only reserved. Each of the last two steps adds legs and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from benchmarks import echoes, generator, machine, messages, rounds, served, watched, workload
from benchmarks.messages import Message
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.served import Served
from benchmarks.workload import Call, Method, Step

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 5_000)
REQUESTS = 10_000_000
LEGS, LEGS_QUICK = 25_000, 2_000
"""Number of accounts that hold legs, and of legs in each step."""
LONGEST_RUN = 590.0
"""Longest time of one run of the generator, in seconds."""
COLUMNS = [
    Column("start", "start, s", 2),
    Column("resident", "resident, MiB"),
    Column("proportional", "proportional, MiB"),
    Column("each", "bytes an account"),
    Column("active", "bytes an active leg"),
    Column("active_mirror", "in the mirror"),
    Column("reserved", "bytes a reserved leg"),
    Column("reserved_mirror", "in the mirror"),
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
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--accounts", type=int, nargs="*")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--calls", type=int)
    given = parser.parse_args()
    sizes = tuple(given.accounts or (QUICK if given.quick else SIZES))
    calls = given.calls or (5_000 if given.quick else workload.CALLS)
    wanted = given.requests or (50_000 if given.quick else REQUESTS)
    rows = [*measure(sizes, calls, wanted), held_legs(LEGS_QUICK if given.quick else LEGS)]
    results = Results(
        name="memory",
        title="Memory, start and the collector",
        method="A real server. *start* is the time from its first process to READY, with the book loaded. "
        f"Memory is that of the decider after {calls:,} calls were authorized and stopped. *proportional* counts "
        "a page shared by N processes as 1/N. *bytes an account* is the growth of the latter since the smallest "
        "book, with the clients, DIDs, index and counters of the accounts. Bytes of a leg are those of objects, "
        "and those of the mirror on tmpfs. The largest was asked over TCP with 64 requests in flight. Every "
        "collection in the decider was timed.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="accounts",
        columns=COLUMNS,
        rows=rows,
        caveats=[
            "The watch itself costs a few microseconds per collection, which its figures do not include.",
            "The longest answer includes every delay, those of other programs on the machine too.",
        ],
    )
    publish(results, given.json)


def measure(sizes: Sequence[int], calls: int, wanted: int) -> list[Row]:
    """Return a row for each size. Only the last one has the collector's figures."""
    rows: list[Row] = []
    for accounts in sizes:
        figures = _one(accounts, calls, wanted if accounts == sizes[-1] else 0)
        if rows:
            least = rows[0]
            added = (figures["proportional"] - least.figures["proportional"]) * 2**20
            figures["each"] = added / (accounts - sizes[0])
        rows.append(Row(f"{accounts:,}", figures))
    return rows


def held_legs(accounts: int) -> Row:
    """Return the row of the memory of held legs, one for each account in each step."""
    with served.folder() as place:
        made = workload.make(accounts, 3 * accounts)
        served.store(place / "store", made.book)
        steps = [made.calls[at : at + accounts] for at in range(0, 3 * accounts, accounts)]
        with served.serving(place) as engine:
            _ask(engine, place, _messages(steps[0], "authorize", "start"))
            before = machine.memory(engine.decider)
            _ask(engine, place, _messages(steps[1], "authorize", "start"))
            active = machine.memory(engine.decider)
            _ask(engine, place, _messages(steps[2], "authorize"))
            reserved = machine.memory(engine.decider)
    each = 2**20 / accounts
    figures = {
        "active": (active.anonymous - before.anonymous) * each,
        "active_mirror": (active.shared - before.shared) * each,
        "reserved": (reserved.anonymous - active.anonymous) * each,
        "reserved_mirror": (reserved.shared - active.shared) * each,
    }
    return Row(f"{accounts:,}, legs held", figures)


def _messages(calls: list[Call], *methods: Method) -> Iterator[Message]:
    for place, call in enumerate(calls):
        for method in methods:
            yield messages.of_step(Step(place, call, method))


def _ask(engine: Served, place: Path, asked: Iterator[Message]) -> None:
    """Ask all messages once, over TCP. Raise if an answer is missing or wrong."""
    count = messages.write_messages(place / "requests", "msgpack", asked)
    options = messages.options("msgpack", count=count, tcp=True)
    result = generator.run(f"tcp:{echoes.HOST}:{engine.tcp}", place / "requests", options)
    if result.answered < count:
        raise AssertionError(f"only {result.answered} of {count} requests were answered")


def _one(accounts: int, calls: int, wanted: int) -> dict[str, float]:
    with served.folder() as place:
        made = workload.make(accounts, calls)
        served.store(place / "store", made.book)
        held = min(workload.HELD, accounts)  # no account of a small book is full then
        count = messages.write(place / "requests", "msgpack", made.calls, workload.Life(held))
        del made
        notes = place / "pauses"
        with served.serving(place, served.Program(module=("benchmarks.watched", str(notes)))) as engine:
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
                    raise AssertionError(f"only {result.answered} of {max(count, most)} requests were answered")
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
