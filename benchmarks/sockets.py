"""The engine through its sockets, compared with servers that only send back what they receive.

``python -m benchmarks.sockets [--quick] [--accounts N] [--calls N] [--rounds N] [--json FILE]``. The workload is
that of :mod:`benchmarks.workload`. In each round every call is authorized once and stopped once, with 64 requests
in flight. The server has one core, the generator another. Every answer is checked, and contenders alternate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import echoes, machine, messages, rounds, served, workload
from benchmarks.messages import Form
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Contender
from benchmarks.served import Served

ROUNDS = 5


class Case(NamedTuple):
    """One way to ask the engine, and the echo servers to compare it with."""

    name: str
    form: Form
    tcp: bool
    limits: tuple[str, ...]


CASES = (
    Case("UDP, MessagePack", "msgpack", False, ("uvloop", "batched", "c")),
    Case("UDP, JSON", "json", False, ("uvloop", "batched", "c")),
    Case("TCP, MessagePack, 64 in flight", "msgpack", True, ("uvloop-tcp",)),
)
COLUMNS = [
    Column("rate", "requests/s"),
    Column("least", "least"),
    Column("most", "most"),
    Column("ratio", "to uvloop echo", 2),
    Column("ratio_batched", "to Python echo by the batch", 2),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("processor", "server CPU µs/request", 2),
    Column("lost", "lost"),
    Column("resident", "RSS MiB"),
    Column("busy", "generator busy", 2),
    Column("others", "others' cores", 2),
]


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    workload.add_sizes(parser)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    accounts, calls = workload.sizes(given, 5_000, 10_000)
    count = given.rounds or (2 if given.quick else ROUNDS)
    rows = list(measure(accounts, calls, count, 0 if given.quick else rounds.RETAKES))
    results = Results(
        name="sockets",
        title="Through the sockets, against the limits",
        method=f"{accounts:,} accounts, {calls:,} calls, each authorized and stopped in each of {count} rounds. "
        "Contenders take turns. Figures are medians; a ratio is the median of the rounds' ratios. 64 requests are "
        "in flight. The server has one core, the generator another. The echo servers receive the same messages "
        "and return the same bytes; the engine's answers are longer.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="what",
        columns=COLUMNS,
        rows=rows,
        caveats=rounds.caveats(row.figures for row in rows),
    )
    publish(results, given.json)


def measure(accounts: int, calls: int, count: int, retakes: int = 0) -> Iterator[Row]:
    """Yield the rows of all cases."""
    with served.folder() as place:
        made = workload.make(accounts, calls)
        served.store(place / "store", made.book)
        requests = {form: place / form for form in ("msgpack", "json")}
        messages.write(requests["msgpack"], "msgpack", made.calls)
        messages.write(requests["json"], "json", made.calls)
        del made
        with served.serving(place) as engine:
            for case in CASES:
                yield from _rows(case, engine, requests[case.form], 2 * calls, count, retakes)


def _rows(case: Case, engine: Served, requests: Path, each: int, count: int, retakes: int) -> Iterator[Row]:
    with ExitStack() as stack:
        contenders = [engine_of(case, engine, requests, each)]
        for kind in case.limits:
            echo = stack.enter_context(echoes.echoing(kind))
            target = f"{'tcp' if case.tcp else 'udp'}:{echoes.HOST}:{echo.port}"
            options = messages.options(case.form, count=each, echo=True, tcp=case.tcp)
            contenders.append(
                Contender(f"{case.name}: {echoes.LABELS[kind]}", echo.pid, target, requests, options)
            )
        rounds.check(contenders[:1])
        taken = rounds.alternate(contenders, count, retakes)
        uvloop = next(one.case for one in contenders if "uvloop" in one.case)
        for one in contenders:
            figures = rounds.figures(taken, one.case)
            figures["ratio"] = rounds.ratios(taken, one.case, uvloop).median
            batched = f"{case.name}: {echoes.LABELS['batched']}"
            if batched in taken[0]:
                figures["ratio_batched"] = rounds.ratios(taken, one.case, batched).median
            figures["resident"] = machine.memory(engine.decider if one.pid == engine.pid else one.pid).resident
            yield Row(one.case, figures, rounds.histogram(taken, one.case))


def engine_of(case: Case, engine: Served, requests: Path, each: int) -> Contender:
    """Return the engine as a contender of one case."""
    target = f"tcp:{echoes.HOST}:{engine.tcp}" if case.tcp else f"udp:{echoes.HOST}:{engine.udp}"
    options = messages.options(case.form, count=each, tcp=case.tcp)
    return Contender(f"{case.name}: engine", engine.pid, target, requests, options)


if __name__ == "__main__":
    main()
