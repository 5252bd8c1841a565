"""Messages that are wrong (interfaces.md 3): each error with its code, its id, and what it shows."""

from __future__ import annotations

import json

import pytest
from unit.wire.jsonrpc.harness import GOOD, INVALID, NO_METHOD, PARAMS, PARSE, VISITOR, ask, call, responder


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
        (b"[]", INVALID, None, "empty batch"),
        (call(jsonrpc="1.0"), INVALID, 1, '"2.0"'),
        (call(jsonrpc=2.0), INVALID, 1, '"2.0"'),
        (call(jsonrpc=...), INVALID, 1, '"2.0"'),
        ({"jsonrpc": "2.0", "id": 1}, INVALID, 1, "method"),
        ({"jsonrpc": "2.0"}, INVALID, None, "method"),
        (call(method=5), INVALID, 1, "method"),
        (call(method=None), INVALID, 1, "method"),
        (call(method=["ping"]), INVALID, 1, "method"),
        (call("ping", id=[1]), INVALID, None, "an id is"),
        (call("ping", id={}), INVALID, None, "an id is"),
        (call("ping", id=True), INVALID, None, "an id is"),
        (call("nothing", id=False), INVALID, None, "an id is"),
        (call("ping", id="x" * 300), INVALID, None, "an id is"),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', PARSE, None, "UTF-8"),
        (call("Stop"), NO_METHOD, 1, "no such method: Stop"),
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
        (call("stop", {"call_id": 1}), PARAMS, 1, "call_id"),
        (call("sync"), PARAMS, 1, "list_id"),
        (call("sync", {"list_id": "l", "part": 0}), PARAMS, 1, "part"),
        (call("sync", {"list_id": "l", "part": 3, "parts": 2}), PARAMS, 1, "part"),
        (call("sync", {"list_id": "l", "calls": [["a"], []]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": [["a", None, "up"]]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": [["a", "b", "origination", "x"]]}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "calls": "a"}), PARAMS, 1, "calls"),
        (call("sync", {"list_id": "l", "confirm_empty": 1}), PARAMS, 1, "confirm_empty"),
        (call("switch_up", []), PARAMS, 1, "by name"),
        (call("Authorize", GOOD), NO_METHOD, 1, "Authorize"),
        (call(""), NO_METHOD, 1, ""),
        (call("x" * 5000), NO_METHOD, 1, "x…"),
        (call("nothing", ["not looked at"]), NO_METHOD, 1, "nothing"),
        (call(params=[]), PARAMS, 1, "by name"),
        (call(params=["10.0.0.5"]), PARAMS, 1, "by name"),
        (call(params="10.0.0.5"), PARAMS, 1, "by name"),
        (call("ping", [1]), PARAMS, 1, "by name"),
    ],
)
def test_wrong_messages(message: object, code: int, message_id: object, says: str) -> None:
    answer = ask(message)
    assert answer["error"]["code"] == code
    assert says in answer["error"]["message"]
    assert answer["id"] == message_id
    assert "result" not in answer


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
        ("call_id", 77),
        ("leg_id", 0),
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
