"""A responder with a set of calls, its mirror and its counters, for tests of faults."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from support.callsets import Copy
from unit.wire.jsonrpc.harness import VISITOR, call

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.engine.requests import RolledBack
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.registry import CELLS, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.codec import MESSAGEPACK
from identengine.wire.jsonrpc.replies import codec_of
from identengine.wire.jsonrpc.responder import Responder

BOOK = build(
    IdentifyOptions(),
    7,
    bytes(32),
    [Client(id=1, name="one")],
    [
        Account(
            id=1, client_id=1, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",), orig_capacity=3, orig_cps=50
        ),
        Account(id=2, client_id=1, name="B", ident_by=IdentBy.IP, ident=("10.0.0.8",), term_enabled=True),
    ],
    [],
)


def authorize(call_id: str, **params: object) -> dict[str, object]:
    return call(params={"call_id": call_id, "src_ip": "10.0.0.5", "dst_number": "44"} | params)


class NotingEngine(Engine):
    """An engine that notes how many faults there were before the end of the batch."""

    before_end = 0

    def end(self) -> RolledBack | None:
        self.before_end = self.faults.total
        return super().end()


class Served:
    """A responder, its set of calls and its counters."""

    def __init__(self) -> None:
        self.mirror = Copy()
        self.calls = Calls(Settings(max_legs=100), self.mirror)
        self.cells = [0] * CELLS
        self.engine = NotingEngine(calls=self.calls)
        self.engine.hold(self.calls, Tally(self.cells, HeavyHitters(KEEP)))
        self.engine.take_up(BOOK)
        self.now = 1000.0
        self.responder = Responder(self.engine, lambda: self.now, lambda *_: None, lambda: self.now)

    def answers(self, raws: list[bytes]) -> list[bytes]:
        """Return the answers to datagrams of one sender, as a listener asks for them."""
        self.responder.begin()
        try:
            answers, _ = self.responder.datagrams(raws, [VISITOR] * len(raws))
        finally:
            self.responder.end()
        return answers

    def counted(self, *names: str) -> int:
        """Return the sum of counters of the requests of all interfaces."""
        places = [PLACE[one.name] + n for one in REGISTRY if one.name in names for n in range(len(one.series))]
        return sum(self.cells[place] for place in places)


def decoded(raws: list[bytes]) -> dict[int, dict[str, Any]]:
    """Return the answers by id; -1 is an answer to a message whose id was not known."""
    found = [msgspec.msgpack.decode(raw) if codec_of(raw) is MESSAGEPACK else json.loads(raw) for raw in raws]
    answers = {-1 if one["id"] is None else one["id"]: one for one in found}
    assert len(answers) == len(found)
    return answers


def accepts(answer: dict[str, Any] | None) -> bool:
    return answer is not None and bool(answer.get("result", {}).get("accepted"))
