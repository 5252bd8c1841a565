"""Ids, notifications and arrays of JSON-RPC, which are the same over every wire (interfaces.md 3)."""

from __future__ import annotations

import pytest
from conformance.served import all_of, outcome
from conformance.steps import from_ip
from support.switch import WIRES, Switch, call

_ASKS: list[tuple[str, dict[str, object]]] = [
    ("ping", {}),
    ("authorize", from_ip("1")),
    ("stop", {"call_id": 5.5}),
    ("no", {}),
]


@pytest.mark.parametrize(
    "message_id",
    [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, -0.25, "", "1", "é ~ 电话", None, "x" * 200],
)
def test_ids_keep_their_type(switch: Switch, message_id: object) -> None:
    for method, params in _ASKS:
        answer = switch.exchange(method, params, message_id)
        assert answer["id"] == message_id
        assert type(answer["id"]) is type(message_id)


@pytest.mark.parametrize("message_id", [True, [], ["x"], {}, {"x": 1}, "x" * 300])
def test_other_ids_are_refused(switch: Switch, message_id: object) -> None:
    answer = switch.exchange("ping", {}, message_id)
    assert answer["id"] is None
    assert answer["error"]["code"] == -32600


def test_notifications(switch: Switch) -> None:
    notes = [
        call("authorize", ..., call_id="n", **from_ip("1")),
        call("start", ..., call_id="n"),
        call("authorize", ..., src_ip=5),
        call("no such", ...),
        call("stop", ...),
        [call("ping", ...), call("identify", ..., **from_ip("1"))],
    ]
    switch.send(*notes)
    assert switch.is_drained()
    assert switch.exchange("stop", {"call_id": "n"})["result"] == {"ok": True, "freed": 1}


def test_what_is_no_request(switch: Switch) -> None:
    good = call("ping")
    wrong: list[object] = [
        {},
        [],
        {"id": 5},
        good | {"jsonrpc": "1.0"},
        good | {"method": 5},
        good | {"params": "x"},
        good | {"params": ["x"]},
        call("authorize") | {"params": ["10.0.0.1"]},
    ]
    codes = []
    for message in wrong:
        switch.send(message)
        codes.append(switch.receive()["error"]["code"])
    assert codes == [-32600] * 5 + [-32602] * 3


def test_an_answer_is_not_answered(switch: Switch) -> None:
    switch.send({"jsonrpc": "2.0", "id": 1, "result": {}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}})
    assert switch.is_drained()


def test_arrays(switch: Switch) -> None:
    many: list[object] = [
        call("ping", 1),
        call("ping", ...),
        call("no", "2"),
        3,
        call("authorize", 4.5, **from_ip("1")),
        [call("ping")],
        call("stop", None, call_id=5.5),
    ]
    switch.send(many)
    answers = all_of(switch, 6)
    assert [answer["id"] for answer in answers] == [1, "2", None, 4.5, None, None]
    assert [outcome(answer).get("code") for answer in answers] == [None, -32601, -32600, None, -32600, -32602]
    assert answers[3]["result"]["account_id"] == 1
    assert switch.is_drained()


def test_calls_within_an_array_are_decided_in_order(switch: Switch) -> None:
    lives = [
        call("authorize", 1, call_id="x", **from_ip("8")),
        call("authorize", 2, call_id="y", **from_ip("8")),
        call("stop", 3, call_id="x"),
        call("authorize", 4, call_id="y", **from_ip("8")),
        call("stop", 5, call_id="y"),
    ]
    switch.send(lives)
    results = [answer["result"] for answer in all_of(switch, 5)]
    assert [result.get("accepted", result.get("freed")) for result in results] == [True, False, 1, True, 1]


@pytest.mark.parametrize(("count", "fits"), [(1000, True), (1001, False)])
def test_the_largest_array(switch: Switch, count: int, fits: bool) -> None:
    switch.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}] * count)
    if fits:
        assert [one["id"] for one in all_of(switch, count)] == [1] * count
    else:
        assert switch.receive()["error"]["code"] == -32600


def test_of_an_array_of_wrong_messages_some_are_complained_of(switch: Switch) -> None:
    switch.send([{}] * 1000)
    answers = all_of(switch, 18)
    assert [one["error"]["code"] for one in answers] == [-32600] * 18
    assert "skipped" in answers[-1]["error"]["message"]


def test_more_explanations_than_are_given_at_once(switch: Switch) -> None:
    switch.send([call("explain", n, **from_ip("1")) for n in range(20)])
    codes = [outcome(answer).get("code") for answer in all_of(switch, 20)]
    assert codes == [None] * 16 + [-32002] * 4


@pytest.mark.parametrize("switch", [w for w in WIRES if w.encoding == "json"], ids=lambda w: w.name, indirect=True)
@pytest.mark.parametrize("written", ["1", "1.0", '"1"', "null", "12345678901234567890123"])
def test_ids_in_json_are_answered_as_they_were_written(switch: Switch, written: str) -> None:
    switch.send(switch.framed(f'{{"jsonrpc":"2.0","id":{written},"method":"ping"}}'.encode()))
    assert switch.receive_raw().startswith(b'{"jsonrpc":"2.0","id":%b,' % written.encode())


GARBAGE = {
    "json": [b"{]", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'],
    "msgpack": [b"\xc1", b"\x81\xa1", b"\xdd\xff\xff\xff\xff\x01"],
}


@pytest.mark.parametrize("switch", [w for w in WIRES if w.transport == "udp"], ids=lambda w: w.name, indirect=True)
def test_a_datagram_that_cannot_be_parsed(switch: Switch) -> None:
    """A connection is closed in this case: see test_streams.py."""
    for garbage in GARBAGE[switch.wire.encoding]:
        switch.send(garbage, call("ping", 2))
        wrong, ping = switch.answers(2)
        assert (wrong["id"], wrong["error"]["code"], ping["id"]) == (None, -32700, 2)
