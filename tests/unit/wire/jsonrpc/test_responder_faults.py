"""A fault at any line while a batch of usual messages is answered: it rejects one message alone (engine.md 7)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.callsets import held, is_consistent
from support.faults import at_every_line
from unit.wire.jsonrpc.harness import call
from unit.wire.jsonrpc.served import Served, accepts, authorize, decoded

from identengine.engine.core import Engine
from identengine.engine.usual import UsualCounts
from identengine.wire.codes import INTERNAL
from identengine.wire.jsonrpc.responder import Responder

_FOLDERS = ("engine", "calls", "identify", "wire/jsonrpc")
_INTERNAL = ((INTERNAL, None), (None, "internal_error"))


def _messages() -> list[dict[str, object]]:
    """Return usual messages, and a few that take the general way, each with an id of its own."""
    given = [
        authorize("a"),
        authorize("b", leg_id="1", direction="origination"),
        authorize("a"),  # a retransmission
        call("start", {"call_id": "a"}),
        call("update", {"call_id": "a"}),
        authorize("c"),
        authorize("rejected"),  # the limit is 3
        authorize("unknown", src_ip="10.0.0.9"),
        call("stop", {"call_id": "a"}),
        authorize("d"),
        authorize("vendor", direction="termination", account_id=2, src_ip=None),
        call("stop", {"call_id": "gone"}),
        authorize("vendor", direction="termination", account_id=2, src_ip=None),
        call("start", {"call_id": "d", "interval": 30}),
        call("stop", {"call_id": "c", "leg_id": "x"}),
    ]
    return [message | {"id": number} for number, message in enumerate(given)]


def _is_internal(answer: dict[str, Any]) -> bool:
    return (answer.get("error", {}).get("code"), answer.get("result", {}).get("reason")) in _INTERNAL


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
    ("encode", "step", "full"),
    [(msgspec.msgpack.encode, 1, False), (msgspec.json.encode, 3, False), (msgspec.msgpack.encode, 1, True)],
    ids=["messagepack", "json", "full mirror"],
)
def test_a_fault_at_any_line_rejects_one_message(encode: Any, step: int, full: bool) -> None:
    messages = _messages()
    raws = [encode(one) for one in messages]
    isolated = 0
    for injector in at_every_line(MemoryError, *_FOLDERS, step=step):
        served = Served()
        served.mirror.broken = full
        answers = injector.run(lambda served=served: served.answers(raws))  # type: ignore[misc]
        where = injector.raised_in
        if isinstance(answers, list):
            isolated += _check(served, messages, decoded(answers), where)
        served.mirror.broken = False
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
                newest[call_id] = accepts(answers[number])
            else:  # a failed retransmission frees no leg
                newest.setdefault(call_id, False)
    legs = {name.partition("\0")[2] for name, _ in held(served.calls)}
    for call_id, accepted in newest.items():
        if call_id == "a":  # the stop of this call may have failed
            assert ("a" in legs) <= accepted, where
        else:
            assert (call_id in legs) == accepted, (call_id, where)
    if where not in UNCOUNTED:
        assert served.counted("accepted") == sum(map(accepts, answers.values())), where
        stops = [number for number, one in enumerate(messages) if one["method"] == "stop" and number in answers]
        done = [answers[number].get("result", {}) for number in stops]
        assert served.counted("freed_by_stop") == sum(one.get("freed", 0) for one in done), where
        assert served.counted("unknown_stops") == sum(one.get("unknown", False) for one in done), where
        requests = served.counted(*{f"requests_{one['method']}" for one in messages})
        assert len(messages) - 1 <= requests <= len(messages), where
    return len(internal) == 1


def _repeated(served: Served, raws: list[bytes], where: str, *, answered: bool) -> None:
    """Fail unless a batch without answers is answered when it is sent again, and calls can be freed."""
    if not answered:
        again = served.answers(raws)
        assert len(again) == len(raws), where
        assert not any(map(_is_internal, decoded(again).values())), where
        assert accepts(decoded(again)[1]), where
    stops = [call("stop", {"call_id": one}) for one in ("a", "b", "c", "d", "rejected", "vendor")]
    served.answers([msgspec.json.encode(one) for one in stops])
    assert not held(served.calls), where
    is_consistent(served.calls, served.mirror, where)
