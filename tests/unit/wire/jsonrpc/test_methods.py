"""The table of methods: all lists of methods agree with it, and answers are decoded as they were encoded."""

from __future__ import annotations

import json
from typing import get_args, get_type_hints

import msgspec
import pytest

from identengine.calls.backend import LegResult
from identengine.client import BlockingClient, Client
from identengine.engine.requests import Method
from identengine.server.http.openapi import document
from identengine.stats import registry
from identengine.wire.codes import BAD_PARAMS
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.messages import Field, RequestMessage, ResponseMessage, Trouble
from identengine.wire.jsonrpc.methods import CALLS, METHODS, MethodSpec, with_text_ids

BOTH = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])


def decoded(codec: Codec, answer: bytes) -> ResponseMessage:
    decode = msgspec.json.decode if codec is JSON else msgspec.msgpack.decode
    return decode(answer, type=ResponseMessage)


def test_engine_and_counters_have_the_methods_of_the_table() -> None:
    assert set(METHODS) - set(get_args(Method)) == {"ping", "auth"}
    assert get_args(Method) == registry.METHODS


@pytest.mark.parametrize("spec", METHODS.values(), ids=METHODS)
def test_http_and_clients_have_the_methods_of_the_table(spec: MethodSpec) -> None:
    described = json.loads(document())["paths"].get(f"/v1/{spec.name}")
    assert (described is None) == spec.connection_only
    if described is not None:
        assert described["post"]["operationId"] == spec.name
        assert " ".join(described["post"]["description"].split()) == " ".join(spec.summary.split())
        assert ("requestBody" in described["post"]) == bool(spec.params.__struct_fields__)
        for client in (Client, BlockingClient):
            assert get_type_hints(getattr(client, spec.name))["return"] is spec.result


@BOTH
@pytest.mark.parametrize("name", METHODS)
def test_a_request_is_read_as_the_call_of_its_method(codec: Codec, name: str) -> None:
    params = METHODS[name].params()
    call = codec.call(codec.encode(RequestMessage(name, 7, params)))
    assert type(call) is CALLS[name]
    assert type(call.params) is METHODS[name].params
    assert bytes(call.id) == codec.encode(7)
    assert codec.call(codec.encode(RequestMessage(name, 7))).params is None
    wrong = codec.encode(RequestMessage(name, 7, ["by place"]))
    with pytest.raises(msgspec.ValidationError):
        codec.call(wrong)


@BOTH
def test_answers_are_read_as_they_are_written(codec: Codec) -> None:
    message_id, done = codec.encode(7), LegResult(True, freed=2)
    answer = decoded(codec, codec.answered(message_id, done))
    assert (answer.id, answer.error) == (7, None)
    assert bytes(answer.result) == codec.encode(done)
    shown = msgspec.Raw(codec.encode("wrong"))
    answer = decoded(codec, codec.error(message_id, BAD_PARAMS, "a message", Field("src_ip", shown)))
    assert (answer.id, bytes(answer.result)) == (7, b"")
    assert answer.error == Trouble(BAD_PARAMS, "a message", Field("src_ip", shown))
    assert decoded(codec, codec.error(b"", BAD_PARAMS, "no id")) == ResponseMessage(
        None, msgspec.Raw(), Trouble(BAD_PARAMS, "no id")
    )


@BOTH
@pytest.mark.parametrize("method", ["authorize", "identify", "explain", "start", "update", "stop"])
def test_integers_as_ids_are_their_decimal_text(method: str, codec: Codec) -> None:
    sent = {"jsonrpc": "2.0", "id": 1, "method": method}
    params = {"call_id": 2**63, "leg_id": -7}
    found = with_text_ids(codec.integer_ids(codec.encode(sent | {"params": params})))
    text = {name: str(value) for name, value in params.items()}
    assert found == codec.call(codec.encode(sent | {"params": text}))
    with pytest.raises(msgspec.ValidationError):
        codec.integer_ids(codec.encode(sent | {"params": {"call_id": True}}))


def test_a_list_of_calls_may_have_integers_as_ids() -> None:
    sent = {"jsonrpc": "2.0", "id": 1, "method": "sync"}
    numbers = {"list_id": 5, "calls": [[1, 2, "origination"], ["x", None], [3]]}
    texts = {"list_id": "5", "calls": [["1", "2", "origination"], ["x", None], ["3"]]}
    found = with_text_ids(JSON.integer_ids(JSON.encode(sent | {"params": numbers})))
    assert found == JSON.call(JSON.encode(sent | {"params": texts}))
