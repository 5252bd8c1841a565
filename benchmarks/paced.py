"""Latency at a paced rate: open loop, each request timed from the moment at which it was due.

``python -m benchmarks.paced [--quick] [--accounts N] [--calls N] [--pairs N] [--seconds S] [--json FILE]``. First,
the top rate of the engine is measured with 64 requests in flight. Then the engine and a bare uvloop echo alternate
at half of that rate, and at lower fixed rates. The result is the median of the pairs' ratios.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from benchmarks import echoes, machine, messages, rounds, served, workload
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Contender, Rounds
from benchmarks.served import Served
from benchmarks.workload import Call

PAIRS = 5
SECONDS = 8.0
RATES = (5_000, 10_000, 20_000, 50_000)
"""Fixed rates in requests per second. Rates above three quarters of the top rate are skipped."""
COLUMNS = [
    Column("offered", "offered/s"),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("p999", "p99.9 µs"),
    Column("max", "max µs"),
    Column("p50_ratio", "p50 to echo", 2),
    Column("p99_ratio", "p99 to echo", 2),
    Column("p999_ratio", "p99.9 to echo", 2),
    Column("lost", "lost"),
    Column("lateness_p99", "generator late, p99 µs", 1),
    Column("lateness_max", "generator late, max µs", 1),
    Column("others", "others' cores", 2),
]


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    workload.add_sizes(parser)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    accounts, calls = workload.sizes(given, 5_000, 10_000)
    pairs = given.pairs or (2 if given.quick else PAIRS)
    seconds = given.seconds or (0.5 if given.quick else SECONDS)
    rates = RATES[:1] if given.quick else RATES
    rows = list(measure(accounts, calls, pairs, seconds, rates, 0 if given.quick else rounds.RETAKES))
    results = Results(
        name="paced",
        title="Latency at a paced rate",
        method=f"{accounts:,} accounts, UDP MessagePack, open loop: each request is sent when it is due, and its "
        f"latency counts from then. {pairs} alternating pairs of the engine and a bare uvloop echo, {seconds:g} s "
        "each. Figures are medians; a ratio is the median of the pairs' ratios. The first rate is half of the top "
        "rate of the engine.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="what",
        columns=COLUMNS,
        rows=rows,
        caveats=rounds.caveats(row.figures for row in rows),
    )
    publish(results, given.json)


def measure(
    accounts: int, calls: int, pairs: int, seconds: float, rates: tuple[int, ...], retakes: int
) -> Iterator[Row]:
    """Yield two rows for each rate: the engine and the echo server."""
    with served.folder() as place:
        made = workload.make(accounts, calls)
        served.store(place / "store", made.book)
        with served.serving(place) as engine, echoes.echoing("uvloop") as echo:
            top = _top(engine, place, made.calls)
            half = top / 2
            for rate in (half, *(fixed for fixed in rates if fixed < 0.75 * top)):
                requests = place / f"paced-{rate:.0f}"
                some = made.calls[: max(1, min(calls, int(rate * seconds / 2)))]
                count = messages.write(requests, "msgpack", some, min(workload.LAG, len(some)))
                asked = _contender("engine", engine.pid, engine.udp, requests, count, rate)
                beside = _contender(echoes.LABELS["uvloop"], echo.pid, echo.port, requests, count, rate)
                taken = rounds.alternate([asked, beside], pairs, retakes)
                requests.unlink()
                for one in (asked, beside):
                    figures = rounds.figures(taken, one.case) | _ratios(taken, one.case, beside.case)
                    figures["offered"] = rate
                    what = f"{one.case}, {'half of the top rate' if rate == half else f'{rate:,.0f}/s'}"
                    yield Row(what, figures, rounds.histogram(taken, one.case))


def _contender(case: str, pid: int, port: int, requests: Path, count: int, rate: float) -> Contender:
    options = messages.options("msgpack", count=count, echo=case != "engine")
    return Contender(case, pid, f"udp:{echoes.HOST}:{port}", requests, replace(options, rate=rate))


def _top(engine: Served, place: Path, calls: list[Call]) -> float:
    """Return the median rate of three runs with 64 requests in flight, after one run that checks the answers."""
    requests = place / "top"
    count = messages.write(requests, "msgpack", calls)
    options = messages.options("msgpack", count=count)
    contender = Contender("engine", engine.pid, f"udp:{echoes.HOST}:{engine.udp}", requests, options)
    rounds.check([contender])
    taken = rounds.alternate([contender], 3, 0)
    requests.unlink()
    return rounds.figures(taken, "engine")["rate"]


def _ratios(taken: Rounds, of: str, to: str) -> dict[str, float]:
    pairs = [(each[of].result.latency, each[to].result.latency) for each in taken]
    return {
        "p50_ratio": median(ours.p50 / theirs.p50 for ours, theirs in pairs),
        "p99_ratio": median(ours.p99 / theirs.p99 for ours, theirs in pairs),
        "p999_ratio": median(ours.p999 / theirs.p999 for ours, theirs in pairs),
    }


if __name__ == "__main__":
    main()
