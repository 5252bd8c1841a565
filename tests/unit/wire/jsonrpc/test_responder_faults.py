"""A fault at any line while a batch of usual messages is answered: it rejects one message alone (engine.md 7)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.callsets import Copy, held, is_consistent
from support.faults import at_every_line
from unit.wire.jsonrpc.harness import VISITOR, call

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.engine.requests import RolledBack
from identengine.engine.usual import UsualCounts
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.registry import CELLS, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.codec import MESSAGEPACK
from identengine.wire.jsonrpc.messages import INTERNAL
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
_FOLDERS = ("engine", "calls", "identify", "wire/jsonrpc")
_INTERNAL = "internal_error"


def _authorize(call_id: str, **params: object) -> dict[str, object]:
    return call(params={"call_id": call_id, "src_ip": "10.0.0.5", "dst_number": "44"} | params)


def _messages() -> list[dict[str, object]]:
    """Return usual messages, and a few that take the general way, each with an id of its own."""
    given = [
        _authorize("a"),
        _authorize("b", leg_id="1", direction="origination"),
        _authorize("a"),  # a retransmission
        call("start", {"call_id": "a"}),
        call("update", {"call_id": "a"}),
        _authorize("c"),
        _authorize("rejected"),  # the limit is 3
        _authorize("unknown", src_ip="10.0.0.9"),
        call("stop", {"call_id": "a"}),
        _authorize("d"),
        _authorize("vendor", direction="termination", account_id=2, src_ip=None),
        call("stop", {"call_id": "gone"}),
        _authorize("vendor", direction="termination", account_id=2, src_ip=None),
        call("start", {"call_id": "d", "interval": 30}),
        call("stop", {"call_id": "c", "leg_id": "x"}),
    ]
    return [message | {"id": number} for number, message in enumerate(given)]


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


def _decoded(raws: list[bytes]) -> dict[int, dict[str, Any]]:
    """Return the answers by id; -1 is an answer to a message whose id was not known."""
    found = [msgspec.msgpack.decode(raw) if codec_of(raw) is MESSAGEPACK else json.loads(raw) for raw in raws]
    answers = {-1 if one["id"] is None else one["id"]: one for one in found}
    assert len(answers) == len(found)
    return answers


def _accepts(answer: dict[str, Any] | None) -> bool:
    return answer is not None and bool(answer.get("result", {}).get("accepted"))


def _is_internal(answer: dict[str, Any]) -> bool:
    return answer.get("error", {}).get("code") == INTERNAL or answer.get("result", {}).get("reason") == _INTERNAL


def _lines(*functions: Any) -> set[str]:
    """Return the lines of functions, in the form of :attr:`support.faults.Injector.raised_in`."""

    def each() -> Iterator[str]:
        for function in functions:
            lines, first = inspect.getsourcelines(function)
            yield from (f"{inspect.getsourcefile(function)}:{first + n}" for n in range(len(lines)))

    return {*each()}


UNCOUNTED = _lines(Engine.count, Responder.end, UsualCounts)
"""Lines at which a fault loses counts of the whole batch, whose answers are valid nevertheless."""


@pytest.mark.parametrize(
    ("encode", "step"), [(msgspec.msgpack.encode, 1), (msgspec.json.encode, 3)], ids=["messagepack", "json"]
)
def test_a_fault_at_any_line_rejects_one_message(encode: Any, step: int) -> None:
    messages = _messages()
    raws = [encode(one) for one in messages]
    isolated = 0
    for injector in at_every_line(MemoryError, *_FOLDERS, step=step):
        served = Served()
        answers = injector.run(lambda served=served: served.answers(raws))  # type: ignore[misc]
        where = injector.raised_in
        if isinstance(answers, list):
            isolated += _check(served, messages, _decoded(answers), where)
        served.now += 0.1
        served.calls.work(served.now)
        is_consistent(served.calls, served.mirror, where)
        _repeated(served, raws, where, answered=isinstance(answers, list))
    assert isolated > 100


def _check(served: Served, messages: list[dict[str, Any]], answers: dict[int, dict[str, Any]], where: str) -> bool:
    """Fail unless all but one message have their answers, and calls hold slots as the answers say.

    A fault at the end of the batch rejects all its calls. Return True if one message was rejected.
    """
    internal = [number for number, one in answers.items() if _is_internal(one)]
    unanswered = {*range(len(messages))} - {*answers}
    assert len(internal) <= 1 or served.engine.faults.total > served.engine.before_end, where
    assert len(unanswered) <= (-1 in answers), (unanswered, where)
    newest: dict[str, bool] = {}
    for number, one in enumerate(messages):
        if one["method"] == "authorize":
            call_id = one["params"]["call_id"]
            if number in answers and number not in internal:
                newest[call_id] = _accepts(answers[number])
            else:  # a failed retransmission frees no leg
                newest.setdefault(call_id, False)
    legs = {name.partition("\0")[2] for name, _ in held(served.calls)}
    for call_id, accepted in newest.items():
        if call_id == "a":  # the stop of this call may have failed
            assert ("a" in legs) <= accepted, where
        else:
            assert (call_id in legs) == accepted, (call_id, where)
    if where not in UNCOUNTED:
        accepts = sum(map(_accepts, answers.values()))
        assert served.counted("accepted") == accepts, where
        requests = served.counted(*{f"requests_{one['method']}" for one in messages})
        assert len(messages) - 1 <= requests <= len(messages), where
    return len(internal) == 1


def _repeated(served: Served, raws: list[bytes], where: str, *, answered: bool) -> None:
    """Fail unless a batch without answers is answered when it is sent again, and calls can be freed."""
    if not answered:
        again = served.answers(raws)
        assert len(again) == len(raws), where
        assert not any(map(_is_internal, _decoded(again).values())), where
        assert _accepts(_decoded(again)[1]), where
    stops = [call("stop", {"call_id": one}) for one in ("a", "b", "c", "d", "rejected", "vendor")]
    served.answers([msgspec.json.encode(one) for one in stops])
    assert not held(served.calls), where
    is_consistent(served.calls, served.mirror, where)
