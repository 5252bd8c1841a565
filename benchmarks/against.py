"""This source tree against another one, in processor time, over usual and unusual requests.

``python -m benchmarks.against CHECKOUT [--quick] [--python PATH] [--only WORD …] [--rounds N] [--accounts N]
[--calls N] [--requests N] [--json FILE]``. Each tree serves the same book with its own processes. Both are asked
the same requests in turn, case by case. A figure is the processor time of the process that decides, for each
request. The ratio of a round is that of two measurements right after each other. Every answer is checked, so a
wrong one of either tree ends the run. CHECKOUT has to read the store's format of this tree.

A tree against a copy of itself shows the noise of the machine: its ratios would be 1 on a quiet one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks import kinds, machine, rounds, served, workload
from benchmarks.cases import Case, Ground
from benchmarks.messages import Form
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.served import Program, Served
from benchmarks.workload import Life

ROUNDS = 7
REQUESTS = 20_000
"""Least number of requests of one measurement."""
CALLS = 10_000
"""Number of calls of the workload. With two requests each, they last as long as other measurements."""
THIS, OTHER = "this tree", "the other"
AT_ONCE, HELD = Life(0), Life(2_048)
USUAL = (
    Case("usual: authorize, stop", AT_ONCE),
    Case("usual: JSON", AT_ONCE, "json"),
    Case("usual: TCP", AT_ONCE, tcp=True),
    Case("usual: TCP, JSON", AT_ONCE, "json", tcp=True),
    Case("usual: TCP, 64 connections x 1", AT_ONCE, tcp=True, pipelined=(64, 1)),
    Case("usual: TCP, 50 connections x 16", AT_ONCE, tcp=True, pipelined=(50, 16)),
    Case("usual: 2,048 calls held", HELD),
    Case("usual: 2,048 held, start", HELD._replace(between=("start",))),
    Case("usual: 2,048 held at random, start, update", Life(2_048, ("start", "update"), scattered=True)),
)
VARIED = ("unknown_source", "bad_password", "names with passwords", "retransmissions", "start and updates")
"""Kinds that are also asked in JSON and over TCP."""
_VARIANTS: tuple[tuple[Form, bool, str], ...] = (
    ("json", False, "UDP, JSON"),
    ("msgpack", True, "TCP, MessagePack"),
    ("json", True, "TCP, JSON"),
)
CASES = (
    *USUAL,
    *(Case(kind.name, kind.name) for kind in kinds.KINDS),
    *(Case(f"{name}: {label}", name, form, tcp) for name in VARIED for form, tcp, label in _VARIANTS),
)
COLUMNS = [
    Column("other", "the other, µs/request", 2),
    Column("this", "this tree, µs/request", 2),
    Column("ratio", "ratio", 2),
    Column("least", "least", 2),
    Column("most", "most", 2),
    Column("rate", "requests/s, ratio", 2),
    Column("lost", "lost"),
    Column("others", "others' cores", 2),
]


class Sizes(NamedTuple):
    """The numbers of a run."""

    accounts: int
    calls: int
    of_kind: int
    """Number of accounts of a kind."""
    crowd: int
    requests: int
    """Least number of requests of one measurement."""
    rounds: int


FULL = Sizes(workload.ACCOUNTS, CALLS, kinds.ACCOUNTS, kinds.CROWD, REQUESTS, ROUNDS)
QUICK = Sizes(500, 250, 50, 100, 200, 1)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="the other source tree")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the interpreter of both servers"
    )
    parser.add_argument("--only", nargs="*", metavar="WORD", help="run only the cases whose names contain a WORD")
    for name in ("rounds", "accounts", "calls", "requests"):
        parser.add_argument(f"--{name}", type=int)
    given = parser.parse_args(words)
    sizes = QUICK if given.quick else FULL
    sizes = sizes._replace(**{name: value for name in sizes._fields if (value := getattr(given, name, None))})
    cases = [case for case in CASES if given.only is None or any(word in case.name for word in given.only)]
    if not cases:
        parser.error(f"no case has such a name; the cases are {', '.join(case.name for case in CASES)}")
    programs = {OTHER: Program(given.python, given.checkout.resolve()), THIS: Program(given.python)}
    for program in programs.values():
        program.check()
    rows = list(measure(programs, cases, sizes))
    caveats = rounds.caveats(row.figures for row in rows)
    if lost := sum(row.figures["lost"] for row in rows):
        caveats.append(f"{lost:,.0f} requests were not answered in time.")
    results = Results(
        name="against",
        title="Against another source tree, in processor time",
        method="Processor time of the process that decides, for each request, in microseconds. "
        f"{sizes.accounts:,} accounts, and {sizes.of_kind:,} more for each kind of request ({sizes.crowd:,} in a "
        f"crowd). In each of {sizes.rounds} rounds, each tree is asked at least {sizes.requests:,} requests; 64 "
        "are in flight. Times are medians. A ratio is the median of the rounds' ratios, with the least and the "
        "most. UDP and MessagePack, unless noted. Admitted calls are stopped.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(servers=machine.interpreter_at(given.python)),
        first="requests",
        columns=COLUMNS,
        rows=[*rows, mean(rows)],
        caveats=caveats,
    )
    publish(results, given.json)


def measure(programs: dict[str, Program], cases: list[Case], sizes: Sizes) -> Iterator[Row]:
    """Yield a row for each case."""
    with served.folder() as place:
        ground = Ground(place, sizes.accounts, sizes.calls, sizes.of_kind, sizes.crowd)
        folders = {name: place / str(number) for number, name in enumerate(programs)}
        for each in folders.values():
            each.mkdir()
        with (
            served.serving(folders[OTHER], programs[OTHER], ground.store) as other,
            served.serving(folders[THIS], programs[THIS], ground.store) as this,
        ):
            for case in cases:
                yield _row(case, ground, {OTHER: other, THIS: this}, sizes)


def _row(case: Case, ground: Ground, servers: dict[str, Served], sizes: Sizes) -> Row:
    contenders = [ground.contender(case, server, name, sizes.requests) for name, server in servers.items()]
    rounds.check(contenders)
    taken = rounds.alternate(contenders, sizes.rounds, 0)
    both = [rounds.figures(taken, name) for name in (OTHER, THIS)]
    ratio = rounds.ratios(taken, THIS, OTHER, rounds.processor)
    print(f"{case.name}: {ratio.median:.2f}", flush=True)
    return Row(
        case.name,
        {
            "other": both[0]["processor"],
            "this": both[1]["processor"],
            "ratio": ratio.median,
            "least": ratio.least,
            "most": ratio.most,
            "rate": rounds.ratios(taken, THIS, OTHER).median,
            "lost": both[0]["lost"] + both[1]["lost"],
            "others": max(each["others"] for each in both),
        },
    )


def mean(rows: list[Row]) -> Row:
    """Return the geometric mean of the ratios, and their extremes. Cases without a ratio do not count."""
    ratios = [ratio for row in rows if not isnan(ratio := row.figures["ratio"])] or [nan]
    return Row("all: geometric mean", {"ratio": geometric_mean(ratios), "least": min(ratios), "most": max(ratios)})


if __name__ == "__main__":
    main()
