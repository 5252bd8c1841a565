"""JSON-RPC 2.0 (interfaces.md 3) without a socket: requests, notifications and batches."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.wire.jsonrpc.harness import (
    GOOD,
    INVALID,
    NO_METHOD,
    PARAMS,
    PARSE,
    SHARED,
    VISITOR,
    ask,
    call,
    datagram,
    packed,
    responder,
)

from identengine.engine.core import Engine
from identengine.model.options import IdentifyOptions
from identengine.wire import desk
from identengine.wire.desk import MAX_EXPLAINS
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.replies import codec_of
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Peer, Session


def silent(message: object) -> None:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    assert datagram(raw) == []
    assert responder().stream(JSON, [raw], VISITOR) == ([], False)
    if not isinstance(message, bytes):
        assert packed(message) == []


@pytest.mark.parametrize("method", ["authorize", "identify"])
def test_a_decision(method: str) -> None:
    answer = ask(call(method, GOOD))
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == 1
    assert answer["result"] | {"accepted": True, "account_id": 1, "version": 7} == answer["result"]
    assert answer["result"].get("unreserved") == (True if method == "authorize" else None)


def test_explain_shows_candidates() -> None:
    result = ask(call("explain", GOOD))["result"]
    assert result["decision"]["account_id"] == 1
    assert [one["account_id"] for one in result["candidates"]] == [1]


def test_a_reject_is_a_result() -> None:
    answer = ask(call(params={"src_ip": "192.0.2.1", "dst_number": "44"}))
    assert answer["result"]["reason"] == "unknown_source"
    assert answer["result"]["sip_code"] == 403


def test_ping() -> None:
    result = ask(call("ping"))["result"]
    assert result["version"] == 7
    assert result["uptime"] == 12.346
    assert result["program"].startswith("identengine")
    assert isinstance(result["pid"], int)


def test_before_the_first_book() -> None:
    assert ask(call("ping"), ready=False)["result"]["version"] is None
    for method in ("authorize", "identify"):
        result = ask(call(method, GOOD), ready=False)["result"]
        assert (result["accepted"], result["reason"], result["sip_code"]) == (False, "not_ready", 503)
    assert ask(call("explain", GOOD), ready=False)["error"]["code"] == -32001
    for method in ("start", "update"):
        assert ask(call(method, GOOD | {"call_id": "a"}), ready=False)["error"]["code"] == -32001


@pytest.mark.parametrize(
    "written",
    [b"1", b"1.0", b"-0", b"1e5", b'"1"', b'""', b"null", b"12345678901234567890123", b'"\\u00e9"', b'"\xc3\xa9"'],
)
@pytest.mark.parametrize("method", [b"authorize", b"ping", b"nothing"])
def test_ids_are_echoed_as_they_came(written: bytes, method: bytes) -> None:
    message = b'{"jsonrpc":"2.0","id": %b ,"method":"%b"}' % (written, method)
    (answer,) = responder().datagrams([message], [VISITOR])[0]
    assert answer.startswith(b'{"jsonrpc":"2.0","id":%b,' % written)
    json.loads(answer)


def test_null_is_absent_and_unknown_params_are_ignored() -> None:
    odd = GOOD | {"name": None, "src_port": None, "colour": {"a": [1]}, "token": 5}
    assert ask(call(params=odd))["result"]["account_id"] == 1
    assert ask(call("ping", {"anything": [1]}))["result"]["version"] == 7


@pytest.mark.parametrize("params", [None, ..., {}])
def test_no_params(params: object) -> None:
    assert ask(call(params=params))["result"]["accepted"] is False
    assert ask(call("ping", params))["result"]["version"] == 7


def test_ports_may_be_strings() -> None:
    assert ask(call(params=GOOD | {"src_port": "5060"}))["result"]["accepted"]


@pytest.mark.parametrize(
    "message",
    [
        call(params=GOOD, id=...),
        call("ping", id=...),
        call("explain", GOOD, id=...),
        call("nothing", id=...),
        call(params=[1], id=...),
        call(params={"src_ip": 5}, id=...),
        {"jsonrpc": "2.0", "id": 1, "result": 5},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "not parsable"}},
        [call("ping", id=...), call(params=GOOD, id=...)],
        [{"jsonrpc": "2.0", "id": 1, "result": 5}],
    ],
)
def test_no_answer(message: object) -> None:
    silent(message)


def test_our_errors_would_not_be_answered_by_us() -> None:
    for garbage in (b"{garbage", b"garbage"):
        (error,) = responder().datagrams([garbage], [VISITOR])[0]
        assert datagram(error) == []


def test_a_repeated_member() -> None:
    twice = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_ip":5,"src_ip":"10.0.0.5"}}'
    answer = ask(twice)
    assert "result" in answer or answer["error"]["code"] in (INVALID, PARAMS)


def test_a_batch_keeps_order_and_mixes() -> None:
    answers = ask(
        [
            call("ping", id=1),
            5,
            call(params=GOOD, id=...),
            call(params=GOOD, id="b"),
            [],
            [call("ping")],
            call("nothing", id=3),
            {"jsonrpc": "2.0", "id": 9, "result": 1},
            call(params={"src_ip": 5}, id=4),
        ]
    )
    assert [answer["id"] for answer in answers] == [1, None, "b", None, None, 3, 4]
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes == [None, INVALID, None, INVALID, INVALID, NO_METHOD, PARAMS]


def test_a_batch_of_too_many() -> None:
    assert ask([5] * 1001)["error"]["code"] == INVALID


def test_explanations_are_few_at_once() -> None:
    many = [call("explain", GOOD, id=n) for n in range(MAX_EXPLAINS + 3)]
    (line,), _ = responder().stream(JSON, [json.dumps(many).encode()], VISITOR)
    answers = json.loads(line)
    assert [answer["id"] for answer in answers] == list(range(len(many)))
    assert all("result" in answer for answer in answers[:MAX_EXPLAINS])
    assert [answer["error"]["code"] for answer in answers[MAX_EXPLAINS:]] == [-32002] * 3


def test_explanations_show_a_limited_number_of_candidates_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MAX_CANDIDATES", len(SHARED) + 1)
    many = [call("explain", {"src_ip": "10.0.0.9", "dst_number": "10#44"}, id=n) for n in range(4)]
    for _ in range(2):  # each batch has the same number
        (line,), _ = responder().stream(JSON, [json.dumps(many).encode()], VISITOR)
        codes = [answer.get("error", {}).get("code") for answer in json.loads(line)]
        assert codes == [None, None, -32002, -32002]


def test_a_stream_ends_with_the_message_that_cannot_be_parsed() -> None:
    ping = json.dumps(call("ping")).encode()
    answers, broken = responder().stream(JSON, [ping, b"{]", ping], VISITOR)
    assert broken
    lines = [json.loads(line) for line in answers]
    assert [line.get("error", {}).get("code") for line in lines] == [None, PARSE]


def test_a_stream_that_went_wrong_between_messages() -> None:
    ping = json.dumps(call("ping")).encode()
    answers, broken = responder().stream(
        JSON, [ping], VISITOR, "expected a message of at most 9 bytes, got a larger one"
    )
    assert broken
    assert [json.loads(line).get("error") for line in answers] == [
        None,
        {"code": PARSE, "message": "not parsable: expected a message of at most 9 bytes, got a larger one"},
    ]


def test_many_peers_in_one_read() -> None:
    never = Session("127.0.0.2", Peer("sbc2", IdentifyOptions(match_port="never")))
    message = json.dumps(call(params=GOOD)).encode()
    answers, places = responder().datagrams([message, b"{", message], [VISITOR, never, never])
    assert (len(answers), places) == (3, None)
    assert "error" in json.loads(answers[1])


def test_places_of_answers_where_not_each_datagram_has_one() -> None:
    one, notice = json.dumps(call(params=GOOD)).encode(), json.dumps(call(params=GOOD) | {"id": None}).encode()
    silent = json.dumps({key: value for key, value in call(params=GOOD).items() if key != "id"}).encode()
    many = json.dumps([call("explain", GOOD) for _ in range(8)]).encode()
    answers, places = responder().datagrams([one, silent, one, many, notice], [VISITOR] * 5)
    assert places is not None
    assert len(answers) == len(places)
    assert [places.count(place) for place in range(5)] == [1, 0, 1, places.count(3), 1]
    assert places == sorted(places)
    assert places.count(3) > 1
    assert all(json.loads(answer)["result"]["accepted"] for answer in (answers[0], answers[1], answers[-1]))


def test_rejects_are_told_for_the_log() -> None:
    rejected: list[tuple[str, str | None]] = []
    asked = responder(rejected)
    for method in ("authorize", "identify", "explain"):
        asked.datagrams([json.dumps(call(method, {"src_ip": "192.0.2.1", "dst_number": "1"})).encode()], [VISITOR])
    asked.datagrams([json.dumps(call(params=GOOD)).encode()], [VISITOR])
    assert rejected == [("sbc1", "unknown_source")]


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "msgpack"])
def test_malformed_messages_are_reported_whether_answered_or_not(codec: Codec) -> None:
    found: list[MalformedMessage] = []
    asked = Responder(Engine(), lambda: 0.0, print, on_malformed=found.append)
    messages = [
        call("stop", {"call_id": {"a": 1}}),
        call("stop", {"call_id": {"a": 1}}, id=...),
        call("park", id=...),
        call("stop", {"call_id": "c", "password": ["secret"]}),
        call("stop", {"call_id": " "}, id=...),
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        [],
        call("ping"),
        call("stop", {"call_id": "c"}),
    ]
    answers, _ = asked.stream(codec, [codec.encode(message) for message in messages], VISITOR)
    assert len(answers) == 5
    assert {(one.switch, one.host) for one in found} == {("sbc1", "127.0.0.1"), ("sbc1", None)}
    # In the order of the messages, since each is answered alone:
    assert [(one.code, one.field, one.value) for one in found] == [
        (PARAMS, "call_id", '{"a":1}'),
        (PARAMS, "call_id", '{"a":1}'),
        (NO_METHOD, None, None),
        (PARAMS, "password", None),
        (PARAMS, "call_id", '" "'),
        (INVALID, None, None),
        (INVALID, None, None),
    ]
    assert "secret" not in str(found)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


odd_calls = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]),
        "id": json_values,
        "method": st.sampled_from(["authorize", "explain", "ping", "stop", 5, None]),
        "params": st.dictionaries(
            st.sampled_from(["src_ip", "src_port", "dst_number", "digest", "direction", "account_id", "x"]),
            json_values,
            max_size=4,
        )
        | json_values,
        "result": json_values,
    },
)


@given(odd_calls | st.lists(odd_calls | json_values, max_size=5) | json_values)
def test_anything_is_answered_in_form_and_alike_in_both_encodings(message: object) -> None:
    written = json.dumps(message).encode()
    # MessagePack has integers of 64 bits at most; JSON has longer ones.
    with contextlib.suppress(OverflowError):
        (over_stream, _), (packed_stream, _) = (
            responder().stream(codec, [raw], VISITOR)
            # An error shows a value as received, so both encodings use one encoder: others escape more characters.
            for raw, codec in (
                (msgspec.json.encode(message), JSON),
                (msgspec.msgpack.encode(message), MESSAGEPACK),
            )
        )
        assert [json.loads(one) for one in over_stream] == [msgspec.msgpack.decode(one) for one in packed_stream]
    for answer in datagram(written) if codec_of(written) is JSON else []:
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)
            assert "id" in one


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_answered_in_form(message: bytes) -> None:
    # Hypothesis can find a valid message, since it knows the texts of this file.
    for answer in datagram(message):
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)


@pytest.mark.parametrize("number", [-1, 0, 2**64 - 1, 2**64, -(2**63) - 1, 10**4000])
def test_an_integer_of_any_size_is_ignored_or_unusable(number: int) -> None:
    """MessagePack and the mirror of calls hold 64 bits; JSON holds more."""
    asked = responder()

    def answer(method: str, **params: object) -> dict[str, Any]:
        raw = json.dumps(call(method, GOOD | {"call_id": "c"} | params)).encode()
        (line,), _ = asked.stream(JSON, [raw], VISITOR)
        found: dict[str, Any] = json.loads(line)
        return found

    for method in ("authorize", "authorize", "identify"):
        assert answer(method, account_id=number)["result"]["account_id"] == 1  # engine.md 3.9
    assert answer("explain", account_id=number)["result"]["decision"]["account_id"] == 1
    for fields in ({"src_port": number}, {"account_id": number, "direction": "termination"}):
        for method in ("authorize", "identify"):
            result = answer(method, **fields)["result"]
            if result["reason"] == "unknown_source":  # no id of a book is as large (engine.md 3.9)
                assert number in (2**64 - 1, 2**64)
            else:
                assert (result["reason"], result["field"]) == ("invalid_request", min(fields))
                assert result["value"] == str(number)
    for method in ("start", "update"):
        assert answer(method, account_id=number)["result"]["ok"] is True
        assert answer(method, interval=number)["error"]["data"]["field"] == "interval"
    assert answer("stop", account_id=number)["result"]["freed"] == 1
    for field in ("part", "parts"):
        error = answer("sync", list_id="l", **{field: number})["error"]
        assert (error["code"], error["data"]["field"]) == (PARAMS, field)
