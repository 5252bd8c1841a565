"""The way of a request, step by step: the processor time of a datagram from the socket back to the socket.

``python -m benchmarks.way [--quick] [--accounts N …] [--calls N] [--json FILE]``. It runs the workload of the
socket benchmark in this process, through the parts of the server: a UDP socket read and answered in batches, the
engine, the set of calls with its mirror on tmpfs, and the counters. The event loop and the look-up of the sender
are left out. Batches of 64 are sent to the socket outside of all timings. Steps are timed a batch at a time,
between one part and the next. Steps within a part are timed alone, in rounds between, and the rest is the
remainder. The clock of the set of calls runs about ten times faster, so that stops are forgotten meanwhile. A
tenth as many are remembered as at full load. Every answer is checked.
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
from identengine.calls.backend import CallsAnswer as Outcome
from identengine.calls.backend import CallsMessage, LegResult, Settings
from identengine.calls.journal import Journal
from identengine.calls.legs import request_fingerprint
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.requests import EngineAnswer, EngineRequest
from identengine.engine.lifecycle import Asker
from identengine.identify import builder, matching, policy, query
from identengine.identify.index import Book
from identengine.identify.matching import Match
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.records import Request
from identengine.net.udp.mmsg import batched
from identengine.net.udp.socket import BATCH
from identengine.stats.file import CounterFile
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.answers import Decided
from identengine.wire.jsonrpc.codec import MESSAGEPACK
from identengine.wire.jsonrpc.methods import Call
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.session import Peer, Session

SIZES = (1_000, 100_000)
QUICK = (500,)
CALLS = 50_000
ROUNDS = 7
OPTIONS = IdentifyOptions(passwordless_name="normal")
ALONE = ("decode", "read", "identify", "policy", "alike", "encode")
"""Steps that are timed alone."""
WARM_UP = 3
"""Number of rounds before the timing."""
PACE = 0.02
"""Step of the set's clock for each batch, in seconds. Of 50,000 calls, stops are forgotten two rounds later."""
WORK_EVERY = 10
"""Number of batches between two expiry checks: 0.2 seconds of that clock, as in the server."""
STEPS = {
    "receive": "receive (recvmmsg)",
    "decode": "decode",
    "read": "normal forms; addresses looked up",
    "identify": "identify: the best of the candidates",
    "policy": "Src Policy",
    "alike": "what makes requests alike",
    "calls": "admit or stop: the set of calls",
    "mirror": "the same in the mirror (LMDB)",
    "due": "what is due: leases, stops to forget",
    "count": "count",
    "encode": "encode",
    "between": "between the steps: the answer put together, messages handed on",
    "send": "send (sendmmsg)",
}


class Times(Counter[str]):
    """Nanoseconds of processor time by step."""

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Add the time of the block."""
        began = time.thread_time_ns()
        yield
        self[step] += time.thread_time_ns() - began


class _TimedMirror:
    """The mirror, timed."""

    def __init__(self, journal: Journal, times: Times) -> None:
        self._journal, self._times = journal, times

    @property
    def room_left(self) -> RoomLeft:
        return self._journal.room_left

    @property
    def generation(self) -> int:
        return self._journal.generation

    def complete(self) -> None:
        self._journal.complete()

    def write(self, changes: Changes) -> None:
        with self._times.of("mirror"):
            self._journal.write(changes)


class _TimedCalls:
    """The set of calls, timed."""

    def __init__(self, calls: Calls, times: Times) -> None:
        self._calls, self._times = calls, times

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[Outcome]:
        with self._times.of("calls and mirror"):
            return self._calls.apply(batch, now)

    def work(self, now: float) -> bool:
        return self._calls.work(now)


class _TimedTally:
    """The counters, timed."""

    def __init__(self, tally: Tally, times: Times) -> None:
        self._tally, self._times = tally, times

    def count(self, batch: Sequence[EngineRequest], answers: Sequence[EngineAnswer]) -> None:
        with self._times.of("count"):
            self._tally.count(batch, answers)

    def shed(self, ask: EngineRequest, answer: EngineAnswer) -> None:
        self._tally.shed(ask, answer)


class Batch(NamedTuple):
    """Requests that wait in the socket together, and the bytes that each right answer contains."""

    requests: list[bytes]
    expected: list[bytes]


class Way:
    """The parts that a datagram passes through, with a socket that asks."""

    def __init__(self, book: Book, place: Path, stack: ExitStack) -> None:
        self.times = times = Times()
        self._book = book
        journal = stack.enter_context(Journal(place, served.LEGS, 0, _unexpected))
        counters = stack.enter_context(CounterFile(place, _unexpected))
        self._calls = Calls(Settings(max_legs=served.LEGS), _TimedMirror(journal, times))
        tally = Tally(counters.cells, HeavyHitters(KEEP))
        self._engine = Engine()
        self._engine.take_up(book)
        self._engine.hold(_TimedCalls(self._calls, times), _TimedTally(tally, times))
        self._responder = Responder(self._engine, time.monotonic, _nobody, self._decide)
        self._visitor = Session("127.0.0.1", Peer("sbc1", OPTIONS, Asker("sbc1", "", "udp")))
        asked, self._asks = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for each in (asked, self._asks):
            each.bind(("127.0.0.1", 0))
        asked.setblocking(False)
        self._asks.connect(asked.getsockname())
        self._batched = batched(asked, 65535)
        self._now = 0.0

    def _decide(self, asks: Sequence[EngineRequest]) -> list[EngineAnswer]:
        return self._engine.decide(asks, self._now)

    def whole(self, batches: Sequence[Batch]) -> None:
        """Answer all batches. Raise if an answer is wrong or missing."""
        times = self.times
        for number, batch in enumerate(batches):
            self._now += PACE
            received = self._receive(batch)
            sessions = [self._visitor] * len(received)
            with times.of("datagrams"):
                answers, places = self._responder.datagrams(received, sessions)
            with times.of("send"):
                unsent = self._batched.send(answers, places)
            if unsent or len(answers) < len(batch.requests):
                raise AssertionError(
                    f"{len(answers)} answers to {len(batch.requests)} requests, {unsent} not sent"
                )
            for expected in batch.expected:
                answer = self._asks.recv(2000)
                if expected not in answer:
                    raise AssertionError(f"a wrong answer: {answer!r} without {expected!r}")
            if number % WORK_EVERY == 0:
                mirrored = times["mirror"]
                with times.of("due"):
                    while self._calls.work(self._now):
                        pass
                times["mirror"] = mirrored  # the expiry wrote to the mirror

    def alone(self, batches: Sequence[Batch]) -> None:
        """Time each step within a part separately, over a whole batch."""
        times, book = self.times, self._book
        for batch in batches:
            received = self._receive(batch)
            with times.of("decode"):
                calls = [MESSAGEPACK.call(raw) for raw in received]
            requests = [call.params for call in calls if type(call.params) is Request]
            with times.of("read"):
                asked = [query.read(request, book) for request in requests]
            usable = [each for each in asked if isinstance(each, Query)]
            with times.of("identify"):
                found = [matching.identify(book, each, OPTIONS, None) for each in usable]
            matches = [each for each in found if isinstance(each, Match)]
            if len(matches) < len(requests):
                raise AssertionError("an account was not found")
            chosen = [(match.entry.account, each) for match, each in zip(matches, usable, strict=True)]
            with times.of("policy"):
                for account, each in chosen:
                    policy.shown_number(account, each.src_number, each.call_id, book.dids, book.hash_key)
            with times.of("alike"):
                for request in requests:
                    request_fingerprint(request, book.hash_key)
            decided = Decided([bytes(call.id) for call in calls], [self._answer(call) for call in calls])
            with times.of("encode"):
                for place in range(len(calls)):
                    MESSAGEPACK.fast_answer(decided.ids[place], decided.answers[place])

    def _answer(self, call: Call) -> EngineAnswer:
        """Return the answer to a call, made without the set of calls."""
        if type(call.params) is Request:  # of authorize
            (granted,) = self._engine.decide(
                [EngineRequest("identify", call.params, OPTIONS, Asker("", "", "udp"))]
            )
            return granted
        return LegResult(True, freed=1)

    def _receive(self, batch: Batch) -> list[bytes]:
        for request in batch.requests:
            self._asks.send(request)
        with self.times.of("receive"):
            received = self._batched.receive()
            self._batched.too_old(1.0)
            self._batched.keys()
        return received


def main() -> None:
    """Measure, print a table, and write the results."""
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
        method="Microseconds of processor time per request from the socket back to the socket, in one process. "
        f"Half of the requests are `authorize`, half `stop`; batches of {BATCH}, {calls:,} calls, medians of "
        f"{rounds} rounds. Steps that a `stop` skips are spread over both. *all* is the sum of the medians.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="step",
        columns=[
            *(Column(str(size), f"{size:,} accounts", 2) for size in sizes),
            Column("share", f"part at {sizes[-1]:,}, %", 0),
        ],
        rows=rows,
        caveats=[f"Other processes used {others.cores():.2f} cores meanwhile."],
    )
    publish(results, given.json)


def measure(accounts: int, calls: int, rounds: int) -> dict[str, float]:
    """Return microseconds per request by step."""
    made = workload.make(accounts, calls)
    held = min(workload.HELD, accounts)  # no account of a small book is full then
    steps = workload.order(made.calls, workload.Life(held))
    told = [messages.encoded("msgpack", messages.of_step(step)) for step in steps]
    batches = [Batch(*map(list, zip(*told[at : at + BATCH], strict=True))) for at in range(0, len(told), BATCH)]
    book = builder.build(OPTIONS, 1, bytes(32), made.book.clients, made.book.accounts, made.book.dids)
    del made
    gc.collect()
    gc.freeze()
    with served.folder() as place, ExitStack() as stack:
        way = Way(book, place, stack)
        for _ in range(WARM_UP):
            way.whole(batches)
        taken = []
        for _ in range(rounds):
            way.alone(batches)
            alone = {step: way.times[step] for step in ALONE}
            way.times.clear()
            way.whole(batches)
            way.times.update(alone)
            taken.append({step: spent / len(told) / 1e3 for step, spent in _steps(way.times).items()})
            way.times.clear()
    gc.unfreeze()
    return {step: median(each[step] for each in taken) for step in STEPS}


def _steps(times: Times) -> dict[str, int]:
    """Return the time of each step without the steps inside it."""
    steps = {step: times[step] for step in STEPS}
    steps["calls"] = times["calls and mirror"] - times["mirror"]
    within = (*ALONE, "calls", "mirror", "count")
    steps["between"] = times["datagrams"] - sum(steps[step] for step in within)
    return steps


def _unexpected(alarm: str) -> None:
    raise AssertionError(alarm)


def _nobody(*_: object) -> None:
    """Ignore the arguments."""


if __name__ == "__main__":
    main()
