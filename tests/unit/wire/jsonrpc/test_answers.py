"""The encoding of answers: sizes of datagrams, surrogates, ids."""

from __future__ import annotations

import json

import pytest
from unit.wire.jsonrpc.harness import GOOD, INVALID, PARAMS, SHARED, VISITOR, ask, call, datagram, responder

from identengine.engine.settings import EngineSettings
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.wire.jsonrpc.codec import JSON


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
    assert json.loads(changed)["result"]["sip_code"] == 580  # the codes of the config apply here too
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
    wrong = ask(odd % (b'"leg_id":7.5,"name":"%b"' % text))["error"]
    assert (wrong["code"], wrong["data"]["field"]) == (PARAMS, "leg_id")
    batch = ask(b"[" + number + b"," + odd % b'"leg_id":"x"' + b"]")
    assert [answer["result"]["account_id"] for answer in batch] == [1, 1]


def test_an_id_is_never_altered() -> None:
    message = b'{"jsonrpc":"2.0","id":"%b","method":"%b"}'
    for method in (b"ping", b"authorize"):
        wrong = ask(message % (rb"a\ud800", method))
        assert (wrong["id"], wrong["error"]["code"]) == (None, INVALID)
        assert ask(message % (rb"a\ufffd", method))["id"] == "a\ufffd"
        odd, good = message % (rb"a\ud800", method), message % (rb"b\ufffd", method)
        assert [answer["id"] for answer in ask(b"[" + odd + b"," + good + b"]")] == [None, "b\ufffd"]


def test_whole_pairs_and_escaped_backslashes_stay_as_they_are() -> None:
    message = (
        rb'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"direction":"\ud83d\ude00\\ud800\udc00\ud800"}}'
    )
    assert ask(message)["result"]["value"] == "\U0001f600\\ud800\ufffd\ufffd"


def test_a_value_that_is_given_back_stays_on_one_line() -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"src_ip":[\n1,\r\n "a b"]}}'
    assert ask(message)["error"]["data"] == {"field": "src_ip", "value": [1, "a b"]}
