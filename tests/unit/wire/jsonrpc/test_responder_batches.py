"""The parts of a batch: several responders answer, and their answers are final when the batch is closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.wire.jsonrpc.harness import GOOD, VISITOR, call, responder

from identengine.calls.backend import Deferred
from identengine.engine.core import Engine
from identengine.engine.requests import RolledBack
from identengine.model.reasons import Reason
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.responder import Responder


def authorize(call_id: str, **members: Any) -> dict[str, Any]:
    return call(params=GOOD | {"call_id": call_id}, id=call_id, **members)


def results(answers: list[bytes]) -> list[tuple[Any, Any]]:
    return [(one["id"], one["result"].get("reason")) for one in map(json.loads, answers)]


def test_the_parts_of_a_batch_are_one_batch_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"begin": 0, "end": 0}
    for name in counts:
        method = getattr(Engine, name)

        def counted(*args: Any, name: str = name, method: Any = method) -> Any:
            counts[name] += 1
            return method(*args)

        monkeypatch.setattr(Engine, name, counted)
    asked = responder()
    asked.begin()
    first, _ = asked.stream(JSON, [JSON.encode(authorize("a"))], VISITOR)
    second, _ = asked.stream(MESSAGEPACK, [MESSAGEPACK.encode(authorize("b"))], VISITOR)
    third, _ = asked.datagrams([JSON.encode(authorize("c")), MESSAGEPACK.encode(authorize("d"))], [VISITOR] * 2)
    asked.end()
    assert (len(first), len(second), len(third)) == (1, 1, 2)
    assert counts == {"begin": 1, "end": 1}
    asked.stream(JSON, [JSON.encode(authorize("e"))], VISITOR)
    assert counts == {"begin": 2, "end": 2}, "outside of a batch, each read is one"


def test_arrays_and_silent_messages_are_complete_at_the_end() -> None:
    asked = responder()
    asked.begin()
    silent = JSON.encode(authorize("a") | {"id": 1})
    array = json.dumps([authorize("b"), authorize("c")]).encode()
    over_stream, broken = asked.stream(JSON, [silent, array], VISITOR)
    answers, places = asked.datagrams([silent, array], [VISITOR] * 2)
    asked.end()
    assert not broken
    assert [type(json.loads(one)) for one in over_stream] == [dict, list]
    assert len(answers) == 2
    assert places in (None, [0, 1])


def test_calls_that_are_rolled_back_are_rejected_in_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = responder()
    whole = Engine.end

    def full(engine: Engine) -> RolledBack:
        whole(engine)
        return RolledBack(Reason.OVERLOAD, frozenset((f"sbc1\0{name}", "o") for name in "ace"))

    monkeypatch.setattr(Engine, "end", full)
    asked.begin()
    first, _ = asked.stream(JSON, [JSON.encode(authorize(name)) for name in "ab"], VISITOR)
    array = json.dumps([authorize("c"), authorize("d")]).encode()
    second, _ = asked.stream(JSON, [array], VISITOR)
    third, places = asked.datagrams([JSON.encode(authorize(name)) for name in "ef"], [VISITOR] * 2)
    asked.end()
    assert results(first) == [("a", "overload"), ("b", None)]
    assert [(one["id"], one["result"].get("reason")) for one in json.loads(second[0])] == [
        ("c", "overload"),
        ("d", None),
    ]
    assert results(third) == [("e", "overload"), ("f", None)]
    assert places is None


def test_the_number_of_a_batch_is_that_of_its_requests() -> None:
    decided: list[int] = []
    engine = Engine()
    asked = Responder(
        engine, lambda: 1.0, lambda *_: None, on_decided=lambda seconds, requests: decided.append(requests)
    )
    asked.datagrams([JSON.encode(call("ping")), b"garbage"], [VISITOR] * 2)
    assert decided == [], "neither is a request to the engine"
    array = JSON.encode([authorize("a"), call("stop", {"call_id": "a"}), call("ping")])
    asked.begin()
    asked.datagrams([array, JSON.encode(authorize("b"))], [VISITOR] * 2)
    asked.stream(JSON, [array], VISITOR)
    asked.end()
    assert decided == [5]


def test_deferred_answers_without_senders_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = responder()
    monkeypatch.setattr(asked._engine, "answer", lambda ask: Deferred())
    down, ping = call("switch_down"), call("ping", id=2)
    answers, places = asked.datagrams(
        [JSON.encode(down), JSON.encode([down, ping]), JSON.encode(ping)], [VISITOR] * 3
    )
    assert [json.loads(answer)["id"] for answer in answers] == [2]
    assert places == [2]
