"""The batches of the engine: responders of several protocols share a batch, a transaction and its roll-back."""

from __future__ import annotations

import pytest
from unit.wire.jsonrpc.harness import VISITOR
from unit.wire.jsonrpc.served import Served, accepts, authorize, decoded

from identengine.engine.requests import RolledBack
from identengine.wire.batches import EngineBatches
from identengine.wire.jsonrpc.codec import JSON
from identengine.wire.jsonrpc.responder import Responder


class Noting:
    """A responder that notes the ends of its batches. It can have a fault."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.completed: list[RolledBack | None] = []
        self._fault = fault

    def complete(self, rolled_back: RolledBack | None) -> None:
        self.completed.append(rolled_back)
        if self._fault is not None:
            raise self._fault


class Shared(Served):
    """Two responders that share the batches of an engine."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = self.responder.batches
        self.other = Responder(self.engine, lambda: self.now, lambda *_: None, batches=self.batches)


def test_responders_share_a_batch() -> None:
    shared, decided = Shared(), list[int]()
    batches = EngineBatches(shared.engine, lambda: 1.0, on_decided=lambda _, count: decided.append(count))
    one, other = (Responder(shared.engine, lambda: 1.0, lambda *_: None, batches=batches) for _ in range(2))
    batches.begin()
    answers, _ = one.stream(JSON, [JSON.encode(authorize("a"))], VISITOR)
    more, _ = other.stream(JSON, [JSON.encode(authorize("b"))], VISITOR)
    assert shared.calls.gauges().held == 2
    batches.end()
    assert all(map(accepts, decoded([answers[0]]).values()))
    assert all(map(accepts, decoded([more[0]]).values()))
    assert decided == [2]


def test_each_responder_takes_back_its_own_answers() -> None:
    shared = Shared()
    shared.batches.begin()
    answers, _ = shared.responder.stream(JSON, [JSON.encode(authorize("a"))], VISITOR)
    more, _ = shared.other.stream(JSON, [JSON.encode(authorize("b"))], VISITOR)
    shared.mirror.broken = True
    shared.batches.end()
    for raw in (*answers, *more):
        (answer,) = decoded([raw]).values()
        assert answer["result"]["reason"] == "overload"
    assert shared.calls.gauges().held == 0


def test_a_responder_joins_only_its_batches() -> None:
    shared, noting = Shared(), Noting()
    shared.batches.begin()
    shared.batches.joined.append(noting)
    shared.batches.end()
    shared.batches.begin()
    shared.batches.end()
    assert noting.completed == [None]


def test_a_fault_of_one_responder_leaves_the_others_complete() -> None:
    shared, noting = Shared(), Noting()
    shared.batches.begin()
    for each in (noting, Noting(ValueError("a fault")), noting):
        shared.batches.joined.append(each)
    with pytest.raises(ValueError, match="a fault"):
        shared.batches.end()
    assert not shared.batches.is_open
    assert noting.completed == [None, None]


def test_a_fault_of_the_engine_leaves_the_responders_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, noting = Shared(), Noting()

    def fail() -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(shared.engine, "end", fail)
    shared.batches.begin()
    shared.batches.joined.append(noting)
    with pytest.raises(ValueError, match="a fault"):
        shared.batches.end()
    assert noting.completed == [None]
    assert not shared.batches.is_open
