"""Latency at a paced rate: open loop, each request timed from the moment at which it was due.

``python -m benchmarks.paced [--quick] [--accounts N] [--calls N] [--pairs N] [--seconds S] [--json FILE]``. First,
the top rate of the engine is measured with 64 requests in flight. Then the engine and a bare uvloop echo alternate
at half of that rate, and at lower fixed rates. The result is the median of the pairs' ratios.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from benchmarks import echoes, machine, messages, rounds, served, workload
from benchmarks.echoes import Echo
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Contender, Rounds
from benchmarks.served import Served
from benchmarks.workload import Call, Life

PAIRS = 7
SECONDS = 8.0
RATES = (5_000, 10_000, 20_000, 50_000)
"""Fixed rates in requests per second. Rates above three quarters of the top rate are skipped."""
ENGINE, ECHO = "engine", echoes.LABELS["uvloop"]
"""The two cases."""
COLUMNS = [
    Column("offered", "offered/s"),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("p999", "p99.9 µs"),
    Column("max", "max µs"),
    Column("p50_ratio", "p50 to echo", 2),
    Column("p99_ratio", "p99 to echo", 2),
    Column("p999_ratio", "p99.9 to echo", 2),
    Column("p999_least", "least", 2),
    Column("p999_most", "most", 2),
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
            top = top_rate(engine, place, made.calls)
            half = top / 2
            for rate in (half, *(fixed for fixed in rates if fixed < 0.75 * top)):
                taken = at_rate(rate, engine, echo, place, made.calls, pairs, seconds, retakes)
                for case in (ENGINE, ECHO):
                    figures = rounds.figures(taken, case) | _ratios(taken, case)
                    figures["offered"] = rate
                    what = f"{case}, {'half of the top rate' if rate == half else f'{rate:,.0f}/s'}"
                    yield Row(what, figures, rounds.histogram(taken, case))


def at_rate(
    rate: float,
    engine: Served,
    echo: Echo,
    place: Path,
    calls: list[Call],
    pairs: int,
    seconds: float,
    retakes: int,
) -> Rounds:
    """Return the measurements of :data:`ENGINE` and :data:`ECHO` at a rate, in alternating pairs."""
    requests = place / f"paced-{rate:.0f}"
    some = calls[: max(1, min(len(calls), int(rate * seconds / 2)))]
    count = messages.write(requests, "msgpack", some, Life(min(workload.HELD, len(some))))
    count = max(count, int(rate * seconds) // count * count)
    asked = _contender(ENGINE, engine.pid, engine.udp, requests, count, rate)
    echoed = _contender(ECHO, echo.pid, echo.port, requests, count, rate)
    taken = rounds.alternate([asked, echoed], pairs, retakes)
    requests.unlink()
    return taken


def _contender(case: str, pid: int, port: int, requests: Path, count: int, rate: float) -> Contender:
    options = messages.options("msgpack", count=count, echo=case == ECHO)
    return Contender(case, pid, f"udp:{echoes.HOST}:{port}", requests, replace(options, rate=rate))


def top_rate(engine: Served, place: Path, calls: list[Call]) -> float:
    """Return the median rate of three runs with 64 requests in flight, after one run that checks the answers."""
    requests = place / "top"
    count = messages.write(requests, "msgpack", calls)
    options = messages.options("msgpack", count=count)
    contender = Contender(ENGINE, engine.pid, f"udp:{echoes.HOST}:{engine.udp}", requests, options)
    rounds.check([contender])
    taken = rounds.alternate([contender], 3, 0)
    requests.unlink()
    return rounds.figures(taken, ENGINE)["rate"]


def _ratios(taken: Rounds, case: str) -> dict[str, float]:
    p50 = rounds.ratios(taken, case, ECHO, lambda each: each.result.latency.p50)
    p99 = rounds.ratios(taken, case, ECHO, lambda each: each.result.latency.p99)
    p999 = rounds.ratios(taken, case, ECHO, rounds.p999)
    least_and_most = {"p999_least": p999.least, "p999_most": p999.most}
    return {"p50_ratio": p50.median, "p99_ratio": p99.median, "p999_ratio": p999.median, **least_and_most}


if __name__ == "__main__":
    main()
