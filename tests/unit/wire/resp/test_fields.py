"""The fields of commands: a usual command and one that is read field by field give the same parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.model.records import CallList, CallRequest, Digest, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.resp.fields import (
    UNREADABLE,
    BadFieldError,
    call_list,
    call_request,
    request,
    usual_call,
    usual_request,
)
from identengine.wire.resp.framer import message_of

NAMES = ["call_id", "leg_id", "direction", "account_id", "src_ip", "src_port", "name", "password", "src_number",
         "dst_number", "interval", "unknown", "digest", "digest.realm", "calls", ""]  # fmt: skip
VALUES = [b"", b"1", b"0", b"70000", b"44", b"a|b", b"a=b", b"|", b"x" * 300, b"\xff", b"a b", b"\n", b'"', b"\\",
          b"\0", "é".encode()]  # fmt: skip
argument = st.builds(
    lambda name, value: name.encode() + b"=" + value,
    st.sampled_from(NAMES),
    st.sampled_from(VALUES) | st.binary(max_size=6),
)
commands = st.lists(argument | st.just(b"nothing"), min_size=1, max_size=5)


@given(commands | commands.map(lambda found: [b"|".join(found)]))
def test_both_ways_read_the_same(fields: list[bytes]) -> None:
    message = message_of([b"X", *fields])
    if message[:1] == b"*":
        return
    joined = message.partition(b'","')[2]
    for usual, slow in ((usual_request, request), (usual_call, call_request)):
        try:
            found = usual(joined)
        except UNREADABLE:
            continue
        assert found == slow(fields)
        assert type(found) is type(slow(fields))


def test_a_usual_command() -> None:
    fields = [b"call_id=a|b", b"src_ip=10.0.0.5", b"src_port=5060", b"dst_number=44", b"x=y"]
    found = usual_request(b'","'.join(fields))
    assert found == UsualRequest(call_id="a|b", src_ip="10.0.0.5", src_port=5060, dst_number="44")
    single = usual_call(b"call_id=a|interval=60|direction=origination")
    assert (single.call_id, single.interval, single.direction) == ("a", 60, "origination")
    assert isinstance(single, UsualCallRequest)


def test_a_value_begins_after_the_first_equals_sign() -> None:
    assert request([b"call_id=a=b=c"]).call_id == "a=b=c"


def test_a_single_argument_holds_several_fields() -> None:
    assert request([b"call_id=a|src_number=33|dst_number=44"]) == UsualRequest(
        call_id="a", src_number="33", dst_number="44"
    )
    assert request([b"call_id=a|b", b"dst_number=44"]).call_id == "a|b"


def test_a_value_of_a_single_argument_cannot_replace_a_field() -> None:
    raw = b"call_id=a|src_number=33|src_ip=10.9.9.9|src_ip=10.0.0.5"
    with pytest.raises(UNREADABLE):
        usual_request(raw)
    with pytest.raises(BadFieldError, match=r"^src_ip: expected each field once in a single argument"):
        request([raw])


@pytest.mark.parametrize("fields", [[b"call_id"], [b"call_id=a", b"b"], [b"a=b|c"], [b""]])
def test_an_argument_without_equals_sign(fields: list[bytes]) -> None:
    with pytest.raises(BadFieldError, match=r"^argument \d: expected field=value"):
        request(fields)


def test_bytes_that_are_not_utf_8() -> None:
    assert request([b"name=\xff"]).name == "�"
    with pytest.raises(BadFieldError, match=r"^call_id: expected UTF-8"):
        request([b"call_id=\xff"])


def test_fields_of_other_methods_are_ignored() -> None:
    foreign = [b"calls=[", b"list_id=\xff", b"confirm_empty=maybe", b"call_id=a"]
    for fields in (foreign, [b"|".join(foreign + foreign[:3])]):
        assert request(fields) == UsualRequest(call_id="a")
        assert call_request(fields).call_id == "a"
    assert call_list([b"list_id=1", b"call_id=\xff", b"digest=x", b"interval=y"]) == CallList(list_id="1")


def test_a_digest() -> None:
    plain = request([b"digest.username=u", b"digest.realm=r=1", b"digest.response=0"])
    assert plain.digest == Digest(username="u", realm="r=1", response="0")
    assert request([b'digest={"username":"u"}']).digest == Digest(username="u")
    for wrong in (b"digest=x", b'digest={"username":1}', b"digest=[]"):
        with pytest.raises(BadFieldError, match=r"^digest: expected a JSON object of texts"):
            request([wrong])


def test_no_error_quotes_a_value() -> None:
    for wrong in ([b"password=hush", b"hush"], [b"digest=hush"], [b"password=hush|password=hush"]):
        with pytest.raises(BadFieldError) as error:
            request(wrong)
        assert "hush" not in str(error.value)


def test_values_that_are_not_usual() -> None:
    found = call_request([b"call_id=a", b"interval=soon", b"src_port=x"])
    assert found == CallRequest(call_id="a", interval="soon", src_port="x")
    assert type(request([b"src_port=70000"])) is Request


def test_a_list_of_calls() -> None:
    several = b'calls=[["b"],["c",null,"termination"]]'
    found = call_list([b"list_id=1", b"part=1", b"parts=2", b"calls=plain", b'calls=["a","l"]', several])
    calls = [("plain",), ("a", "l"), ("b",), ("c", None, "termination")]
    assert found == CallList(list_id="1", part="1", parts="2", calls=calls)
    assert call_list([b"confirm_empty=yes", b"calls="]) == CallList(confirm_empty=True, calls=[])
    assert call_list([b"calls=a|calls=b"]).calls == [("a",), ("b",)]
    for wrong in (b"calls=[1]", b"calls=[[1]]", b"calls=[" * 900, b'calls=["a",["b"]]'):
        with pytest.raises(BadFieldError, match=r"^calls: expected a call id, or JSON"):
            call_list([wrong])
    with pytest.raises(BadFieldError, match=r"^confirm_empty: expected true or false"):
        call_list([b"confirm_empty=maybe"])
