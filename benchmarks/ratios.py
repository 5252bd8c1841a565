"""The goals as ratios of one run: processor time against a bare uvloop echo, requests/s against other servers.

``python -m benchmarks.ratios [--quick] [--python PATH] [--peers NAME,NAME] [--accounts N] [--calls N]
[--rounds N] [--pairs N] [--seconds S] [--retakes N] [--json FILE]``. On each line of the table, the engine and its
reference alternate, so that a ratio is that of two measurements right after each other. The table has the median
of the rounds, the least and the most.

Processor time is that of the process that answers, divided by its answers. ``--python`` runs servers and echoes on
another interpreter, also several times, since the build of Python changes both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks import echoes, kinds, machine, paced, rounds, served, side_by_side, workload
from benchmarks.cases import Case, Ground
from benchmarks.echoes import Echo
from benchmarks.peers import MissingError, Peer
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Rounds, Taken
from benchmarks.served import Program, Served
from benchmarks.workload import Life

ROUNDS = 7
_COMPARED = ("EVALSHA authorize and HINCRBY stop, 50 connections x 16", "mtree", "files")
"""Texts in the names of the peers' cases that have a goal."""
COLUMNS = [
    Column("to", "compared with"),
    Column("figure", "figure"),
    Column("goal", "goal"),
    Column("stretch", "stretch"),
    Column("ratio", "ratio", 2),
    Column("least", "least", 2),
    Column("most", "most", 2),
    Column("ours", "engine", 2),
    Column("theirs", "the other", 2),
    Column("lost", "lost"),
    Column("busy", "generator busy", 2),
    Column("others", "others' cores", 2),
    Column("interpreter", "interpreter"),
]


class Figure(NamedTuple):
    """A figure of a measurement."""

    name: str
    of: Callable[[Taken], float]


_PROCESSOR = Figure("processor time, µs", rounds.processor)
_THROUGHPUT = Figure("requests/s", rounds.throughput)
_LATENCY = Figure("p99.9, µs", rounds.p999)


class Goal(NamedTuple):
    """The aim for a ratio, as text."""

    goal: str = "–"  # noqa: RUF001 - a dash, as for absent figures
    stretch: str = "–"  # noqa: RUF001 - as above


class Line(NamedTuple):
    """A line of the table that compares processor times."""

    case: Case
    goal: Goal = Goal()
    to: Case | None = None
    """The case to which the ratio is, or None for an echo of the same messages."""


AT_ONCE, HELD = Life(0), Life(2_048)
UDP = Case("UDP MessagePack, stop at once", AT_ONCE)
UDP_JSON = Case("UDP JSON, stop at once", AT_ONCE, "json")
LINES = (
    Line(UDP, Goal("≤ 1.7", "≤ 1.4")),
    Line(Case("UDP MessagePack, 2,048 calls held", HELD), Goal("≤ 2.0", "≤ 1.7")),
    Line(
        Case("UDP MessagePack, 2,048 held, authorize + start + stop", HELD._replace(between=("start",))),
        Goal("≤ 2.0", "≤ 1.7"),
    ),
    Line(Case("the same with random lives", Life(2_048, ("start",), scattered=True))),
    Line(UDP_JSON, Goal("≤ 2.1", "≤ 1.8")),
    Line(Case("UDP MessagePack, names with passwords", "names with passwords")),
    Line(Case("TCP MessagePack, 64 in flight on one connection", AT_ONCE, tcp=True), Goal("≤ 0.8", "≤ 0.6"), UDP),
    Line(Case("TCP MessagePack, 64 connections x 1", AT_ONCE, tcp=True, pipelined=(64, 1)), to=UDP),
    Line(Case("TCP MessagePack, 50 connections x 16", AT_ONCE, tcp=True, pipelined=(50, 16)), to=UDP),
    Line(Case("TCP JSON, 64 in flight on one connection", AT_ONCE, "json", tcp=True), to=UDP_JSON),
)
GOALS_OF_PEERS = {
    "Redis": Goal("≥ 0.6", "≥ 1.0"),
    "Kamailio": Goal("≥ 1.2", "≥ 1.5"),
    "FreeRADIUS": Goal("≥ 2", "≥ 3"),
}
"""The peers of the table."""
GOAL_OF_LATENCY = Goal("≤ 1.5", "≤ 1.2")


class Sizes(NamedTuple):
    """The numbers of a run."""

    accounts: int
    calls: int
    of_kind: int
    """Number of accounts of a kind of request (:mod:`benchmarks.kinds`)."""
    rounds: int
    pairs: int
    """Number of pairs of the latency."""
    seconds: float
    """Duration of each measurement of the latency."""
    retakes: int
    """Number of times that a measurement of latency or requests/s is repeated while others use the processors."""


FULL = Sizes(workload.ACCOUNTS, workload.CALLS, kinds.CROWD, ROUNDS, paced.PAIRS, paced.SECONDS, rounds.RETAKES)
QUICK = Sizes(1_000, 1_000, 100, 2, 2, 0.2, 0)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--python", type=Path, action="append", help="an interpreter for servers and echoes")
    parser.add_argument("--peers", default=",".join(GOALS_OF_PEERS), metavar="NAME,NAME")
    for name in ("accounts", "calls", "rounds", "pairs", "retakes"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args(words)
    values = {name: getattr(given, name, None) for name in Sizes._fields}
    sizes = (QUICK if given.quick else FULL)._replace(
        **{name: value for name, value in values.items() if value is not None}
    )
    peers = side_by_side.chosen(parser, given.peers)
    rows: list[Row] = []
    caveats: list[str] = []
    for number, python in enumerate(given.python or [Path(sys.executable)], 1):
        build = f"Interpreter {number}: {machine.interpreter_at(python)}."
        print(build, flush=True)
        caveats.append(build)
        found = list(measure(Program(python), sizes, peers, caveats))
        rows += [replace(row, figures=row.figures | {"interpreter": number}) for row in found]
    results = Results(
        name="ratios",
        title="The goals, as ratios of one run",
        method=f"{sizes.accounts:,} accounts, {sizes.calls:,} calls. On each line, the engine and its reference "
        f"take turns in {sizes.rounds} rounds (latency: {sizes.pairs} pairs of {sizes.seconds:g} s). A ratio is "
        "the median of the rounds' ratios. *Processor time* is that of the process that answers, in µs a request. "
        "It is compared with a bare uvloop UDP echo of the same messages, and over TCP with the engine over UDP. "
        "Next to other servers, it is that of all processes, and the engine holds 1,000 calls.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="what",
        columns=COLUMNS,
        rows=rows,
        caveats=caveats + rounds.caveats(row.figures for row in rows),
    )
    publish(results, given.json)


def measure(program: Program, sizes: Sizes, peers: list[Peer], caveats: list[str]) -> Iterator[Row]:
    """Yield the lines of the table for one interpreter."""
    with served.folder() as place:
        ground = Ground(place, sizes.accounts, sizes.calls, sizes.of_kind, sizes.of_kind)
        with (
            served.serving(place, program) as engine,
            echoes.echoing("uvloop", program.python) as echo,
        ):
            for line in LINES:
                yield _line(line, ground, engine, echo, sizes)
            yield _latency(ground, engine, echo, place, sizes)
            for peer in peers:
                try:
                    yield from _peer(peer, ground, engine, sizes)
                except MissingError:
                    caveats.append(side_by_side.missing(peer))


def _line(line: Line, ground: Ground, engine: Served, echo: Echo, sizes: Sizes) -> Row:
    least = 2 * sizes.calls
    ours = ground.contender(line.case, engine, line.case.name, least)
    if line.to is None:
        theirs = ground.contender(line.case, echo, echoes.LABELS["uvloop"], least)
    else:
        theirs = ground.contender(line.to, engine, line.to.name, least)
    rounds.check([ours])
    taken = rounds.alternate([ours, theirs], sizes.rounds, 0)
    return _row(line.case.name, theirs.case, taken, (ours.case, theirs.case), _PROCESSOR, line.goal)


def _latency(ground: Ground, engine: Served, echo: Echo, place: Path, sizes: Sizes) -> Row:
    calls = ground.workload.calls
    rate = paced.top_rate(engine, place, calls) / 2
    taken = paced.at_rate(rate, engine, echo, place, calls, sizes.pairs, sizes.seconds, sizes.retakes)
    what = f"UDP MessagePack at half of the top rate, {rate:,.0f}/s"
    return _row(what, paced.ECHO, taken, (paced.ENGINE, paced.ECHO), _LATENCY, GOAL_OF_LATENCY)


def _peer(peer: Peer, ground: Ground, engine: Served, sizes: Sizes) -> Iterator[Row]:
    requests, number = ground.file(Case(peer.name, Life()))
    ours = side_by_side.Ours(engine, requests, number)
    found = side_by_side.measure(peer, ground.workload, ours, sizes.rounds, sizes.retakes)
    for case in found.taken[0]:
        if any(text in case for text in _COMPARED):
            what = "TCP MessagePack, 50 connections x 16" if "Redis" in case else "UDP MessagePack"
            pair = (found.engine, case)
            yield _row(what, case, found.taken, pair, _THROUGHPUT, GOALS_OF_PEERS[peer.name])
            yield _row(what, case, found.taken, pair, _PROCESSOR, Goal())


def _row(what: str, to: str, taken: Rounds, pair: tuple[str, str], figure: Figure, goal: Goal) -> Row:
    """Return the row of a pair of cases, the engine and its reference."""
    ratio = rounds.ratios(taken, *pair, figure.of)
    ours, theirs = (median(figure.of(each[case]) for each in taken) for case in pair)
    print(
        f"{what}, to {to}: {figure.name}, {ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})", flush=True
    )
    figures = {"ratio": ratio.median, "least": ratio.least, "most": ratio.most, "ours": ours, "theirs": theirs}
    both = [rounds.figures(taken, case) for case in pair]
    figures |= {"lost": sum(each["lost"] for each in both), "others": max(each["others"] for each in both)}
    figures["busy"] = max(each["busy"] for each in both)
    texts = {"to": to, "figure": figure.name, "goal": goal.goal, "stretch": goal.stretch}
    return Row(what, figures, texts=texts)


if __name__ == "__main__":
    main()
