"""Contenders that are measured in turn, so that each sees the same machine. The results are ratios of rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import nan
from pathlib import Path
from statistics import median
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks import generator, machine
from benchmarks.generator import Options, Result

RETAKES = 3
"""Number of times that a round is repeated if others used the processors."""

BUSY = 0.9
"""Share of busy time above which the generator is the bottleneck."""


class Contender(NamedTuple):
    """A server and the way to ask it."""

    case: str
    pid: int
    target: str
    requests: Path
    options: Options
    answering: int | None = None
    """Pid of the process that answers, if only its processor time counts. By default all processes count."""


class Taken(NamedTuple):
    """One measurement of one contender."""

    result: Result
    processor: float
    """Processor time of the server for each answer, in microseconds."""
    others: float
    """Processor use of other processes, in cores."""


class Spread(NamedTuple):
    """A figure over the rounds."""

    median: float
    least: float
    most: float


Rounds = list[dict[str, Taken]]
"""The measurements of each round by case."""


def check(contenders: Sequence[Contender]) -> None:
    """Check that each contender answers every request correctly, without time pressure. Raise if one does not."""
    for each in contenders:
        slow = replace(each.options, rate=None, outstanding=8)
        result = generator.run(each.target, each.requests, slow)
        if result.answered < result.sent:
            raise AssertionError(f"{each.case}: {result.lost} of {result.sent} answers were lost")


def alternate(contenders: Sequence[Contender], rounds: int, retakes: int = RETAKES) -> Rounds:
    """Measure all contenders in turn, ``rounds`` times. Raise if an answer is wrong."""
    cases = {each.case: partial(undisturbed, partial(take, each), retakes) for each in contenders}
    return in_turn(cases, rounds)


def in_turn(cases: Mapping[str, Callable[[], Taken]], rounds: int) -> Rounds:
    """Measure each case once in a round."""
    taken: Rounds = []
    names = list(cases)
    for number in range(rounds):
        turn = names if number % 2 == 0 else names[::-1]  # the first contender finds a cooler machine
        taken.append({name: cases[name]() for name in turn})
    return taken


def undisturbed(measure: Callable[[], Taken], retakes: int) -> Taken:
    """Return a measurement. Repeat it if others took much processor time, and choose the least disturbed one."""
    best = measure()
    for _ in range(retakes):
        if best.others <= machine.Others.ALLOWED:
            break
        best = min(best, measure(), key=lambda taken: taken.others)
    return best


def take(contender: Contender) -> Taken:
    """Measure one contender once."""
    pids = machine.family(contender.pid)
    timed = pids if contender.answering is None else [contender.answering]
    others, before = machine.Others(pids), machine.processor_seconds(timed)
    result = generator.run(contender.target, contender.requests, contender.options)
    seconds, cores = machine.processor_seconds(timed) - before, others.cores()
    return Taken(result, seconds * 1e6 / max(1, result.answered), cores)


def throughput(taken: Taken) -> float:
    """Return the answers per second."""
    return taken.result.rate


def processor(taken: Taken) -> float:
    """Return the processor time of the server for each answer."""
    return taken.processor


def p999(taken: Taken) -> float:
    """Return the latency that one answer in a thousand exceeds."""
    return taken.result.latency.p999


def ratios(rounds: Rounds, of: str, to: str, figure: Callable[[Taken], float] = throughput) -> Spread:
    """Return the ratio of a figure of two cases over the rounds, whose two figures saw the same machine.

    A round so short that the system has noted no processor time of one of them has no ratio.
    """
    both = [(figure(each[of]), figure(each[to])) for each in rounds]
    found = [one / other for one, other in both if one and other] or [nan]
    return Spread(median(found), min(found), max(found))


def figures(rounds: Rounds, case: str) -> dict[str, float]:
    """Return medians over the rounds, and the maximum of losses and of the load of others."""
    taken = [each[case] for each in rounds]
    results = [each.result for each in taken]
    latency = [result.latency for result in results]
    return {
        "rate": median(result.rate for result in results),
        "least": min(result.rate for result in results),
        "most": max(result.rate for result in results),
        "processor": median(each.processor for each in taken),
        "p50": median(each.p50 for each in latency),
        "p99": median(each.p99 for each in latency),
        "p999": median(each.p999 for each in latency),
        "max": median(each.max for each in latency),
        "lost": sum(result.lost for result in results),
        "busy": median(result.busy for result in results),
        "lateness_p99": median(result.lateness.p99 for result in results),
        "lateness_max": max(result.lateness.max for result in results),
        "others": max(each.others for each in taken),
    }


def histogram(rounds: Rounds, case: str) -> list[tuple[float, int]]:
    """Return the latencies of all rounds together."""
    counts: dict[float, int] = {}
    for each in rounds:
        for upper, count in each[case].result.histogram:
            counts[upper] = counts.get(upper, 0) + count
    return sorted(counts.items())


def caveats(rows: Iterable[dict[str, float]]) -> list[str]:
    """Return a warning for each figure that is not reliable."""
    every = list(rows)
    said = []
    others = max((row.get("others", 0.0) for row in every), default=0.0)
    if others > machine.Others.ALLOWED:
        said.append(f"Others took up to {others:.2f} cores during a measurement: its figures are too low.")
    if any(row.get("busy", 0.0) > BUSY for row in every):
        said.append(
            f"The generator spins: where it was busy for more than {BUSY} of the time, it may hold the figure. "
            "What it can do is shown by the echo in C of the same run."
        )
    if machine.cores()[0] == machine.cores()[1]:
        said.append("Server and generator had to share one core.")
    return said
