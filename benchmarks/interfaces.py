"""RADIUS and RESP next to the native interface and to servers of others: processor time of a request in one run.

``python -m benchmarks.interfaces [--quick] [--python PATH] [--accounts N] [--calls N] [--rounds N] [--json
FILE]``. Each call is authorized and stopped. All servers run on one core, and all cases alternate. A ratio is the
median of the rounds' ratios, between two cases of one round. Access-Requests and their answers have a
Message-Authenticator. The generator verifies each answer. At the end the engine must hold no call.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import generator, machine, messages, peers, rounds, served, side_by_side, switches, workload
from benchmarks.echoes import HOST
from benchmarks.generator import Options
from benchmarks.peers import MissingError, Peer, freeradius, redis
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Contender, Rounds, Taken
from benchmarks.served import Program, Served
from benchmarks.workload import Life, Step, Workload

ROUNDS = 5
LIFE = Life(1_000)
ALONE = 20_000
"""Number of calls that are authorized in a row, where authorizations alone are measured."""
_PIPELINED = f"{redis.CONNECTIONS} connections x {redis.PIPELINED}"
UDP, RADIUS = "UDP MessagePack", "RADIUS, Message-Authenticator"
TCP, RESP = f"TCP MessagePack, {_PIPELINED}", f"RESP, {_PIPELINED}"
FILES, SIGNED = "FreeRADIUS files", freeradius.SIGNED_CASE
REDIS = f"Redis Lua, EVALSHA authorize and HINCRBY stop, {_PIPELINED}"
COLUMNS = [
    Column("to", "compared with"),
    Column("goal", "goal"),
    Column("ratio", "ratio", 2),
    Column("least", "least", 2),
    Column("most", "most", 2),
    Column("ours", "µs", 2),
    Column("theirs", "the other, µs", 2),
    Column("rate", "requests/s"),
    Column("their_rate", "the other, requests/s"),
    Column("lost", "lost"),
    Column("others", "others' cores", 2),
]


class Line(NamedTuple):
    """A line of the table."""

    case: str
    to: str
    goal: str = "–"  # noqa: RUF001 - a dash, as for absent figures


def alone(case: str) -> str:
    """Return the name of the case that measures authorizations alone."""
    return f"{case}, authorizations alone"


LINES = (
    Line(RADIUS, UDP, "≤ 1.5"),
    Line(alone(RADIUS), alone(UDP), "≤ 1.5"),
    Line(RESP, TCP, "≤ 1.2"),
    Line(alone(RESP), alone(TCP), "≤ 1.2"),
    Line(alone(RADIUS), SIGNED),
    Line(alone(RADIUS), FILES),
    Line(RESP, REDIS),
)
PEERS = (freeradius.PEER, redis.PEER)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="an interpreter for the engine")
    workload.add_sizes(parser)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args(words)
    accounts, calls = workload.sizes(given, 500, 500)
    count = given.rounds or (2 if given.quick else ROUNDS)
    build = machine.interpreter_at(given.python)
    print(f"Interpreter: {build}.", flush=True)
    made = workload.make(accounts, calls)
    caveats = [f"Interpreter of the engine: {build}."]
    with served.folder() as place:
        served.store(place / "store", made.book)
        taken = _measured(place, Program(given.python), made, count, 0 if given.quick else rounds.RETAKES, caveats)
    rows = [_row(line, taken) for line in LINES if line.to in taken[0]]
    results = Results(
        name="interfaces",
        title="RADIUS and RESP next to the native interface",
        method=f"{accounts:,} accounts, {calls:,} calls, each authorized and stopped, about "
        f"{min(LIFE.held, accounts):,} held. *Authorizations alone* are {min(ALONE, accounts, calls):,} in a row, "
        f"whose calls are stopped after the measurement. In each of {count} rounds, all cases take turns. Figures "
        "are the processor time of the process that answers, in µs a request, and medians; a ratio is the median "
        "of the rounds' ratios. The server has one core, the generator another. 64 requests are in flight over 4 "
        "sockets unless noted. FreeRADIUS counts no calls, so its requests are authorizations alone.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="what",
        columns=COLUMNS,
        rows=rows,
        caveats=caveats + rounds.caveats(row.figures for row in rows),
    )
    publish(results, given.json)


def _measured(
    place: Path, program: Program, made: Workload, count: int, retakes: int, caveats: list[str]
) -> Rounds:
    """Return the measurements of all cases."""
    with ExitStack() as stack:
        engine = stack.enter_context(served.serving(place, program, switch=True))
        cases: dict[str, Callable[[], Taken]] = {}
        for asked in _interfaces(engine):
            whole, authorizations, stops = _contenders(place, asked, made)
            rounds.check([whole])
            cases[whole.case] = partial(rounds.undisturbed, partial(rounds.take, whole), retakes)
            begun = partial(_take_begun, authorizations, stops)
            cases[authorizations.case] = partial(rounds.undisturbed, begun, retakes)
        for peer in PEERS:
            try:
                running = _started(stack, place, peer, made)
            except MissingError:
                caveats.append(side_by_side.missing(peer))
                continue
            for case in running.cases:
                if case.name in (FILES, SIGNED, REDIS):
                    print(f"{case.name}: {case.check():,} answers checked, all right", flush=True)
                    cases[case.name] = partial(case.take, retakes)
        taken = rounds.in_turn(cases, count)
        _check_none_held(place, program)
        return taken


class Interface(NamedTuple):
    """A way to ask the engine."""

    case: str
    served: Served
    target: str
    write: Callable[[Path, Iterable[Step]], int]
    """Write the requests of steps, and return their number."""
    options: Callable[[int], Options]
    """Return the options of the generator for a number of requests."""

    def contender(self, case: str, path: Path, steps: Iterable[Step]) -> Contender:
        """Return the engine as a contender that is asked the steps. Their requests are written to ``path``."""
        options = self.options(self.write(path, steps))
        return Contender(case, self.served.pid, self.target, path, options, self.served.decider)


def _interfaces(engine: Served) -> Iterator[Interface]:
    shape = redis.CONNECTIONS, redis.PIPELINED
    native = partial(messages.write_steps, form="msgpack")
    tcp = f"tcp:{HOST}:{engine.tcp}"

    def over_udp(count: int) -> Options:
        return messages.options("msgpack", count=count)

    def over_tcp(count: int) -> Options:
        return messages.pipelined(messages.options("msgpack", count=count, tcp=True), *shape)

    def over_radius(count: int) -> Options:
        return switches.radius_options(count, engine.accounting)

    def over_resp(count: int) -> Options:
        return switches.resp_options(count, *shape)

    yield Interface(UDP, engine, f"udp:{HOST}:{engine.udp}", native, over_udp)
    yield Interface(RADIUS, engine, f"udp:{HOST}:{engine.radius}", switches.write_radius, over_radius)
    yield Interface(TCP, engine, tcp, native, over_tcp)
    yield Interface(RESP, engine, tcp, switches.write_resp, over_resp)


def _contenders(place: Path, asked: Interface, made: Workload) -> tuple[Contender, Contender, Contender]:
    """Return whole calls, authorizations alone, and their stops."""
    life = LIFE._replace(held=min(LIFE.held, len(made.book.accounts)))  # no account of a small book is full then
    some = list(enumerate(made.calls[: min(ALONE, len(made.book.accounts))]))
    begins: list[Step] = [Step(number, call, "authorize") for number, call in some]
    ends: list[Step] = [Step(number, call, "stop") for number, call in some]
    base = place / asked.case.replace(" ", "-")
    return (
        asked.contender(asked.case, base.with_suffix(".calls"), workload.order(made.calls, life)),
        asked.contender(alone(asked.case), base.with_suffix(".begins"), begins),
        asked.contender(asked.case, base.with_suffix(".ends"), ends),
    )


def _take_begun(authorizations: Contender, stops: Contender) -> Taken:
    """Measure authorizations. Then stop their calls."""
    taken = rounds.take(authorizations)
    generator.run(stops.target, stops.requests, stops.options)
    return taken


def _started(stack: ExitStack, place: Path, peer: Peer, made: Workload) -> peers.Served:
    folder = place / peer.name
    folder.mkdir()
    return stack.enter_context(peer.serve(folder, made))


def _check_none_held(place: Path, program: Program) -> None:
    """Raise AssertionError if the engine holds a call, since a stop of each was answered."""
    command = [*program.command, "calls", "--calls", str(place / "calls"), "--json", "--limit", "3"]
    asked = subprocess.run(command, cwd=program.tree, env=program.environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ours
    held = msgspec.json.decode(asked.stdout)
    if held:
        raise AssertionError(f"expected no held calls at the end, got {held}")


def _row(line: Line, taken: Rounds) -> Row:
    ratio = rounds.ratios(taken, line.case, line.to, rounds.processor)
    ours, theirs = (median(rounds.processor(each[case]) for each in taken) for case in (line.case, line.to))
    print(f"{line.case}, to {line.to}: {ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})", flush=True)
    both = [rounds.figures(taken, case) for case in (line.case, line.to)]
    figures = {
        "ratio": ratio.median,
        "least": ratio.least,
        "most": ratio.most,
        "ours": ours,
        "theirs": theirs,
        "rate": both[0]["rate"],
        "their_rate": both[1]["rate"],
        "lost": sum(each["lost"] for each in both),
        "others": max(each["others"] for each in both),
        "busy": max(each["busy"] for each in both),
    }
    return Row(line.case, figures, texts={"to": line.to, "goal": line.goal})


if __name__ == "__main__":
    main()
