"""Wrong messages (interfaces.md 3): the code, the id, the text and the data of each error."""

from __future__ import annotations

import json

import msgspec
import pytest
from unit.wire.jsonrpc.harness import GOOD, INVALID, NO_METHOD, PARAMS, PARSE, VISITOR, ask, call, responder

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.wire.jsonrpc.codec import MESSAGEPACK
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.responder import MalformedMessage


@pytest.mark.parametrize(
    ("message", "code", "message_id", "says"),
    [
        (b"", PARSE, None, "not parsable"),
        (b"\x00\x01\x02", PARSE, None, "not parsable"),
        (b"hello", PARSE, None, "not parsable"),
        (b'{"jsonrpc":"2.0","id":1', PARSE, None, "not parsable"),
        (b'{"jsonrpc":"2.0","id":1,}', PARSE, None, "not parsable"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"} x', PARSE, None, "not parsable"),
        (b"{]", PARSE, None, "not parsable"),
        (b"[1,", PARSE, None, "not parsable"),
        (b'[{"a":"\xff"}]', PARSE, None, "not parsable"),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}', PARSE, None, "not parsable"),
        (b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"name":"\xff"}}', PARSE, None, "UTF-8"),
        (b"[" * 60000, PARSE, None, "not parsable"),
        (b"[" * 30000 + b"]" * 30000, PARSE, None, "not parsable"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"ping","x":' + b"[" * 9999 + b"]" * 9999 + b"}",
            PARSE,
            None,
            "not pars",
        ),
        (b"{}", INVALID, None, "jsonrpc"),
        (b"5", INVALID, None, "object"),
        (b'"text"', INVALID, None, "object"),
        (b"null", INVALID, None, "object"),
        (b"[]", INVALID, None, "1 to 1000"),
        (call(jsonrpc="1.0"), INVALID, 1, '"2.0"'),
        (call(jsonrpc=2.0), INVALID, 1, '"2.0"'),
        (call(jsonrpc=...), INVALID, 1, '"2.0"'),
        ({"jsonrpc": "2.0", "id": 1}, INVALID, 1, "method"),
        ({"jsonrpc": "2.0"}, INVALID, None, "method"),
        (call(method=5), INVALID, 1, "method"),
        (call(method=None), INVALID, 1, "method"),
        (call(method=["ping"]), INVALID, 1, "method"),
        (call("ping", id=[1]), INVALID, None, "id: expected"),
        (call("ping", id={}), INVALID, None, "id: expected"),
        (call("ping", id=True), INVALID, None, "id: expected"),
        (call("nothing", id=False), INVALID, None, "id: expected"),
        (call("ping", id="x" * 300), INVALID, None, "id: expected"),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', PARSE, None, "UTF-8"),
        (call("Stop"), NO_METHOD, 1, 'no such method "Stop"; did you mean "stop"?'),
        (call("stop"), PARAMS, 1, "call_id"),
        (call("start", GOOD), PARAMS, 1, "call_id"),
        (call("update", {"call_id": " "}), PARAMS, 1, "call_id"),
        (call("update", {"call_id": "1", "interval": 0}), PARAMS, 1, "interval"),
        (call("update", {"call_id": "1", "interval": "1.5"}), PARAMS, 1, "interval"),
        (call("update", {"call_id": "1", "interval": 1.5}), PARAMS, 1, "interval"),
        (call("update", {"call_id": "1", "src_ip": "10.0.0.5:5060"}), PARAMS, 1, "src_ip"),
        (call("update", {"call_id": "1", "src_port": 70000}), PARAMS, 1, "src_port"),
        (call("start", {"call_id": "1", "dst_number": "é"}), PARAMS, 1, "dst_number"),
        (call("stop", {"call_id": "1", "direction": "both"}), PARAMS, 1, "direction"),
        (call("stop", {"call_id": True}), PARAMS, 1, "call_id"),
        (call("sync"), PARAMS, 1, "list_id"),
        (call("sync", {"list_id": "l", "part": 0}), PARAMS, 1, "part"),
        (call("sync", {"list_id": "l", "part": 3, "parts": 2}), PARAMS, 1, "part"),
        (call("sync", {"list_id": "l", "calls": [["a"], []]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": [["a", None, "up"]]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": [["a", "b", "origination", "x"]]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": "a"}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "confirm_empty": 1}), PARAMS, 1, "confirm_empty"),
        (call("switch_up", []), PARAMS, 1, "params: expected an object"),
        (call("Authorize", GOOD), NO_METHOD, 1, "Authorize"),
        (call(""), NO_METHOD, 1, ""),
        (call("x" * 5000), NO_METHOD, 1, "x…"),
        (call("nothing", ["not looked at"]), NO_METHOD, 1, "nothing"),
        (call(params=[]), PARAMS, 1, "params: expected an object"),
        (call(params=["10.0.0.5"]), PARAMS, 1, "params: expected an object"),
        (call(params="10.0.0.5"), PARAMS, 1, "params: expected an object"),
        (call("ping", [1]), PARAMS, 1, "params: expected an object"),
    ],
)
def test_wrong_messages(message: object, code: int, message_id: object, says: str) -> None:
    answer = ask(message)
    assert answer["error"]["code"] == code
    assert says in answer["error"]["message"]
    assert answer["id"] == message_id
    assert "result" not in answer


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b'{"jsonrpc":"2.0","id":1', "not parsable as JSON: it ends too early"),
        (b'{"jsonrpc":"2.0","id":1,}', "not parsable as JSON: trailing comma in object (byte 24)"),
        (b'{"a":"\xff"}', "not parsable as JSON: invalid UTF-8 (byte 6)"),
        (b'[{"a":"\xff"}]', "not parsable as JSON: invalid UTF-8 (byte 7)"),
        (b"[1,", "not parsable as JSON: it ends too early"),
        (b'{"a":' + b"[" * 9999, "not parsable as JSON: it is nested too deeply"),
        (b"[]", "expected an array of 1 to 1000 messages, got 0"),
        (b"[" + b"1," * 1000 + b"1]", "expected an array of 1 to 1000 messages, got 1001"),
        (b" 5", "expected an object, got 5"),
        (b"{}", 'jsonrpc: expected "2.0", got nothing'),
        (call(jsonrpc=2), 'jsonrpc: expected "2.0", got 2'),
        (call(method=...), "method: expected a string, got nothing"),
        (call(method=None), "method: expected a string, got null"),
        (call(id={"a": [1]}), 'id: expected a string, a number or null, of at most 256 bytes, got {"a":[1]}'),
        (call("finish"), 'no such method "finish"'),
        (call("autorize"), 'no such method "autorize"; did you mean "authorize"?'),
        (call("x" * 100), f'no such method "{"x" * 78}…'),
        (call(params=["a"]), 'params: expected an object, since parameters have names, got ["a"]'),
        (call(params={"src_port": []}), "src_port: expected an integer or a string of digits, got []"),
        (call(params={"src_ip": {"a": None}}), 'src_ip: expected a string, got {"a":null}'),
        (call(params={"src_ip": ["x" * 90]}), f'src_ip: expected a string, got ["{"x" * 77}…'),
        (call(params={"password": 5}), "password: expected a string"),
        (call("stop"), "call_id: expected the id of a call"),
        (call("stop", {"call_id": " "}), 'call_id: expected the id of a call, got " "'),
        (
            call("stop", {"call_id": "1", "direction": "up"}),
            'direction: expected "origination" or "termination", got "up"',
        ),
        (
            call("update", {"call_id": "1", "src_port": 70000}),
            "src_port: expected an integer from 1 to 65535, got 70000",
        ),
        (
            call("update", {"call_id": "1", "interval": 0}),
            "interval: expected a number of seconds from 1 to 604800, got 0",
        ),
        (call("sync", {"list_id": ""}), 'list_id: expected an id that no other list has, got ""'),
        (
            call("sync", {"list_id": "l", "part": 3, "parts": "2"}),
            "part: expected an integer from 1 to the value of parts (2), got 3",
        ),
        (
            call("sync", {"list_id": "l", "calls": [["a", None, "up"]]}),
            'calls: expected entries [call_id, leg_id, direction], got ["a", null, "up"]',
        ),
    ],
)
def test_an_error_names_what_was_expected_and_what_came(message: object, text: str) -> None:
    assert ask(message)["error"]["message"] == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "not parsable as MessagePack: it ends too early"),
        (b"\xc1", "not parsable as MessagePack: invalid opcode '\\xc1' (byte 0)"),
        (b"hello", "expected an object, got bytes that begin with 0x68"),
        (b"\x81\xa2id\x01", 'jsonrpc: expected "2.0", got nothing'),
        (b"\x81\xa7jsonrpc\xc4\x032.0", 'jsonrpc: expected "2.0", got bytes that begin with 0xc4'),
        (
            b"\x82\xa7jsonrpc\xa32.0\xa2id\xd4\x01\x01",
            "id: expected a string, a number or null, of at most 256 bytes, got bytes that begin with 0xd4",
        ),
    ],
)
def test_an_error_of_messagepack(raw: bytes, text: str) -> None:
    (answer,), _ = responder().datagrams([raw], [VISITOR])
    assert msgspec.msgpack.decode(answer)["error"]["message"] == text


@pytest.mark.parametrize("method", ["authorize", "identify", "explain"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("src_ip", 5),
        ("src_ip", ["10.0.0.5"]),
        ("src_ip", True),
        ("src_port", 5060.5),
        ("src_port", True),
        ("src_port", {}),
        ("account_id", [1]),
        ("direction", 1),
        ("call_id", 7.5),
        ("leg_id", False),
        ("protocol", 1),
        ("gateway", False),
        ("name", {}),
        ("src_number", 442070001),
        ("dst_number", 44171),
    ],
)
def test_params_of_a_wrong_type(method: str, name: str, value: object) -> None:
    error = ask(call(method, GOOD | {name: value}))["error"]
    assert error["code"] == PARAMS
    assert error["data"] == {"field": name, "value": value}
    assert name in error["message"]


def test_a_digest_field_of_a_wrong_type() -> None:
    error = ask(call(params=GOOD | {"digest": {"username": "a", "nc": 1}}))["error"]
    assert error["data"] == {"field": "digest.nc", "value": 1}


@pytest.mark.parametrize(
    ("digest", "field"), [("Digest response=beef", "digest"), ({"response": ["beef"]}, "digest.response")]
)
def test_a_digest_is_not_echoed(digest: object, field: str) -> None:
    error = ask(call(params=GOOD | {"digest": digest}))["error"]
    assert (error["code"], error["data"]) == (PARAMS, {"field": field})
    assert "beef" not in str(error)


def test_a_password_is_not_echoed() -> None:
    raw = json.dumps(call(params=GOOD | {"password": 98765})).encode()
    (answer,) = responder().datagrams([raw], [VISITOR])[0]
    assert b"98765" not in answer
    assert json.loads(answer)["error"]["data"] == {"field": "password"}


def test_a_long_value_is_not_echoed() -> None:
    assert ask(call(params={"src_ip": list(range(100))}))["error"]["data"] == {"field": "src_ip"}
    huge = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_port":' + b"9" * 5000 + b"}}"
    assert ask(huge)["error"]["data"] == {"field": "src_port"}


def test_right_type_but_unusable_is_a_reject() -> None:
    result = ask(call(params=GOOD | {"src_port": 70000}))["result"]
    assert (result["reason"], result["field"], result["value"]) == ("invalid_request", "src_port", "70000")
    huge = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_port":12345678901234567890123}}'
    assert ask(huge)["result"]["reason"] == "invalid_request"


@pytest.mark.parametrize(
    "value", [b"\xa1\xff", b"\x81\xa1\xff\x01", b"\x91\xa3\xed\xa0\x80", b"\x81\xa1a\xa1\xff"], ids=repr
)
def test_a_value_with_a_text_that_is_not_utf_8_is_not_returned(value: bytes) -> None:
    raw = b"\x84\xa7jsonrpc\xa32.0\xa2id\x01\xa6method\xa4sync\xa6params\x81\xa5calls" + value
    (answer,), _ = responder().stream(MESSAGEPACK, [raw], VISITOR)
    error = msgspec.msgpack.decode(answer)["error"]
    assert error["code"] in (PARSE, PARAMS)
    assert "value" not in error.get("data", {})


@pytest.mark.parametrize("value", [b"\xc4\x01a", b"\xc7\x01\x05a", b"\x81\x90\x01", b"\xa1\xff"], ids=repr)
def test_a_value_without_a_form_in_json_is_reported_by_its_first_byte(value: bytes) -> None:
    reported: list[MalformedMessage] = []
    engine = Engine(EngineSettings())
    asked = Responder(engine, lambda: 1.0, lambda *_: None, on_malformed=reported.append)
    head = b"\x84\xa7jsonrpc\xa32.0\xa2id\x01\xa6method\xa8identify\xa6params\x81\xa6src_ip"
    (answer,), _ = asked.datagrams([head + value], [VISITOR])
    assert msgspec.msgpack.decode(answer)["error"]["code"] in (PARSE, PARAMS)
    values = [message.value for message in reported if message.code == PARAMS]
    assert values in ([f"bytes that begin with 0x{value[0]:02x}"], [])
    assert len(reported) == 1
    assert not engine.faults
