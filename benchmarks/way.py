"""The way of a request, step by step: where the time of a datagram goes, from the socket back to the socket.

``python -m benchmarks.way [--quick] [--accounts N …] [--calls N] [--json FILE]``. The workload of the figures
through the sockets, in this process, by what the server is made of: a UDP socket that is read and answered by
the batch, the engine, the set of calls with its mirror on tmpfs, the counters. A batch of 64 is sent to the
socket outside of all times. Steps are timed a batch at a time, where one part hands it to the next. Decoding,
normal forms and identification, which are done one after the other for each request, are timed by themselves in
rounds between. Every answer of the first round is checked.
"""

from __future__ import annotations

import gc
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import machine, messages, served, workload
from benchmarks.results import Column, Results, Row, arguments, publish, today
from identengine import builder, matching, query
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls, Changes, Settings
from identengine.calls.messages import Answer as Outcome
from identengine.calls.messages import Message
from identengine.counters import CounterFile
from identengine.engine import Answer, Ask, Engine
from identengine.frequent import Frequent
from identengine.index import Book
from identengine.lifecycle import Asker
from identengine.matching import Match
from identengine.net.batched import BATCH, batched
from identengine.options import IdentifyOptions
from identengine.query import Query
from identengine.reasons import ReasonTable
from identengine.tally import KEEP, Tally
from identengine.wire.codec import MESSAGEPACK
from identengine.wire.jsonrpc import Responder
from identengine.wire.messages import Authorize
from identengine.wire.peer import Peer, Visitor

SIZES = (1_000, 100_000)
QUICK = (500,)
CALLS = 50_000
ROUNDS = 7
OPTIONS = IdentifyOptions(passwordless_name="normal")
STEPS = {
    "receive": "receive (recvmmsg, and who sent it)",
    "decode": "decode",
    "normal forms": "normal forms",
    "identify": "identify",
    "policy": "the rest of the decision: client, Src Policy, answer, what makes requests alike",
    "calls": "set of calls: admit or stop",
    "mirror": "the same in the mirror (LMDB)",
    "count": "count",
    "encode": "encode, and what is between the steps",
    "send": "send (sendmmsg)",
}


class Times(Counter[str]):
    """Nanoseconds by step."""

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Add the time of the block."""
        began = time.perf_counter_ns()
        yield
        self[step] += time.perf_counter_ns() - began


class _TimedMirror:
    """The mirror, timed."""

    def __init__(self, journal: Journal, times: Times) -> None:
        self._journal, self._times = journal, times

    @property
    def crowded(self) -> bool:
        return self._journal.crowded

    @property
    def tight(self) -> bool:
        return self._journal.tight

    def write(self, changes: Changes) -> None:
        with self._times.of("mirror"):
            self._journal.write(changes)


class _TimedCalls:
    """The set of calls, timed."""

    def __init__(self, calls: Calls, times: Times) -> None:
        self._calls, self._times = calls, times

    def apply(self, batch: Sequence[Message], now: float) -> list[Outcome]:
        with self._times.of("calls and mirror"):
            return self._calls.apply(batch, now)

    def work(self, now: float) -> bool:
        return self._calls.work(now)


class _TimedTally:
    """The counters, timed."""

    def __init__(self, tally: Tally, times: Times) -> None:
        self._tally, self._times = tally, times

    def count(self, batch: Sequence[Ask], answers: Sequence[Answer]) -> None:
        with self._times.of("count"):
            self._tally.count(batch, answers)

    def shed(self, ask: Ask, answer: Answer) -> None:
        self._tally.shed(ask, answer)


class Batch(NamedTuple):
    """Requests that wait in the socket together, and the bytes that each right answer holds."""

    requests: list[bytes]
    expected: list[bytes]


class Way:
    """All that a datagram passes through, with a socket that asks."""

    def __init__(self, book: Book, place: Path, stack: ExitStack) -> None:
        self.times = times = Times()
        self.book = book
        journal = stack.enter_context(Journal(place, served.LEGS, 0, _unexpected))
        counters = stack.enter_context(CounterFile(place, _unexpected))
        calls = Calls(Settings(max_legs=served.LEGS), _TimedMirror(journal, times))
        tally = Tally(counters.cells, Frequent(KEEP))
        self._engine = Engine(ReasonTable(), None)
        self._engine.take_up(book)
        self._engine.hold(_TimedCalls(calls, times), _TimedTally(tally, times))
        self._responder = Responder(self._engine, time.monotonic, _nobody, self._decide)
        self._visitor = Visitor("127.0.0.1", Peer("sbc1", OPTIONS, Asker("sbc1", "", "udp")))
        asked, self._asks = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for each in (asked, self._asks):
            each.bind(("127.0.0.1", 0))
        asked.setblocking(False)
        self._asks.connect(asked.getsockname())
        self._batched = batched(asked, 65535)

    def _decide(self, asks: Sequence[Ask]) -> list[Answer]:
        with self.times.of("engine"):
            return self._engine.decide(asks, time.monotonic())

    def whole(self, batches: Sequence[Batch], *, check: bool) -> None:
        """Answer all batches."""
        times = self.times
        for batch in batches:
            self._ask(batch)
            with times.of("receive"):
                received = self._receive()
            visitors = [self._visitor] * len(received)
            with times.of("datagrams"):
                answers, places = self._responder.datagrams(received, visitors)
            with times.of("send"):
                unsent = self._batched.send(answers, places)
            if unsent or len(answers) < len(batch.requests):
                raise AssertionError(
                    f"{len(answers)} answers to {len(batch.requests)} requests, {unsent} not sent"
                )
            for expected in batch.expected:
                answer = self._asks.recv(2000)
                if check and expected not in answer:
                    raise AssertionError(f"a wrong answer: {answer!r} lacks {expected!r}")

    def alone(self, batches: Sequence[Batch]) -> None:
        """Do what is done request by request in steps of a batch."""
        times, book = self.times, self.book
        for batch in batches:
            self._ask(batch)
            received = self._receive()
            with times.of("decode"):
                calls = [MESSAGEPACK.call(raw) for raw in received]
            requests = [call.params for call in calls if isinstance(call, Authorize)]
            with times.of("normal forms"):
                asked = [query.read(request, book) for request in requests if request is not None]
            with times.of("identify"):
                found = [matching.identify(book, each, OPTIONS, None) for each in asked if isinstance(each, Query)]
            if len(found) < len(requests) or not all(isinstance(each, Match) for each in found):
                raise AssertionError("an account was not found")

    def _ask(self, batch: Batch) -> None:
        for request in batch.requests:
            self._asks.send(request)

    def _receive(self) -> list[bytes]:
        received = self._batched.receive()
        self._batched.too_old(1.0)
        self._batched.keys()
        return received


def main() -> None:
    """Measure, print a table, and write what was found."""
    parser = arguments(__doc__)
    parser.add_argument("--accounts", type=int, nargs="*")
    parser.add_argument("--calls", type=int)
    given = parser.parse_args()
    sizes = tuple(given.accounts or (QUICK if given.quick else SIZES))
    calls = given.calls or (2_000 if given.quick else CALLS)
    rounds = 2 if given.quick else ROUNDS
    others = machine.Others([])
    taken = {size: measure(size, calls, rounds) for size in sizes}
    rows = [Row(name, {str(size): taken[size][step] for size in sizes}) for step, name in STEPS.items()]
    rows.append(Row("all", {str(size): sum(taken[size].values()) for size in sizes}))
    last = str(sizes[-1])
    for row in rows:
        row.figures["share"] = 100 * row.figures[last] / rows[-1].figures[last]
    results = Results(
        name="way",
        title="The way of a request, step by step",
        method="Microseconds a request, half of them `authorize` and half `stop`, from the socket back to the "
        f"socket in one process; batches of {BATCH}, {calls:,} calls, medians of {rounds} rounds. Steps that a "
        "`stop` does not take are spread over both.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="step",
        columns=[
            *(Column(str(size), f"{size:,} accounts", 2) for size in sizes),
            Column("share", f"part at {sizes[-1]:,}, %", 0),
        ],
        rows=rows,
        caveats=[f"Others took {others.cores():.2f} cores meanwhile."],
    )
    publish(results, given.json)


def measure(accounts: int, calls: int, rounds: int) -> dict[str, float]:
    """Return microseconds a request by step."""
    made = workload.make(accounts, calls)
    steps = workload.order(made.calls, min(workload.LAG, accounts))  # of a small book none is full then
    told = [messages.message("msgpack", step) for step in steps]
    batches = [Batch(*map(list, zip(*told[at : at + BATCH], strict=True))) for at in range(0, len(told), BATCH)]
    book = builder.build(OPTIONS, 1, bytes(32), made.book.clients, made.book.accounts, made.book.dids)
    del made
    gc.collect()
    gc.freeze()
    with served.folder() as place, ExitStack() as stack:
        way = Way(book, place, stack)
        way.whole(batches, check=True)
        taken = []
        for _ in range(rounds):
            way.times.clear()
            way.whole(batches, check=False)
            way.alone(batches)
            taken.append({step: nanoseconds / len(told) / 1e3 for step, nanoseconds in _steps(way.times).items()})
    gc.unfreeze()
    return {step: median(each[step] for each in taken) for step in STEPS}


def _steps(times: Times) -> dict[str, int]:
    """Return the time of each step, without those within it."""
    alone = {step: times[step] for step in ("receive", "decode", "normal forms", "identify", "count", "send")}
    within = times["normal forms"] + times["identify"] + times["calls and mirror"] + times["count"]
    return alone | {
        "policy": times["engine"] - within,
        "calls": times["calls and mirror"] - times["mirror"],
        "mirror": times["mirror"],
        "encode": times["datagrams"] - times["engine"] - times["decode"],
    }


def _unexpected(alarm: str) -> None:
    raise AssertionError(alarm)


def _nobody(*_: object) -> None:
    """Take what nobody waits for."""


if __name__ == "__main__":
    main()
