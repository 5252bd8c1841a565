"""A responder of RESP2 over a small book, and a connection to it without a socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from support.callsets import Copy

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import RolledBack
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.registry import CELLS, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally
from identengine.wire.batches import EngineBatches
from identengine.wire.deferred import DeferredCount
from identengine.wire.resp.framer import Commands
from identengine.wire.resp.responder import Reports, RespResponder
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Peer, Session, digest_of

OPTIONS = IdentifyOptions()
TOKEN = "a-token-of-sbc2"
BOOK = build(
    OPTIONS,
    7,
    bytes(32),
    [Client(id=3, name="one", rate_table="gold", routing_plan="plan")],
    [
        Account(
            id=17,
            client_id=3,
            name="trunk",
            ident_by=IdentBy.IP,
            ident=("10.0.0.5",),
            tech_prefix="99",
            orig_tag='a "tag"',
            orig_capacity=4,
        ),
        Account(id=18, client_id=3, name="vendor", ident_by=IdentBy.IP, ident=("10.0.0.8",), term_enabled=True),
    ],
    [],
)
FIELDS = ("src_ip=10.0.0.5", "dst_number=9944", "src_number=33")

ACCEPTED = [1, None, 17, 3, b"33", b"44", b"gold", b"plan", b'a "tag"', None, b"99", 7]
"""The array that accepts a call with :data:`FIELDS`."""


def authorize(call_id: str, *more: str, command: str = "IDENT.AUTH") -> tuple[str, ...]:
    return (command, f"call_id={call_id}", *FIELDS, *more)


def array(*arguments: str | bytes) -> bytes:
    """Return a command as a client sends it."""
    raw = [one.encode() if isinstance(one, str) else one for one in arguments]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in raw)


Parsed = int | bytes | None | list["Parsed"] | str


def parsed(data: bytes) -> list[Parsed]:
    """Return the replies in ``data``. A status or an error is a string with its first byte."""
    parts, found = deque(data.split(b"\r\n")), []
    while len(parts) > 1:
        found.append(_next(parts))
    assert parts == deque([b""])
    return found


def _next(parts: deque[bytes]) -> Parsed:
    line = parts.popleft()
    kind, rest = line[:1], line[1:]
    if kind in (b"+", b"-"):
        return line.decode()
    if kind == b":":
        return int(rest)
    if kind == b"*":
        return [_next(parts) for _ in range(int(rest))]
    assert kind == b"$"
    if rest == b"-1":
        return None
    bulk = parts.popleft()
    while len(bulk) < int(rest):
        bulk += b"\r\n" + parts.popleft()
    assert len(bulk) == int(rest)
    return bulk


class NotingEngine(Engine):
    """An engine that notes how many faults there were before the end of the batch."""

    before_end = 0

    def end(self) -> RolledBack | None:
        self.before_end = self.faults.total
        return super().end()


class Asked:
    """A responder, its set of calls and its counters."""

    def __init__(self, *, usual: bool = True, ready: bool = True) -> None:
        self.mirror = Copy()
        self.calls = Calls(Settings(max_legs=100), self.mirror)
        self.cells = [0] * CELLS
        self.engine = NotingEngine(calls=self.calls)
        self.engine.hold(self.calls, Tally(self.cells, HeavyHitters(KEEP)))
        if ready:
            self.engine.take_up(BOOK)
        self.now = 1000.0
        self.rejected: list[str | None] = []
        self.wrong_tokens: list[str] = []
        self.malformed: list[MalformedMessage] = []
        self.batches = EngineBatches(self.engine, lambda: self.now, lambda: self.now)
        reports = Reports(self._reject, self.wrong_tokens.append, self.malformed.append)
        self.responder = RespResponder(self.engine, self.batches, lambda: self.now, reports, usual=usual)

    def _reject(self, _: Asker, __: Request, decision: Decision) -> None:
        self.rejected.append(decision.reason)

    def connect(self, *, tokens: bool = False) -> Link:
        """Open a connection of the switch ``sbc1``, or of ``sbc2`` that has to show its token."""
        name = "sbc2" if tokens else "sbc1"
        peer = Peer(name, OPTIONS, Asker(name, name, "tcp"))
        session = Session("192.0.2.1", None, {digest_of(TOKEN): peer}) if tokens else Session("192.0.2.1", peer)
        return Link(self, session)

    def counted(self, *names: str) -> int:
        """Return the sum of counters of the requests of all interfaces."""
        places = [PLACE[one.name] + n for one in REGISTRY if one.name in names for n in range(len(one.series))]
        return sum(self.cells[place] for place in places)


class Link:
    """A connection without a socket."""

    def __init__(self, asked: Asked, session: Session) -> None:
        self.asked, self.session = asked, session
        self.framer = Commands(65536)
        self.respond = asked.responder.connection()
        self.owed = DeferredCount()
        self.late: list[bytes] = []
        self.closed = False

    def send(self, data: bytes, *, too_old: bool = False) -> list[Parsed]:
        """Return the replies to the bytes of one read, which are a batch."""
        self.asked.batches.begin()
        try:
            answers = self.answers(data, too_old=too_old)
        finally:
            self.asked.batches.end()
        return parsed(b"".join(answers))

    def answers(self, data: bytes, *, too_old: bool = False) -> list[bytes]:
        """Return the answers to a read in the open batch. They are final at its end."""
        messages = self.framer.feed(data)
        answers, self.closed = self.respond(
            messages, self.session, self.framer.error, self.late.append, self.owed, too_old
        )
        return answers

    def ask(self, *arguments: str | bytes) -> Parsed:
        """Return the reply to one command."""
        (reply,) = self.send(array(*arguments))
        return reply

    def all(self, *commands: Sequence[str]) -> list[Parsed]:
        """Return the replies to commands of one read."""
        return self.send(b"".join(array(*command) for command in commands))
