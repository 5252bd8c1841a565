"""Calls that the mirror cannot store: exactly these are rejected, and counted as rejected (engine.md 5.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.callsets import held, is_consistent
from unit.wire.jsonrpc.harness import VISITOR, call
from unit.wire.jsonrpc.served import Served, accepts, authorize, decoded

from identengine.calls.mirror import Changes, MirrorError, MirrorFullError
from identengine.net.tcp.turns import Turns
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec

PACK, TEXT = msgspec.msgpack.encode, msgspec.json.encode


def numbered(*messages: dict[str, Any], first: int) -> list[dict[str, Any]]:
    return [message | {"id": number} for number, message in enumerate(messages, first)]


def reason(answer: dict[str, Any]) -> str | None:
    """Return the reason of a reject, or None for any other answer."""
    found = answer.get("result", {}).get("reason")
    assert found is None or isinstance(found, str)
    return found


class Connection:
    """A connection that has one turn (:class:`identengine.net.tcp.turns.Turn`)."""

    def __init__(self, served: Served, codec: Codec, messages: list[Any]) -> None:
        self.written: list[bytes] = []
        self.aborted = False
        self._served, self._codec = served, codec
        self._raws = [codec.encode(message) for message in messages]
        self._answers: list[bytes] = []

    def decide(self, now: float) -> int:
        self._answers, broken = self._served.responder.stream(self._codec, self._raws, VISITOR)
        assert not broken
        return len(self._raws)

    def answer(self) -> None:
        self.written += self._answers

    def abort(self) -> None:
        self.aborted = True


def in_one_batch(served: Served, *connections: Connection) -> None:
    """Let connections have their turns in one batch."""

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        turns = Turns(served.responder)
        for connection in connections:
            turns.wait(connection)
        await asyncio.sleep(0.01)

    asyncio.run(run())


def prepared() -> Served:
    """Return a responder whose account has two of its three calls."""
    served = Served()
    served.answers([PACK(one) for one in numbered(authorize("old"), authorize("ended"), first=0)])
    served.mirror.broken = True
    return served


def counts(served: Served) -> tuple[int, int, int]:
    """Return the numbers of accepted calls, of calls rejected with ``overload``, and of authorizations."""
    return served.counted("accepted"), served.counted("rejected_overload"), served.counted("requests_authorize")


def recovered(served: Served, *calls: str) -> None:
    """Fail unless these calls are held as soon as the mirror has space, and a further call is accepted."""
    served.mirror.broken = False
    served.now += 0.1
    served.calls.work(served.now)
    is_consistent(served.calls, served.mirror, "")
    assert {name.partition("\0")[2] for name, _ in held(served.calls)} == {*calls}


@pytest.mark.parametrize("encode", [PACK, TEXT], ids=["messagepack", "json"])
def test_datagrams(encode: Callable[[object], bytes]) -> None:
    served = prepared()
    messages = numbered(
        authorize("old"),  # a retransmission of a call that is held
        authorize("new"),
        authorize("full"),
        call("stop", {"call_id": "ended"}),
        authorize("full"),
        authorize("full"),
        authorize("nobody", src_ip="10.0.0.9"),
        call("stop", {"call_id": "old"}),
        authorize("started"),
        call("start", {"call_id": "started"}),
        authorize("vendor", direction="termination", account_id=2, src_ip=None),
        authorize("größe", direction="termination", account_id=2, src_ip=None),  # by the general way
        authorize("größe", direction="termination", account_id=2, src_ip=None),
        first=10,
    )
    before = counts(served)
    answers = decoded(served.answers([encode(one) for one in messages]))
    reasons = {number: reason(answer) for number, answer in answers.items()}
    assert reasons == dict.fromkeys(range(10, 23)) | {
        11: "overload",
        12: "account_capacity",
        14: "overload",
        15: "overload",
        16: "unknown_source",
        20: "overload",
        21: "overload",
        22: "overload",
    }
    assert accepts(answers[10])
    assert accepts(answers[18])
    after = counts(served)
    assert [now - earlier for now, earlier in zip(after, before, strict=True)] == [2, 6, 10]
    assert served.calls.gauges().turned_away == 4
    recovered(served, "started")


@pytest.mark.parametrize("encode", [PACK, TEXT], ids=["messagepack", "json"])
def test_arrays_and_notifications(encode: Callable[[object], bytes]) -> None:
    served = prepared()
    silent = authorize("silent")
    del silent["id"]
    array = numbered(authorize("new"), call("stop", {"call_id": "ended"}), first=10)
    before = counts(served)
    (answer,) = served.answers([encode([*array, silent])])
    decode = msgspec.msgpack.decode if encode is PACK else msgspec.json.decode
    assert {one["id"]: reason(one) for one in decode(answer)} == {10: "overload", 11: None}
    after = counts(served)
    assert [now - earlier for now, earlier in zip(after, before, strict=True)] == [0, 2, 2]
    recovered(served, "old")


def test_several_connections_in_one_batch() -> None:
    served = prepared()
    one = Connection(served, MESSAGEPACK, numbered(authorize("new"), call("stop", {"call_id": "old"}), first=10))
    array = numbered(call("stop", {"call_id": "ended"}), authorize("in an array"), call("ping"), first=13)
    two = Connection(served, JSON, [*numbered(authorize("started"), first=12), array])
    three = Connection(served, JSON, numbered(call("start", {"call_id": "started"}), authorize("new"), first=20))
    before = counts(served)
    in_one_batch(served, one, two, three)
    single, several = msgspec.json.decode(two.written[0]), msgspec.json.decode(two.written[1])
    answers = decoded(one.written) | decoded(three.written) | {12: single} | {each["id"]: each for each in several}
    assert {number: reason(answer) for number, answer in answers.items()} == {
        10: "overload",
        11: None,
        12: None,
        13: None,
        14: "overload",
        15: None,
        20: None,
        21: "overload",
    }
    assert accepts(answers[12])
    after = counts(served)
    assert [now - earlier for now, earlier in zip(after, before, strict=True)] == [1, 3, 4]
    recovered(served, "started")


@pytest.mark.parametrize("fault", [MirrorError("lost"), MirrorFullError("full"), ValueError("a fault")])
def test_each_fault_of_the_mirror_rejects_the_calls(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    served = prepared()

    def write(changes: Changes) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(served.mirror, "write", write)
        messages = numbered(authorize("new"), authorize("old"), call("stop", {"call_id": "ended"}), first=10)
        answers = decoded(served.answers([PACK(one) for one in messages]))
    expected = "overload" if isinstance(fault, MirrorError) else "internal_error"
    assert {number: reason(answer) for number, answer in answers.items()} == {10: expected, 11: None, 12: None}
    recovered(served, "old")


def test_no_answer_leaves_after_a_fault_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections whose answers are not final are closed, and the next batch is answered."""
    served = prepared()
    served.mirror.broken = False

    def fails(*_: object) -> None:
        raise ValueError("a fault")

    ended = [Connection(served, JSON, numbered(authorize(name), first=1)) for name in ("x", "y")]
    with monkeypatch.context() as patched:
        patched.setattr(served.engine, "end", fails)
        in_one_batch(served, *ended)
    assert [(one.written, one.aborted) for one in ended] == [([], True)] * 2
    following = Connection(served, JSON, numbered(authorize("x"), first=1))
    in_one_batch(served, following)
    assert accepts(decoded(following.written)[1])
    recovered(served, "old", "ended", "x")


def test_a_stream_that_breaks_is_rolled_back_as_far_as_it_was_read() -> None:
    served = prepared()
    served.responder.begin()
    raws = [TEXT(authorize("new") | {"id": 10}), b'{"id":', TEXT(authorize("full") | {"id": 11})]
    answers, broken = served.responder.stream(JSON, raws, VISITOR)
    served.responder.end()
    assert broken
    assert [reason(msgspec.json.decode(one)) for one in answers] == ["overload", None]
    recovered(served, "old", "ended")
