"""The usual way of a request, piece by piece: the processor time of a datagram from the socket back to the socket.

``python -m benchmarks.way [--quick] [--accounts N] [--calls N] [--json FILE]``. It runs the workload of the socket
benchmark in this process, through the parts of the server: a UDP socket read and answered in batches, the engine,
the set of calls with its mirror on tmpfs, and the counters. The event loop and the look-up of the sender are left
out. Batches of 64 are sent to the socket outside of all timings.

Pieces that a batch takes once are timed on the way. Pieces of a message are too short for that. Each is timed
alone over a batch, in rounds between. The rest is the remainder. In a loop of its own, a piece finds its data in
the processor's cache, so the remainder holds a part of its time. The clock of the set of calls is about ten times
too fast, so that stops are forgotten meanwhile. A tenth as many are remembered as at full load. Every answer is
checked.
"""

from __future__ import annotations

import gc
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from benchmarks import machine, messages, served, workload
from benchmarks.messages import Form
from benchmarks.results import Column, Results, Row, arguments, publish, today
from benchmarks.workload import Life
from identengine.calls.backend import FREED_ONE, Settings
from identengine.calls.journal import Journal
from identengine.calls.leg import Leg
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.settings import EngineSettings
from identengine.engine.usual import UsualCounts
from identengine.identify import builder
from identengine.identify.index import Book
from identengine.identify.matching import MATCHED_BY
from identengine.identify.template import MATCHES, version_part
from identengine.model.options import IdentifyOptions
from identengine.model.records import Interface
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.net.udp.mmsg import batched
from identengine.net.udp.socket import BATCH
from identengine.stats.file import CounterFile
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.session import Peer, Session

T = TypeVar("T")
CALLS, ROUNDS = 50_000, 7
OPTIONS = IdentifyOptions(passwordless_name="normal")
ASKER = Asker("sbc1", "", "udp")
LEG = "o"
"""Key of the leg of a call without leg id."""
WARM_UP = 3
"""Number of rounds before the timing."""
PACE = 0.02
"""Step of the set's clock for each batch, in seconds. Of 50,000 calls, stops are forgotten two rounds later."""
WORK_EVERY = 10
"""Number of batches between two expiry checks: 0.2 seconds of that clock, as in the server."""
ALONE = {
    "decode": "decode",
    "find": "look-up and walk of the candidates",
    "numbers": "numbers: strip, normal forms",
    "limits": "limits: CPS, capacity",
    "answer": "answer to the call",
    "reserve": "reserve",
    "stop": "stop",
    "assemble": "assembly: id and answer",
}
"""Pieces of a message."""
BATCHED = {
    "rows": "rows and stops of the batch",
    "mirror": "the same in the mirror (LMDB)",
    "count": "tally of the batch",
}
"""Pieces of a batch, between its messages and its answers."""
PIECES = {
    "receive": "receive (recvmmsg)",
    **ALONE,
    **BATCHED,
    "between": "between: dispatch, ids, senders, cold caches",
    "send": "send (sendmmsg)",
    "due": "what is due: leases, stops to forget",
}


class Case(NamedTuple):
    """A column of the table: the encoding of the messages, and the life of the calls."""

    form: Form
    life: Life

    @property
    def title(self) -> str:
        """The heading of the column."""
        form = "MessagePack" if self.form == "msgpack" else "JSON"
        return form + (f", {self.life.held:,} calls held" if self.life.held else "")


CASES = (Case("msgpack", Life(0)), Case("msgpack", Life(2_048)), Case("json", Life(0)))


class Times(Counter[str]):
    """Nanoseconds of processor time by piece."""

    @contextmanager
    def of(self, piece: str) -> Iterator[None]:
        """Add the time of the block."""
        began = time.thread_time_ns()
        yield
        self[piece] += time.thread_time_ns() - began


class _TimedJournal(Journal):
    """A mirror that is timed."""

    times: Times

    def write(self, changes: Changes) -> None:
        with self.times.of("mirror"):
            super().write(changes)


class _TimedCalls(Calls):
    """A set of calls whose ends of batches are timed."""

    times: Times

    def end(self) -> Sequence[Leg]:
        with self.times.of("rows and mirror"):
            return super().end()


class _TimedTally(Tally):
    """Counters that are timed."""

    times: Times

    def usual(self, interface: Interface, counts: UsualCounts) -> None:
        with self.times.of("count"):
            super().usual(interface, counts)

    def decided(self, seconds: float, requests: int) -> None:
        with self.times.of("count"):
            super().decided(seconds, requests)


class Batch(NamedTuple):
    """Requests that wait in the socket together, and the bytes that each right answer contains."""

    requests: list[bytes]
    expected: list[bytes]


class Way:
    """The parts that a datagram passes through, with a socket that asks."""

    def __init__(self, book: Book, form: Form, place: Path, stack: ExitStack) -> None:
        self.times = Times()
        self._codec = JSON if form == "json" else MESSAGEPACK
        journal = stack.enter_context(_TimedJournal(place, served.LEGS, 0, _unexpected))
        counters = stack.enter_context(CounterFile(place, _unexpected))
        self._calls = _TimedCalls(Settings(max_legs=served.LEGS), journal)
        tally = _TimedTally(counters.cells, HeavyHitters(KEEP))
        journal.times = self._calls.times = tally.times = self.times
        self._engine = Engine()
        self._engine.take_up(book)
        self._engine.hold(self._calls, tally)
        self._reserved = version_part(book.version, {"lease": EngineSettings().lease})
        self._responder = Responder(
            self._engine, time.monotonic, _unexpected, lambda: self._now, on_decided=tally.decided
        )
        self._visitor = Session("127.0.0.1", Peer(ASKER.switch, OPTIONS, ASKER))
        asked, self._asks = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for each in (asked, self._asks):
            each.bind(("127.0.0.1", 0))
        asked.setblocking(False)
        self._asks.connect(asked.getsockname())
        self._batched = batched(asked, 65535)
        self._now = 0.0

    def whole(self, batches: Sequence[Batch]) -> None:
        """Answer all batches. Raise if an answer is wrong or missing."""
        times, responder = self.times, self._responder
        for number, batch in enumerate(batches):
            self._now += PACE
            received = self._receive(batch)
            sessions = [self._visitor] * len(received)
            with times.of("batch"):
                responder.begin()
                answers, places = responder.datagrams(received, sessions)
                responder.end()
            with times.of("send"):
                unsent = self._batched.send(answers, places)
            if unsent or len(answers) < len(batch.requests):
                raise AssertionError(
                    f"{len(answers)} answers to {len(batch.requests)} requests, {unsent} not sent"
                )
            received_back = [self._asks.recv(2000) for _ in batch.expected]  # in any order
            for expected in batch.expected:
                answer = next((each for each in received_back if expected in each), None)
                if answer is None:
                    raise AssertionError(f"no answer has {expected!r}")
                received_back.remove(answer)
            if number % WORK_EVERY == 0:
                mirrored = times["mirror"]
                with times.of("due"):
                    while self._calls.work(self._now):
                        pass
                times["mirror"] = mirrored  # the expiry wrote to the mirror

    def alone(self, batches: Sequence[Batch]) -> None:
        """Time each piece of a message separately, over a whole batch."""
        for batch in batches:
            self._now += PACE
            received = self._receive(batch)
            self._engine.begin(self._now)
            self._pieces(received)
            self._engine.end()
            while self._calls.work(self._now):
                pass

    def _pieces(self, received: list[bytes]) -> None:
        """Take the steps of :class:`identengine.engine.usual.Usual`, one by one for all messages of a batch."""
        calls, codec, timed = self._calls, self._codec, self._timed
        read = timed("decode", codec.usual, [(raw,) for raw in received])
        asked = [each.params for each in read if type(each.params) is UsualRequest]
        dialled = [each.dst_number or "" for each in asked]
        found = timed(
            "find", self._engine.usual._identify, [(*each, OPTIONS) for each in zip(asked, dialled, strict=True)]
        )
        owners = [each for each in found if isinstance(each, tuple)]
        if len(owners) < len(asked):
            raise AssertionError("the usual way left a call to the general way")
        cuts = [(asked[at].src_number or "", dialled[at], each.cut) for at, (each, _) in enumerate(owners)]
        numbers = timed("numbers", _numbers, cuts)
        checked = timed("limits", calls.admissible, [(each.entry,) for each, _ in owners])
        cells = [each for each in checked if isinstance(each, tuple)]
        parts = [
            (
                each.entry,
                self._reserved,
                MATCHES[MATCHED_BY[kind]][False][False],
                each.matched,
                *numbers[at],
            )
            for at, (each, kind) in enumerate(owners)
        ]
        answers = timed("answer", codec.form, parts)
        legs = [
            (ASKER.calls + (each.call_id or ""), LEG, ASKER.switch, cells[at], each, answers[at])
            for at, each in enumerate(asked)
        ]
        timed("reserve", calls.reserve, legs)
        ended = [each.params for each in read if type(each.params) is UsualCallRequest]
        stopped = timed("stop", calls.stop_call, [(ASKER.calls + (each.call_id or ""),) for each in ended])
        if stopped.count(FREED_ONE) < len(ended):
            raise AssertionError("a call was not held")
        results = [*answers, *[codec.encode(FREED_ONE)] * len(ended)]
        timed("assemble", codec.spliced, [(bytes(each.id), results[at]) for at, each in enumerate(read)])

    def _timed(self, piece: str, take: Callable[..., T], arguments: Sequence[tuple[object, ...]]) -> list[T]:
        """Take a piece for each message. Return the results."""
        with self.times.of(piece):
            return [take(*each) for each in arguments]

    def _receive(self, batch: Batch) -> list[bytes]:
        for request in batch.requests:
            self._asks.send(request)
        with self.times.of("receive"):
            received = self._batched.receive()
            self._batched.too_old(1.0)
            self._batched.keys()
        return received


def _numbers(src: str, dialled: str, cut: int) -> tuple[bytes, bytes]:
    """Return the number to dial and the calling number, as the ladder of the usual way does without a function."""
    dst = (dialled[cut:] if cut else dialled).encode()
    number = src.encode()
    if not (dst.isalnum() and number.isalnum()):
        raise AssertionError(f"unusual numbers: {dst!r}, {number!r}")
    return dst, number


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    workload.add_sizes(parser)
    given = parser.parse_args()
    accounts, _ = workload.sizes(given, 500, 0)
    calls = given.calls or (3_000 if given.quick else CALLS)
    rounds = 2 if given.quick else ROUNDS
    others = machine.Others([])
    taken = measure(accounts, calls, rounds)
    rows = [
        Row(name, {title: figures[piece] for title, figures in taken.items()}) for piece, name in PIECES.items()
    ]
    rows.append(Row("all", {title: sum(figures.values()) for title, figures in taken.items()}))
    first = next(iter(taken))
    for row in rows:
        row.figures["share"] = 100 * row.figures[first] / rows[-1].figures[first]
    results = Results(
        name="way",
        title="The usual way of a request, piece by piece",
        method="Microseconds of processor time per request from the socket back to the socket, in one process. "
        f"{accounts:,} accounts, {calls:,} calls. Half of the requests are `authorize`, half `stop`; batches of "
        f"{BATCH}, medians of {rounds} rounds. Pieces that a `stop` skips are spread over both. *all* is the sum "
        "of the medians.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="piece",
        columns=[*(Column(title, title, 2) for title in taken), Column("share", f"part of {first}, %", 0)],
        rows=rows,
        caveats=[f"Other processes used {others.cores():.2f} cores meanwhile."],
    )
    publish(results, given.json)


def measure(accounts: int, calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return microseconds per request by case and piece."""
    made = workload.make(accounts, calls)
    book = builder.build(OPTIONS, 1, bytes(32), made.book.clients, made.book.accounts, made.book.dids)
    found: dict[str, dict[str, float]] = {}
    for case in CASES:  # one after the other: the levels of a book refer to the counters of one set of calls
        batches = _batches(made.calls, case)
        gc.collect()
        gc.freeze()
        with served.folder() as place, ExitStack() as stack:
            way = Way(book, case.form, place, stack)
            for _ in range(WARM_UP):
                way.whole(batches)
            taken = [_round(way, batches) for _ in range(rounds)]
        gc.unfreeze()
        found[case.title] = {piece: median(each[piece] for each in taken) for piece in PIECES}
    return found


def _batches(calls: list[workload.Call], case: Case) -> list[Batch]:
    told = [messages.encoded(case.form, messages.of_step(step)) for step in workload.order(calls, case.life)]
    return [Batch(*map(list, zip(*told[at : at + BATCH], strict=True))) for at in range(0, len(told), BATCH)]


def _round(way: Way, batches: list[Batch]) -> dict[str, float]:
    """Return microseconds per request by piece, of one round."""
    times = way.times
    times.clear()
    way.alone(batches)
    alone = {piece: times[piece] for piece in ALONE}
    times.clear()
    way.whole(batches)
    times.update(alone)
    times["rows"] = times["rows and mirror"] - times["mirror"]
    times["between"] = times["batch"] - sum(times[piece] for piece in (*ALONE, *BATCHED))
    count = sum(len(batch.requests) for batch in batches)
    return {piece: times[piece] / count / 1e3 for piece in PIECES}


def _unexpected(*what: object) -> None:
    raise AssertionError(what)


if __name__ == "__main__":
    main()
