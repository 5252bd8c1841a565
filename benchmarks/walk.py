"""The walk of a datagram: the functions that one ``authorize`` passes through, in order, with their files.

``python -m benchmarks.walk``. A switch sends a datagram to the real server parts: a UDP socket on the loopback
interface, the listener, the responder, the engine, the set of calls with its mirror, the counters. The event loop
is asyncio's. The second datagram is recorded, because the first one fills caches.

Each call of a function of the package is one line, indented by its depth. A call that is a step of an
authorization has the name of that step (engine.md 6). The other steps are not calls here, but conditions in
``Usual.authorize``: the account of the example has no credentials, no Src Policy and no CPS limit.

Three figures follow. *Calls* is the number of lines. *Files* is the number of files in them. *Changes of file* is
how often a reader of the lines has to open another file than the one of the line before. The figures are those of
the whole walk, then those of the message itself: without ``EngineBatches.begin`` and ``EngineBatches.end``, which
all messages of a batch share.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise, takewhile
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec

import identengine
from benchmarks import served
from identengine.calls.backend import Settings
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.config.schema import Limits, Switch
from identengine.engine.core import Engine
from identengine.identify import builder
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy
from identengine.net.access import Peers
from identengine.net.udp.listener import UdpListener
from identengine.stats.file import CounterFile
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.responder import Responder

OPTIONS = IdentifyOptions()
CLIENT = Client(id=4, name="Acme", capacity=100)
ACCOUNT = Account(
    id=17,
    client_id=CLIENT.id,
    name="acme trunk",
    ident_by=IdentBy.IP,
    ident=("192.0.2.10",),
    tech_prefix="77#",
    orig_rate_table="gold",
    orig_capacity=50,
)
STEPS = {
    "Usual.authorize": "validate",
    "Usual._identify": "identify",
    "Counts.room": "capacity",
    "json": "answer",
}
"""Steps of an authorization by the function that takes them."""
MESSAGE = "Reader.read_call"
"""The function that answers one message of a batch."""
_PACKAGE = Path(identengine.__file__).parent


class Call(NamedTuple):
    """A call of a function of the package."""

    depth: int
    """Number of calls of the package around it."""
    file: str
    """Path of the file in the package."""
    name: str


class Subject:
    """The parts of the server that a datagram passes through, and the socket of a switch."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Open all parts; ``stack`` closes them, and ``folder`` holds the mirror and the counters."""
        bound, self._switch = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for each in (bound, self._switch):
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        self._switch.connect(bound.getsockname())
        journal = stack.enter_context(Journal(folder, 1_000, 0, _unexpected))
        counters = stack.enter_context(CounterFile(folder, _unexpected))
        journal.read()
        self._clock = journal.clock
        self._tally = Tally(counters.cells, HeavyHitters(KEEP))
        self._engine = Engine()
        self._engine.take_up(builder.build(OPTIONS, 1, bytes(32), [CLIENT], [ACCOUNT], []))
        self._engine.hold(Calls(Settings(max_legs=1_000), journal), self._tally)
        responder = Responder(
            self._engine, time.monotonic, _unexpected, self._clock, on_decided=self._tally.decided
        )
        switch = Switch(name="sbc1", scope="sbc1", networks=(parse_network("127.0.0.1")[0],))
        peers = Peers((switch,), OPTIONS, "udp")
        self._listener = UdpListener(
            bound, peers, responder.datagrams, Limits(), _unexpected, batches=responder.batches
        )

    async def walk(self, count: int) -> list[Call]:
        """Return the calls that a batch of ``count`` datagrams causes, after a first one."""
        loop = asyncio.get_running_loop()
        self._listener.start()
        await self._ask(loop, [1])
        with _recorded() as calls:
            answers = await self._ask(loop, range(2, 2 + count))
        await self._listener.drain(loop.time() + 1.0)
        for answer in answers:
            if b'"accepted":true' not in answer:
                raise AssertionError(f"the call was rejected: {answer!r}")
        return calls

    async def _ask(self, loop: asyncio.AbstractEventLoop, numbers: Iterable[int]) -> list[bytes]:
        for number in numbers:
            params = {
                "call_id": f"3848276298220188511@192.0.2.{number}",
                "src_ip": ACCOUNT.ident[0],
                "src_number": "442070001001",
                "dst_number": "77#442071234567",
            }
            message = {"jsonrpc": "2.0", "id": number, "method": "authorize", "params": params}
            self._switch.send(msgspec.json.encode(message))
        return [await asyncio.wait_for(loop.sock_recv(self._switch, 2_000), 5.0) for _ in numbers]


@contextmanager
def _recorded() -> Iterator[list[Call]]:
    """Record the calls of functions of the package during the block."""
    calls: list[Call] = []
    depth = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal depth
        code = frame.f_code
        file = Path(code.co_filename)
        if not file.is_relative_to(_PACKAGE):
            return
        if event == "call":
            calls.append(Call(depth, str(file.relative_to(_PACKAGE)), code.co_qualname))
            depth += 1
        elif event == "return":
            depth -= 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def walk(count: int = 1) -> list[Call]:
    """Return the calls of ``count`` messages ``authorize``, each in a datagram, which arrive together."""
    with served.folder() as folder, ExitStack() as stack:
        return asyncio.run(Subject(folder, stack).walk(count))


def of_message(calls: list[Call]) -> list[Call]:
    """Return the calls of the second message of a batch: all that is done for a message, and not for its batch."""
    begins = [place for place, call in enumerate(calls) if call.name == MESSAGE]
    depth = calls[begins[1]].depth
    return [calls[begins[1]], *takewhile(lambda call: call.depth > depth, calls[begins[1] + 1 :])]


def files(calls: list[Call]) -> list[str]:
    """Return the files of the calls, in the order of the first call in each."""
    return list(dict.fromkeys(call.file for call in calls))


def changes(calls: list[Call]) -> int:
    """Return how often a call is in another file than the call before it."""
    return sum(one.file != other.file for one, other in pairwise(calls))


def main() -> None:
    """Print the walk and its figures."""
    calls = walk()
    for call in calls:
        print(f"{'  ' * call.depth + call.name:56} {call.file:28} {STEPS.get(call.name, '')}".rstrip())
    missing = sorted(STEPS.keys() - {call.name for call in calls})
    if missing:
        raise AssertionError(f"no call of a step; was its function renamed? {', '.join(missing)}")
    for title, each in (("the whole walk", calls), ("a further message of the batch", of_message(walk(2)))):
        print(f"{title}: {len(each)} calls, {len(files(each))} files, {changes(each)} changes of file")


def _unexpected(*what: object) -> None:
    raise AssertionError(what)


if __name__ == "__main__":
    main()
