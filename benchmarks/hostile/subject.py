"""The part of a decider that answers messages, in this process, to measure the processor time of one message."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.hostile.inputs import SERIAL, TOKEN
from identengine.calls.backend import Settings
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.identify import builder
from identengine.identify.index import Book
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy
from identengine.net.tcp.introduction import Introduction
from identengine.wire.batches import EngineBatches
from identengine.wire.deferred import DeferredCount
from identengine.wire.jsonrpc.framings import framings
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.radius.responder import RadiusResponder, Reports
from identengine.wire.resp.framings import framings as resp_framings
from identengine.wire.resp.responder import Reports as RespReports
from identengine.wire.resp.responder import RespResponder
from identengine.wire.session import Peer, Session, digest_of

Transport = Literal["UDP", "TCP"]
DATAGRAM_BYTES = 65_507
"""Largest datagram of IPv4, in bytes."""
MESSAGE_BYTES = 65_536
"""Largest message of a connection, in bytes: the default of ``message_bytes``."""
TIED = "10.0.0.2"
"""An address that many accounts share, equal in everything except the id."""
_OPTIONS = IdentifyOptions(passwordless_name="normal")
_LEGS = 100_000


class Cost(NamedTuple):
    """The cost of a message."""

    microseconds: float
    """Processor time, the least of several times."""
    sent: int
    """Size of the message, in bytes."""
    answered: int
    """Size of all answers, in bytes."""


def book(tied: int) -> Book:
    """Return a book with one account at an address, and ``tied`` equal accounts at another address."""
    rows = [Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.1",))]
    rows += [
        Account(id=2 + number, client_id=1, name=f"tied {number}", ident_by=IdentBy.IP, ident=(TIED,))
        for number in range(tied)
    ]
    return builder.build(_OPTIONS, 1, bytes(32), [Client(id=1, name="one")], rows, [])


class Subject:
    """A responder with an engine and a set of calls, whose only switch has a token."""

    def __init__(self, place: Path, stack: ExitStack, tied: int = 0) -> None:
        journal = stack.enter_context(Journal(place, _LEGS, 0, _unexpected))
        self._calls = Calls(Settings(max_legs=_LEGS), journal)
        self._engine = Engine()
        self._engine.take_up(book(tied))
        self._engine.hold(self._calls)
        self._now = 0.0
        self._batches = EngineBatches(self._engine, time.monotonic, lambda: self._now)
        self._responder = Responder(self._engine, time.monotonic, _ignore, batches=self._batches)
        self._resp = RespResponder(self._engine, self._batches, time.monotonic, RespReports(*[_ignore] * 3))
        reports = Reports(*[_ignore] * len(Reports._fields))
        self._radius = RadiusResponder(self._engine, self._batches, time.monotonic, reports)
        self._framings = framings(self._responder)
        self._peer = Peer("sbc1", _OPTIONS, Asker("sbc1", "", "udp"))
        self._serial = 0

    def cost(self, raw: bytes, transport: Transport, *, shown: bool, least: float = 0.001, most: int = 7) -> Cost:
        """Return the cost of a message. Repeat it until ``least`` seconds have passed, ``most`` times at most.

        ``shown`` is True if the peer of a connection has shown its token. A datagram shows its own.
        """
        times: list[int] = []
        answered = 0
        while len(times) < most and (len(times) < 2 or sum(times) < least * 1e9):
            answers, taken = self.answers(raw, transport, shown=shown)
            times.append(taken)
            answered = sum(map(len, answers))
            del answers
        return Cost(min(times) / 1e3, len(raw), answered)

    def answers(self, raw: bytes, transport: Transport, *, shown: bool) -> tuple[list[bytes], int]:
        """Return the answers to a message, and their time in nanoseconds. Each call changes the serial."""
        self._serial += 1
        self._now += 0.001
        fresh = raw.replace(SERIAL, b"%08x" % self._serial)
        session = Session("127.0.0.1", None, {digest_of(TOKEN): self._peer})
        if transport == "UDP":
            return self._datagram(fresh, session)
        if shown:
            session.authenticate(TOKEN)
        return self._message(fresh, session)

    def packet_cost(
        self, packet: Callable[[int], bytes], secret: str, *, accounting: bool, most: int = 50
    ) -> Cost:
        """Return the cost of a packet of RADIUS. ``packet`` returns one for a number; equal ones are repeats.

        ``secret`` is that of the only switch at its source.
        """
        peer = Peer("sbc1", _OPTIONS, Asker("sbc1", "", "radius"), secret.encode())
        session = Session("127.0.0.1", None, by_secret=(peer,))
        respond = self._radius.accounting if accounting else self._radius.authentication
        times: list[int] = []
        for _ in range(most):
            self._serial += 1
            self._now += 0.001
            raw = packet(self._serial)
            began = time.process_time_ns()
            self._batches.begin()
            answers, _places = respond([raw], [session], _NoSenders(), DeferredCount(), None)
            self._batches.end()
            times.append(time.process_time_ns() - began)
        return Cost(min(times) / 1e3, len(raw), sum(map(len, answers)))

    def stream_cost(self, block: bytes, *, shown: bool, most: int = 5) -> Cost:
        """Return the cost of a stream of RESP: its framing, its answers, and the close after an error.

        ``shown`` is True if the peer has shown its token before.
        """
        (framing,) = set(resp_framings(self._resp).values())
        times: list[int] = []
        answered = 0
        for _ in range(most):
            self._now += 0.001
            session = Session("127.0.0.1", None, {digest_of(TOKEN): self._peer})
            if shown:
                session.authenticate(TOKEN)
            framer, respond, owed = framing.framer(MESSAGE_BYTES), framing.responder(), DeferredCount()
            late: list[bytes] = []
            began = time.process_time_ns()
            messages = Introduction(framing, framer, session).feed(block, framer, session)
            self._batches.begin()
            answers, _ = respond(messages, session, framer.error, late.append, owed, False)
            self._batches.end()
            self._finish(owed)
            times.append(time.process_time_ns() - began)
            answered = sum(map(len, [*answers, *late]))
        return Cost(min(times) / 1e3, len(block), answered)

    def _datagram(self, raw: bytes, session: Session) -> tuple[list[bytes], int]:
        owed = DeferredCount()
        began = time.process_time_ns()
        answers, _ = self._responder.datagrams([raw], [session], None, owed)
        self._finish(owed)
        return answers, time.process_time_ns() - began

    def _message(self, raw: bytes, session: Session) -> tuple[list[bytes], int]:
        owed = DeferredCount()
        late: list[bytes] = []
        if raw[:1] not in (b"{", b"["):
            raw = len(raw).to_bytes(4, "big") + raw
        began = time.process_time_ns()
        framing = self._framings.chosen_by(raw[0])
        framer, respond = framing.framer(MESSAGE_BYTES), framing.responder()
        messages = Introduction(framing, framer, session).feed(raw, framer, session)
        answers, _ = respond(messages, session, framer.error, late.append, owed, False)
        self._finish(owed)
        return [*answers, *late], time.process_time_ns() - began

    def _finish(self, owed: DeferredCount) -> None:
        """Do the steps of deferred answers, which are a part of the cost of their message."""
        while owed.count and self._calls.work(self._now):
            pass

    def faults(self) -> list[str]:
        """Return the exceptions that became ``internal_error``."""
        return [repr(fault) for fault in self._engine.faults]


class _NoSenders:
    """The senders of packets, which receive nothing."""

    def ports(self) -> list[int]:
        return [1] * 64

    def answer_later(self, _: int, __: Sequence[bytes]) -> None:
        """Drop the answers."""


def quiet(work: Callable[[], None]) -> None:
    """Do some work without the garbage collector, as the server does."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        work()
    finally:
        gc.enable()
        gc.unfreeze()


def _unexpected(alarm: str) -> None:
    raise AssertionError(alarm)


def _ignore(*_: object) -> None:
    """Ignore the arguments."""
