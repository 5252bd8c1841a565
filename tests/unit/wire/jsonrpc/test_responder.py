"""JSON-RPC 2.0 (interfaces.md 3) without a socket: every kind of message, right and wrong."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.settings import EngineSettings
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.wire.jsonrpc.answers import DATAGRAM
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.messages import PARSE_ERROR
from identengine.wire.jsonrpc.responder import MAX_EXPLAINS, Responder, codec_of
from identengine.wire.session import Peer, Session

OPTIONS = IdentifyOptions()
PEER = Peer("sbc1", OPTIONS, Asker("sbc1", "sbc1"))
VISITOR = Session("127.0.0.1", PEER)
CLIENT = Client(id=1, name="Client One")
SHARED = [
    Account(id=n, client_id=1, name=f"shared {n}", ident_by=IdentBy.IP, ident=("10.0.0.9",), tech_prefix=f"{n}#")
    for n in range(10, 60)
]
ACCOUNTS = [
    Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.5",)),
    Account(id=2, client_id=1, name="ü" * 250, ident_by=IdentBy.IP, ident=("10.0.0.6",), orig_tag="t" * 250),
    Account(
        id=3,
        client_id=1,
        name="three",
        ident_by=IdentBy.IP,
        ident=("10.0.0.7",),
        orig_tag="ж" * 255,
        orig_rate_table="ж" * 255,
        orig_routing_plan="ж" * 255,
    ),
    *SHARED,
]


class Forgetful:
    """A mirror that keeps nothing."""

    room_left = RoomLeft.AMPLE

    def write(self, changes: Changes) -> None:
        pass


def responder(rejected: list[tuple[str, str | None]] | None = None, *, ready: bool = True) -> Responder:
    engine = Engine(calls=Calls(Settings(max_legs=100), Forgetful()))
    if ready:
        engine.take_up(build(OPTIONS, 7, bytes(32), [CLIENT], ACCOUNTS, []))

    def on_reject(asker: Asker, request: Request, decision: Decision) -> None:
        if rejected is not None:
            rejected.append((asker.switch, decision.reason))

    return Responder(engine, lambda: 12.3456, on_reject)


def datagram(message: bytes, **how: Any) -> list[Any]:
    answers, _ = responder(**how).datagrams([message], [VISITOR])
    assert all(len(answer) <= DATAGRAM for answer in answers)
    decode = json.loads if codec_of(message) is JSON else msgspec.msgpack.decode
    return [decode(answer) for answer in answers]


def packed(message: object, **how: Any) -> list[Any]:
    """Return the answers to the same object in MessagePack, which must be the same over a stream."""
    raw = msgspec.msgpack.encode(message)
    answers, _ = responder(**how).datagrams([raw], [VISITOR])
    assert all(len(answer) <= DATAGRAM for answer in answers)
    over_stream, _ = responder(**how).stream(MESSAGEPACK, [raw], VISITOR)
    assert len(answers) != 1 or over_stream == answers
    return [msgspec.msgpack.decode(answer) for answer in answers]


def ask(message: object, **how: Any) -> Any:
    """Return the one answer to one message, which must be the same over a stream."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    (line,), broken = responder(**how).stream(JSON, [raw], VISITOR)
    answer = json.loads(line)
    (over_udp,) = datagram(raw, **how)
    if codec_of(raw) is JSON:
        assert over_udp == answer
    else:  # in a datagram that is MessagePack
        assert over_udp["error"]["code"] in (-32600, -32700)
    assert line.count(b"\n") == 0
    if not isinstance(message, bytes):
        assert packed(message, **how) == [answer]
    code = answer.get("error", {}).get("code") if isinstance(answer, dict) else None
    assert broken == (code == PARSE_ERROR)
    return answer


def silent(message: object) -> None:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    assert datagram(raw) == []
    assert responder().stream(JSON, [raw], VISITOR) == ([], False)
    if not isinstance(message, bytes):
        assert packed(message) == []


def call(method: object = "authorize", params: object = None, **members: object) -> dict[str, object]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params} | members
    return {name: value for name, value in message.items() if value is not ...}


GOOD = {"src_ip": "10.0.0.5", "dst_number": "44171"}


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


PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602


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


def test_a_batch_over_udp_comes_as_several_arrays() -> None:
    answers = datagram(json.dumps([call(params=GOOD, id=n) for n in range(50)]).encode())
    assert len(answers) > 5
    assert all(isinstance(array, list) and array for array in answers)
    assert [answer["id"] for array in answers for answer in array] == list(range(50))


def test_an_explanation_over_udp_is_cut_and_says_so() -> None:
    message = json.dumps(call("explain", {"src_ip": "10.0.0.9", "dst_number": "10#44"})).encode()
    (answer,) = datagram(message)
    (line,), _ = responder().stream(JSON, [message], VISITOR)
    whole = json.loads(line)["result"]
    assert whole["cut"] is False
    assert len(whole["candidates"]) == len(SHARED)
    shown = answer["result"]["candidates"]
    assert answer["result"]["cut"] is True
    assert shown == whole["candidates"][: len(shown)]
    assert len(shown) >= 3
    batch = datagram(b"[" + message + b"," + message + b"]")
    assert [array[0]["result"]["cut"] for array in batch] == [True, True]


def test_an_answer_too_large_for_a_datagram_loses_names_and_keeps_ids() -> None:
    message_id = "i" * 250
    message = json.dumps(call(params=GOOD | {"src_ip": "10.0.0.6"}, id=message_id)).encode()
    (answer,) = datagram(message)
    assert answer["result"]["account_id"] == 2
    unusable = json.dumps(call(params=GOOD | {"direction": "x" * 3000}, id=message_id)).encode()
    (answer,) = datagram(unusable)
    assert answer["result"]["reason"] == "invalid_request"
    assert len(answer["result"]["value"]) < 300


def test_a_decision_that_does_not_fit_without_names_is_a_reject_and_no_error() -> None:
    params = GOOD | {"src_ip": "10.0.0.7"}
    (answer,) = datagram(json.dumps(call(params=params)).encode())
    assert (answer["result"]["accepted"], answer["result"]["reason"]) == (False, "internal_error")
    assert answer["result"]["sip_code"] == 500
    other = responder()
    reasons = ReasonTable({Reason.INTERNAL_ERROR: Codes(580, 41, 8)})
    other._engine.settings = EngineSettings(reasons=reasons)
    (changed,), _ = other.datagrams([json.dumps(call(params=params)).encode()], [VISITOR])
    assert json.loads(changed)["result"]["sip_code"] == 580  # the config's codes hold here too
    (answer,) = datagram(json.dumps(call("explain", params)).encode())
    assert answer["result"]["cut"] is True
    assert answer["result"]["candidates"][0]["account_id"] == 3


@pytest.mark.parametrize(
    "text",
    [rb"\ud800", rb"\udcff", rb"a\\\udcffb", rb"\ud83d\ud83d", rb"\ud83d\\ude00", rb"\udE00\uD83D"],
    ids=repr,
)
def test_half_a_surrogate_pair_spoils_nothing_but_its_own_value(text: bytes) -> None:
    odd = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_ip":"10.0.0.5","dst_number":"44",%b}}'
    number = odd % (b'"src_number":"%b"' % text)
    assert ask(number)["result"]["account_id"] == 1  # an invalid src_number counts as absent (engine.md 2.1)
    assert "src_number" not in ask(number)["result"]
    assert ask(odd % (b'"colour":"%b"' % text))["result"]["account_id"] == 1
    assert ask(odd % (b'"name":"%b"' % text))["result"]["account_id"] == 1
    unusable = ask(odd % (b'"direction":"%b"' % text))["result"]
    assert (unusable["reason"], unusable["field"]) == ("invalid_request", "direction")
    wrong = ask(odd % (b'"leg_id":7,"name":"%b"' % text))["error"]
    assert (wrong["code"], wrong["data"]["field"]) == (PARAMS, "leg_id")
    batch = ask(b"[" + number + b"," + odd % b'"leg_id":"x"' + b"]")
    assert [answer["result"]["account_id"] for answer in batch] == [1, 1]


def test_an_id_is_never_altered() -> None:
    message = b'{"jsonrpc":"2.0","id":"%b","method":"%b"}'
    for method in (b"ping", b"authorize"):
        wrong = ask(message % (rb"a\ud800", method))
        assert (wrong["id"], wrong["error"]["code"]) == (None, INVALID)
        assert ask(message % (rb"a\ufffd", method))["id"] == "a\ufffd"


def test_whole_pairs_and_escaped_backslashes_stay_as_they_are() -> None:
    message = (
        rb'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"direction":"\ud83d\ude00\\ud800\udc00\ud800"}}'
    )
    assert ask(message)["result"]["value"] == "\U0001f600\\ud800\ufffd\ufffd"


def test_explanations_are_few_at_once() -> None:
    many = [call("explain", GOOD, id=n) for n in range(MAX_EXPLAINS + 3)]
    (line,), _ = responder().stream(JSON, [json.dumps(many).encode()], VISITOR)
    answers = json.loads(line)
    assert [answer["id"] for answer in answers] == list(range(len(many)))
    assert all("result" in answer for answer in answers[:MAX_EXPLAINS])
    assert [answer["error"]["code"] for answer in answers[MAX_EXPLAINS:]] == [-32002] * 3


def test_a_value_that_is_given_back_stays_on_one_line() -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_ip":[\n1,\r\n "a b"]}}'
    assert ask(message)["error"]["data"] == {"field": "src_ip", "value": [1, "a b"]}


def test_a_stream_ends_with_the_message_that_cannot_be_parsed() -> None:
    ping = json.dumps(call("ping")).encode()
    answers, broken = responder().stream(JSON, [ping, b"{]", ping], VISITOR)
    assert broken
    lines = [json.loads(line) for line in answers]
    assert [line.get("error", {}).get("code") for line in lines] == [None, PARSE]


def test_a_stream_that_went_wrong_between_messages() -> None:
    ping = json.dumps(call("ping")).encode()
    answers, broken = responder().stream(JSON, [ping], VISITOR, "a message of more than 9 bytes")
    assert broken
    assert [json.loads(line).get("error") for line in answers] == [
        None,
        {"code": PARSE, "message": "not parsable: a message of more than 9 bytes"},
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
    # What JSON writes as a number MessagePack may not take, of 64 bits as its are.
    with contextlib.suppress(OverflowError):
        (over_stream, _), (packed_stream, _) = (
            responder().stream(codec, [raw], VISITOR)
            for raw, codec in ((written, JSON), (msgspec.msgpack.encode(message), MESSAGEPACK))
        )
        assert [json.loads(one) for one in over_stream] == [msgspec.msgpack.decode(one) for one in packed_stream]
    for answer in datagram(written) if codec_of(written) is JSON else []:
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)
            assert "id" in one


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_answered_in_form(message: bytes) -> None:
    # hypothesis may well find a message that is one: it knows the texts of this file.
    for answer in datagram(message):
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)
