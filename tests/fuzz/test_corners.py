"""Corner cases of JSON and MessagePack, by hand, as the value of a member in every place of a message.

Invariant: bytes that are not a value never lead to a result. A value in a member that is not read changes nothing.
The next right message has the right answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fuzz.subject import PLAIN, Subject, check, decoded, session, subject

from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec

JSON_VALUES = (
    b"null",
    b"true",
    b"false",
    b"0",
    b"-0",
    b"-0.0",
    b"1E+2",
    b"0e0",
    b"0E-10",
    b"123456789012345678901234567890",
    b"-" + b"9" * 300,
    b"1e-999",
    b"0." + b"1" * 500,
    b'""',
    b'"\\u0000"',
    b'"\\""',
    b'"\\\\"',
    b'"\\/"',
    b'"\\b\\f\\n\\r\\t"',
    b'"\\uD834\\udD1e"',
    b'"\\u2028\\uFFFF"',
    b'"\xf4\x8f\xbf\xbf"',
    b'"\xef\xbb\xbf"',
    b'"\x7f"',
    b'"[{]},:"',
    b'"\\\\\\""',
    b"[]",
    b"[ ]",
    b"{}",
    b"[[]   ]",
    b"[1\r\n,\t2]",
    b'{"":0}',
    b'{"a":1,"a":2}',
    b'{"a":{"a":{"a":[]}}}',
    b'{"\\u0000":1}',
    b"[" * 50 + b"]" * 50,
    b'"' + b"x" * 60_000 + b'"',
    b'"' + b"\\\\" * 10_000 + b'"',
)
"""JSON of RFC 8259, within 64 levels."""
JSON_HALVES = (
    b'"\\ud800"',
    b'"\\uDc00"',
    b'"\\ud800\\ud800"',
    b'"a\\udfffb"',
    b'"\\ud83d\\\\ude00"',
    b'{"\\udead":1}',
)
"""JSON with half of a surrogate pair, which is repaired."""
NO_JSON = (
    b"",
    b" ",
    b"nul",
    b"True",
    b"NaN",
    b"-Infinity",
    b"undefined",
    b"01",
    b"-01",
    b"-",
    b"+1",
    b".1",
    b"1.",
    b"1.e1",
    b"1e",
    b"1e+",
    b"0x1",
    b"1_000",
    b"1 000",
    b"\xd9\xa3",
    b"\xef\xbc\x91",
    b"'a'",
    b'"',
    b'"a',
    b'"\\',
    b'"\\"',
    b'"\\x41"',
    b'"\\u"',
    b'"\\u00"',
    b'"\\u00G0"',
    b'"\\U0041"',
    b'"\\\x00"',
    b'"\t"',
    b'"\n"',
    b'"\x00"',
    b'"\x1f"',
    b"[",
    b"[1",
    b"[1,",
    b"[,1]",
    b"[1,]",
    b"[1,,2]",
    b"[1 2]",
    b"[1:2]",
    b"[}",
    b"{",
    b'{"a"',
    b'{"a":',
    b'{"a":}',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a" 1}',
    b'{"a":1 "b":2}',
    b"{a:1}",
    b"{1:1}",
    b"{null:1}",
    b"{]",
    b"1//x",
    b"/**/1",
    b"\x0c1",
    b"\xa01",
    b"\xe2\x80\x831",
    b"\xef\xbb\xbf1",
    b"\x00",
    b"1\x00",
    b"<null>",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[" * 100_000 + b"]" * 100_000,
)
"""Bytes that are not JSON, or nested too deeply."""
NO_UTF8 = (b'"\xff"', b'"\xc0\x80"', b'"\xe2\x82"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\x80"', b'"\xfe"')
"""Texts that are not UTF-8."""
MESSAGEPACK_VALUES = (
    b"\xc0",
    b"\x00",
    b"\xe0",
    b"\xcc\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xca\x7f\x80\x00\x00",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
    b"\xa0",
    b"\xd9\x00",
    b"\xda\x00\x01a",
    b"\xdb\x00\x00\x00\x01a",
    b"\xc4\x00",
    b"\xc5\x00\x02\xff\xfe",
    b"\xc6\x00\x00\x00\x01\x00",
    b"\x90",
    b"\xdc\x00\x00",
    b"\xdd\x00\x00\x00\x01\xc0",
    b"\x80",
    b"\x81\x01\x02",
    b"\x81\xc0\xc0",
    b"\x81\xa1a\xc0",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\xde\x00\x01\xa1a\x01",
    b"\xdf\x00\x00\x00\x00",
    b"\xd4\x05\x00",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xc7\x00\x01",
    b"\x91" * 50 + b"\xc0",
    b"\x81\xa1a" * 50 + b"\xc0",
)
"""MessagePack."""
NO_MESSAGEPACK = (
    b"",
    b"\xc1",
    b"\xcc",
    b"\xcd\x00",
    b"\xcf\x00",
    b"\xca\x00",
    b"\xa1",
    b"\xd9\xff",
    b"\xda\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc4\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x9f",
    b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\x8f",
    b"\xde\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x81\xa1a",
    b"\x81\xc1\xc0",
    b"\xd4",
    b"\xc7\xff\x01",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x91" * 100_000,
    b"\x91" * 100_000 + b"\xc0",
    b"\x81\xa1a" * 100_000 + b"\xc0",
    b"\xdd\x7f\xff\xff\xff" * 1000,
)
"""Bytes that are not MessagePack, or nested too deeply."""

CODECS = {"JSON": JSON, "MessagePack": MESSAGEPACK}
VALUES = {"JSON": (*JSON_VALUES, *JSON_HALVES), "MessagePack": MESSAGEPACK_VALUES}
OTHERS = {"JSON": (*NO_JSON, *NO_UTF8), "MessagePack": NO_MESSAGEPACK}
MARK = "the place"


@pytest.fixture(scope="module")
def asked() -> Iterator[Subject]:
    with subject() as made:
        yield made


@pytest.mark.parametrize("name", CODECS)
def test_a_value_in_a_member_that_is_not_read_changes_nothing(asked: Subject, name: str) -> None:
    codec = CODECS[name]
    for value in VALUES[name]:
        for place in ("x", "params.x"):
            (answer,) = answers(asked, codec, message(codec, place, value))
            assert answer["id"] == "known", value[:40]
            assert answer["result"]["account_id"] == 18, value[:40]


@pytest.mark.parametrize("name", CODECS)
def test_any_value_in_any_place(asked: Subject, name: str) -> None:
    codec = CODECS[name]
    for value in (*VALUES[name], *OTHERS[name]):
        for place in PLACES:
            for found in answers(asked, codec, message(codec, place, value)):
                assert found["id"] in ("known", None) or place == "id"
        answers(asked, codec, value)
        answers(asked, codec, codec.array([value, message(codec, "x", value)]))


@pytest.mark.parametrize("name", CODECS)
def test_bytes_that_are_not_a_value_lead_to_no_result(asked: Subject, name: str) -> None:
    codec = CODECS[name]
    for value in OTHERS[name]:
        if value in NO_UTF8:  # a text that is not read is not checked
            continue
        for place in PLACES:
            for found in answers(asked, codec, message(codec, place, value)):
                assert "result" not in found, value[:40]


PLACES = (
    "x",
    "jsonrpc",
    "id",
    "method",
    "params",
    "params.x",
    "params.name",
    "params.account_id",
    "params.digest",
)


def answers(asked: Subject, codec: Codec, raw: bytes) -> list[dict[str, Any]]:
    """Return the answers to a message, after a check that the next one is answered right."""
    found, _ = asked.responder.stream(codec, [raw], session(PLAIN))
    asked.sound()
    asked.answers_good(codec, 1, session(PLAIN))
    return [one for answer in found for one in check(decoded(codec, answer))]


def message(codec: Codec, place: str, value: bytes) -> bytes:
    """Return a right message with encoded bytes as the value of one member."""
    params: dict[str, Any] = {"src_ip": "10.0.0.18", "dst_number": "44171"}
    parts: dict[str, Any] = {"jsonrpc": "2.0", "id": "known", "method": "identify", "params": params}
    above, _, name = place.rpartition(".")
    (params if above else parts)[name] = MARK
    return codec.encode(parts).replace(codec.encode(MARK), value)
