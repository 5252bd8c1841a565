"""Before a right token is shown, work and answers are bounded (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.wire.asking import GOOD, OPTIONS, SWITCHES, Run, call, meet, on_connection, over_udp

from identengine.engine.core import Engine
from identengine.net.access import Peers
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.replies import codec_of
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import MAX_UNPROVEN, Session

FORGED, TRUSTED, OPEN = "10.2.0.1", "10.1.0.1", "10.3.0.1"
"""The address of a switch with a token, of one without, and of one of each."""
LARGEST = 65500
HEAD = b'{"jsonrpc":"2.0","id":1,"method":"identify","params":{"src_ip":"'


class Heard:
    """A responder that records the datagrams whose errors it withholds, and malformed messages."""

    def __init__(self) -> None:
        self.withheld: list[str] = []
        self.malformed: list[MalformedMessage] = []
        self.wrong: list[str] = []
        self.responder = Responder(
            Engine(),
            lambda: 1.0,
            lambda *_: None,
            on_wrong_token=self.wrong.append,
            on_malformed=self.malformed.append,
            on_withheld=self.withheld.append,
        )

    def send(self, raw: bytes, host: str = FORGED) -> list[bytes]:
        return self.responder.datagrams([raw], [session(host)])[0]


def session(host: str = FORGED) -> Session:
    found = Peers(SWITCHES, OPTIONS).find(host)
    assert found is not None
    return found


# ---- answers


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xdc\x00\x11" + b"\x01" * 17,
        b"\x9f" + b"\x90" * 15,
        b"{}",
        b"[{}]",
        b"[]",
        b"{]",
        b"5",
        b"garbage",
        b'{"id":1,"method":"ping","params":{}}',
        b'{"jsonrpc":"1.0","id":1,"method":"ping","params":{"token":"token of two but wrong"},"x":"'
        + b"x" * 900
        + b'"}',
        b'["' + b"x" * 900 + b'"]',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * 5000 + b'"}}',
    ],
)
def test_these_datagrams_get_silence_and_are_counted(raw: bytes) -> None:
    heard = Heard()
    assert heard.send(raw) == []
    assert heard.withheld == [FORGED]
    assert len(heard.malformed) == 1
    assert heard.malformed[0].switch is None


@pytest.mark.parametrize("raw", [b"\xdc\x00\x11" + b"\x01" * 17, b"", b"{}"])
@pytest.mark.parametrize("host", [TRUSTED, OPEN])
def test_a_source_without_token_still_learns_what_is_wrong(raw: bytes, host: str) -> None:
    heard = Heard()
    assert heard.send(raw, host)
    assert not heard.withheld


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
@pytest.mark.parametrize("length", range(0, 200, 3))
def test_an_error_has_the_longest_form_that_fits(codec: Codec, length: int) -> None:
    heard = Heard()
    raw = codec.encode(call("ping", 7, token="wrong" + "x" * length))
    answers = heard.send(raw)
    assert sum(map(len, answers)) <= len(raw)
    assert heard.wrong == [FORGED]
    if not answers:
        assert heard.withheld == [FORGED]
        assert len(raw) < 80
        return
    found = read(answers[0])
    assert (found["id"], found["error"]["code"]) == (7, -32602)
    assert "token" in found["error"]["message"]
    if len(raw) > 150:
        assert found["error"]["data"] == {"field": "token"}
        assert "expected the token of a switch" in found["error"]["message"]


def test_an_ordinary_request_with_a_wrong_token_learns_it() -> None:
    (answer,) = over_udp(Run(), FORGED, call("stop", call_id="a-call-id@sbc", token="a-token-of-16-ch"))
    assert answer["error"]["code"] == -32602


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_of_an_array_the_sum_of_the_errors_counts(codec: Codec) -> None:
    heard = Heard()
    short = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(12)]
    assert heard.send(codec.encode(short)) == []
    long = [call("authorize", n, **GOOD, call_id="x" * 20) for n in range(12)]
    (whole,) = heard.send(codec.encode(long))
    assert [one["id"] for one in read(whole)] == list(range(12))
    assert len(whole) <= len(codec.encode(long))
    assert heard.withheld == [FORGED]


def test_notifications_and_answers_are_counted_and_withhold_nothing() -> None:
    heard = Heard()
    for message in ({"jsonrpc": "2.0", "method": "stop"}, {"jsonrpc": "2.0", "id": 1, "result": {"x": "x" * 200}}):
        assert heard.send(msgspec.json.encode(message)) == []
    assert (heard.withheld, len(heard.malformed)) == ([], 2)


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_with_its_token_a_message_gets_every_error_whole(codec: Codec) -> None:
    heard = Heard()
    (answer,) = heard.send(codec.encode(call("pign", token="token of two")))
    assert "did you mean" in read(answer)["error"]["message"]
    (answer,) = heard.send(codec.encode([call("pign", token="token of two"), 5]))
    assert [one["error"]["code"] for one in read(answer)] == [-32601]
    assert heard.withheld == [FORGED]


@pytest.mark.parametrize("method", ["sync", "authorize"])
@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_a_large_message_with_its_token_is_read(method: str, codec: Codec) -> None:
    heard = Heard()
    for token in ("token of two", "token of\\two", "token of\ttwo", "wrong"):
        calls = [[f"call {n}"] for n in range(900)]
        params = {"list_id": "l", "calls": calls} | GOOD | {"token": token}
        answers = heard.send(codec.encode(call(method, params=params) | {"params": params}))
        assert len(answers) == (token == "token of two")
    assert len(heard.wrong) == 3


def test_a_large_token_in_escapes_is_found() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"%b","token" :\n"tok\\u0065n of two"}}' % (
        b"x" * 9000
    )
    (answer,) = Heard().send(raw)
    assert "result" in read(answer)


def test_a_token_of_another_switch_is_wrong_in_a_large_message() -> None:
    heard = Heard()
    raw = msgspec.json.encode([call("ping", n, token="token of near") for n in range(100)])
    assert heard.send(raw) == []
    assert (heard.wrong, heard.withheld) == ([FORGED], [FORGED])


scalars = st.none() | st.booleans() | st.integers(-9, 2**40) | st.text(max_size=20)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=30,
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
        "id": scalars | trees,
        "method": st.sampled_from(["ping", "auth", "authorize", "stop", "explain", "sync", "x", 5, None]),
        "params": st.fixed_dictionaries({}, optional={"token": scalars, "src_ip": scalars, "calls": trees})
        | trees,
        "result": scalars,
    },
)


@settings(max_examples=300, deadline=None)
@given(
    message=messages | st.lists(messages | trees, max_size=30) | trees, codec=st.sampled_from([JSON, MESSAGEPACK])
)
@example(message=[1] * 17, codec=MESSAGEPACK)
def test_no_datagram_without_token_gets_more_bytes_than_it_has(message: Any, codec: Codec) -> None:
    raw = codec.encode(message)
    assert sum(map(len, Heard().send(raw))) <= len(raw)


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=400))
def test_no_bytes_without_token_get_more_bytes(raw: bytes) -> None:
    assert sum(map(len, Heard().send(raw))) <= len(raw)


def read(raw: bytes) -> Any:
    return msgspec.json.decode(raw) if codec_of(raw) is JSON else msgspec.msgpack.decode(raw)


# ---- connections


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
@pytest.mark.parametrize(
    "message", [call("ping"), {}, 5, call("auth"), call("auth", token="wrong"), [call("stop")]]
)
def test_a_connection_without_token_is_closed_after_few_messages(codec: Codec, message: object) -> None:
    run, met = Run(), meet(FORGED)
    answers, broken = run.responder.stream(codec, [codec.encode(message)] * 1000, met)
    assert broken
    assert len(answers) <= MAX_UNPROVEN
    answers, broken = run.responder.stream(codec, [codec.encode(call("auth", token="token of one"))], meet(FORGED))
    assert not broken


def test_a_connection_with_its_token_is_not_closed() -> None:
    for first in (call("auth", token="token of one"), call("ping", token="token of one")):
        run, met = Run(), meet(FORGED)
        on_connection(run, met, first)
        answers, broken = run.responder.stream(JSON, [JSON.encode(call("pign"))] * 100, met)
        assert (len(answers), broken) == (100, False)


# ---- cost


def cost(work: Callable[[], object]) -> float:
    """Return the processor time of some work, in microseconds: the least of several."""
    gc.disable()
    try:
        times = []
        for _ in range(7):
            began = time.process_time_ns()
            work()
            times.append(time.process_time_ns() - began)
        return min(times) / 1000
    finally:
        gc.enable()


def filled(filler: bytes, head: bytes = HEAD, tail: bytes = b'"}}', size: int = LARGEST) -> bytes:
    return head + filler * ((size - len(head) - len(tail)) // len(filler)) + tail


WORST = {
    "backslashes": filled(rb"\\", tail=b'","dst_number":5}}'),
    "half a pair and backslashes": filled(rb"\\", HEAD + rb'\ud800","x":"'),
    "halves of pairs": filled(rb"\ud800"),
    "an array of backslashes": b"[" + filled(rb"\\", tail=b'","dst_number":5}},{]'),
    "wrong methods": filled(b'{"jsonrpc":"2.0","id":1,"method":"authorizer_update_start"},', b"[", b"5]", 1400),
    "wrong items": filled(b"[],", b"[", b"5]"),
    "wrong objects": filled(b"{},", b"[", b"{}]"),
    "nested params": filled(b"[],", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[', b"1]}"),
    "names": filled(b'token"', HEAD),
    "tokens": filled(b'{"token":"wrong"},', b"[", b"{}]"),
    "escaped tokens": filled(rb"\\\\\\", b'["token":"', b'"]'),
    "quotes": filled(b'"', HEAD),
    "sync": filled(b'["c"],', b'{"jsonrpc":"2.0","id":1,"method":"sync","params":{"calls":[', b'["c"]]}}', 4096),
    "MessagePack arrays": b"\x84\xa7jsonrpc\xa32.0\xa2id\x01\xa6method\xa4ping\xa6params\xdd\0\0\xf0\0"
    + b"\x90" * 61440,
    "MessagePack items": b"\xdc\xf0\x00" + b"\x01" * 61440,
    "a long id": filled(b"x", b'{"jsonrpc":"2.0","method":"ping","id":"', b'"}'),
    "a long token": filled(b"x", b'{"jsonrpc":"2.0","method":"ping","id":1,"params":{"token":"', b'"}}'),
}


@pytest.mark.parametrize("name", WORST)
def test_no_datagram_without_token_costs_more_than_a_few_good_ones(name: str) -> None:
    heard = Heard()
    met = session()
    assert len(WORST[name]) <= LARGEST
    assert cost(lambda: heard.responder.datagrams([WORST[name]], [met])) < 400


TRUSTED_COSTS = ("backslashes", "half a pair and backslashes", "nested params", "MessagePack arrays", "a long id")


@pytest.mark.parametrize("name", TRUSTED_COSTS)
def test_no_wrong_message_of_a_trusted_source_costs_much(name: str) -> None:
    heard = Heard()
    met = session(TRUSTED)
    assert cost(lambda: heard.responder.datagrams([WORST[name]], [met])) < 2000


def test_wrong_messages_of_a_source_in_many_datagrams_get_few_suggestions() -> None:
    heard = Heard()
    one = WORST["wrong methods"]
    received, met = [one] * 64, session(TRUSTED)
    answers, _ = heard.responder.datagrams(received, [met] * 64)
    assert b"".join(answers).count(b"did you mean") <= MAX_UNPROVEN
    assert len(heard.malformed) < 64 * 3


@pytest.mark.parametrize("value", [b"\xc4\x01x", b"\xd4\x05x", b"\xc4\x00"])
@pytest.mark.parametrize("host", [TRUSTED, FORGED])
def test_a_wrong_value_that_json_cannot_show_is_reported(value: bytes, host: str) -> None:
    """It raised an exception, so that the other datagrams of the batch had no answer."""
    heard = Heard()
    params = {"token": "token of two", "direction": msgspec.Raw(value)}
    (answer,) = heard.send(msgspec.msgpack.encode(call("authorize", 1) | {"params": params}), host)
    assert read(answer)["error"]["data"]["field"] == "direction"
    assert heard.malformed[0].value is not None
    assert "bytes that begin with" in heard.malformed[0].value
