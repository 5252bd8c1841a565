"""The engine next to servers that others use for its work: the same accounts and the same calls, in one run.

``python -m benchmarks.side_by_side [--quick] [--peers NAME,NAME] [--accounts N] [--calls N] [--rounds N] [--json
FILE]``. Peers are those of FreeRADIUS, Kamailio, Redis and PostgreSQL that are installed
(:mod:`benchmarks.peers`). First, the answers of each peer are checked. Then the peer, the engine and a bare uvloop
echo alternate, and the results are ratios of rounds. One wrong answer ends the run.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import echoes, machine, messages, rounds, served, workload
from benchmarks.peers import Case, MissingError, Peer, freeradius, kamailio, postgresql, redis
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.rounds import Contender, Rounds, Taken
from benchmarks.workload import Workload

PEERS = (freeradius.PEER, kamailio.PEER, redis.PEER, postgresql.PEER)
ROUNDS = 5
_STREAMS = (redis.PEER.name,)
"""Peers that are asked over TCP. They are compared with the engine over TCP."""
COLUMNS = [
    Column("rate", "requests/s"),
    Column("ratio", "engine to it, requests", 2),
    Column("calls_ratio", "engine to it, calls", 2),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("processor", "server CPU µs/request", 1),
    Column("memory", "memory MiB"),
    Column("lost", "lost"),
    Column("busy", "generator busy", 2),
    Column("others", "others' cores", 2),
]


class Ours(NamedTuple):
    """The engine, and the file of requests for it and for the echo server."""

    engine: served.Served
    requests: Path
    number: int
    """Number of requests."""


class Beside(NamedTuple):
    """The results of one peer."""

    rows: list[Row]
    version: str
    caveats: list[str]
    taken: Rounds
    engine: str
    """The case of the engine that is asked in the way of the peer."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), metavar="NAME,NAME")
    workload.add_sizes(parser)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args(words)
    accounts, calls = workload.sizes(given, 1_000, 2_000)
    count = given.rounds or (2 if given.quick else ROUNDS)
    peers = chosen(parser, given.peers)
    made = workload.make(accounts, calls)
    rows, versions, caveats = [], {}, []
    with _serving(made) as ours:
        for peer in peers:
            try:
                found = measure(peer, made, ours, count, 0 if given.quick else rounds.RETAKES)
            except MissingError:
                print(missing(peer), flush=True)
                caveats.append(missing(peer))
                continue
            rows += found.rows
            versions[peer.name] = found.version
            caveats += found.caveats
    results = Results(
        name="side_by_side",
        title="Compared with the servers that others use",
        method=f"{accounts:,} accounts, {calls:,} calls. In each of {count} rounds, a peer, the engine and a bare "
        "uvloop echo take turns. Figures are medians; a ratio is the median of the rounds' ratios. The server has "
        "one core, the generator another, with 64 requests in flight unless noted. A peer knows each account by "
        "the one key of its calls, which spares it networks and the choice of a class. The engine has the whole "
        "book. Of peers with one request a call, the ratio of calls counts both of the "
        "engine's, `authorize` and `stop`. Memory is that of all processes of a server, with shared pages once.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(**versions),
        first="what",
        columns=COLUMNS,
        rows=rows,
        caveats=caveats + rounds.caveats(row.figures for row in rows),
    )
    publish(results, given.json)


def chosen(parser: ArgumentParser, names: str) -> list[Peer]:
    """Return the peers of a list of names. Exit if a name is unknown."""
    known = {peer.name.lower(): peer for peer in PEERS}
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    if unknown := sorted({*wanted} - {*known}):
        parser.error(f"no such peer: {', '.join(unknown)}; known are {', '.join(known)}")
    return [known[name] for name in wanted]


def missing(peer: Peer) -> str:
    """Return the caveat of a peer that is not installed."""
    return f"{peer.name} is left out: apt-get install --no-install-recommends {peer.packages}"


def measure(peer: Peer, made: Workload, ours: Ours, count: int, retakes: int) -> Beside:
    """Return the results of a peer, measured in turn with the engine and an echo server.

    Raise MissingError if the peer is not installed, and WrongAnswerError or WrongAnswersError if an answer is
    wrong.
    """
    tcp = peer.name in _STREAMS
    with (
        _own_folder() as folder,
        peer.serve(folder, made) as running,
        echoes.echoing("uvloop-tcp" if tcp else "uvloop") as echo,
    ):
        for case in running.cases:
            print(f"{case.name}: {case.check():,} answers checked, all right", flush=True)
        engines = [_engine(peer, ours, tcp=tcp)]
        if tcp:
            engines.append(_engine(peer, ours, tcp=True, pipelined=(redis.CONNECTIONS, redis.PIPELINED)))
        own = [*engines, _echo(peer, ours, echo, tcp=tcp)]
        rounds.check(engines)
        cases = [*running.cases, *map(_case, own)]
        taken = rounds.in_turn({case.name: partial(case.take, retakes) for case in cases}, count)
        pids = {each.case: each.pid for each in own}
        rows = [_row(case, taken, engines[0].case, pids.get(case.name, running.pid)) for case in cases]
        caveats = [
            f"{case.name} (version {running.version}): {'; '.join(case.caveats)}." for case in running.cases
        ]
        return Beside(rows, running.version, caveats, taken, engines[-1].case)


def _row(case: Case, taken: rounds.Rounds, engine: str, pid: int) -> Row:
    figures = rounds.figures(taken, case.name)
    figures["ratio"] = rounds.ratios(taken, engine, case.name).median
    figures["calls_ratio"] = figures["ratio"] * case.requests_a_call / 2
    figures["memory"] = sum(machine.memory(one).proportional for one in machine.family(pid))
    return Row(case.name, figures, rounds.histogram(taken, case.name))


def _engine(peer: Peer, ours: Ours, *, tcp: bool, pipelined: tuple[int, int] | None = None) -> Contender:
    way, port = ("tcp", ours.engine.tcp) if tcp else ("udp", ours.engine.udp)
    options = messages.options("msgpack", count=ours.number, tcp=tcp)
    name = f"identengine, {way.upper()} MessagePack, next to {peer.name}"
    if pipelined:
        options = messages.pipelined(options, *pipelined)
        name += f", {pipelined[0]} connections x {pipelined[1]}"
    return Contender(name, ours.engine.pid, f"{way}:{echoes.HOST}:{port}", ours.requests, options)


def _echo(peer: Peer, ours: Ours, echo: echoes.Echo, *, tcp: bool) -> Contender:
    way = "tcp" if tcp else "udp"
    options = messages.options("msgpack", count=ours.number, echo=True, tcp=tcp)
    name = f"bare uvloop {way.upper()} echo, next to {peer.name}"
    return Contender(name, echo.pid, f"{way}:{echoes.HOST}:{echo.port}", ours.requests, options)


def _case(contender: Contender) -> Case:
    """Return a contender whose answers the generator compares."""

    def take(retakes: int) -> Taken:
        return rounds.alternate([contender], 1, retakes)[0][contender.case]

    return Case(contender.case, 2, (), check=lambda: 0, take=take)


@contextmanager
def _serving(made: Workload) -> Iterator[Ours]:
    """Serve the book of a workload."""
    with served.folder() as place:
        served.store(place / "store", made.book)
        requests = place / "requests"
        number = messages.write(requests, "msgpack", made.calls)
        with served.serving(place) as engine:
            yield Ours(engine, requests, number)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder that a server of another user can enter."""
    with tempfile.TemporaryDirectory(prefix="identengine-peer-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


if __name__ == "__main__":
    main()
