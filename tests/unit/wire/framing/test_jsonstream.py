"""The framer of JSON streams: the same messages wherever the reads cut the bytes, up to the first error."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.wire.framing import jsonstream
from identengine.wire.framing.jsonstream import MAX_DEPTH, JsonStream

LIMIT = 4096


def cut(*pieces: bytes, limit: int = LIMIT) -> tuple[list[bytes], str | None, bool]:
    """Return the messages, the error, and True if a message is pending after these pieces."""
    stream = JsonStream(limit)
    messages = [message for piece in pieces for message in stream.feed(piece)]
    return messages, stream.error, stream.error is None and stream.pending


def bytewise(data: bytes, limit: int = LIMIT) -> tuple[list[bytes], str | None, bool]:
    return cut(*(data[at : at + 1] for at in range(len(data))), limit=limit)


STREAMS = [
    b'{"a":1}',
    b'{"a":1}\n{"b":2}\n',
    b'{"a":1}{"b":2}[3]',
    b' \r\n\t{"a":{"b":{"c":{"d":{"e":[]}}}}} \n [[[[[[]]]]]]',
    b'{"a":"}{][\\"\\\\"}[",\\u007d]"]',
    b'{"a":"\\\\"}{"b":"\\\\\\""}',
    b'{"half":"\\',
    b'{"half',
    b"[1,2",
    b"[]x{}",
    b"x",
    b"{}]",
    b'"text"',
    b"5",
    b"{]",
    b"[" * 70,
    b"[[[[[[" * 3 + b"]]]]]]" * 3 + b"{}",
    b'{"utf-8":"\xc3\xa9\xff"}{}',
    b"\x00{}",
    b"\xef\xbb\xbf{}",
    b"",
    b"  \n ",
]


@pytest.mark.parametrize("data", STREAMS)
def test_cut_at_each_place_gives_the_same(data: bytes) -> None:
    whole = cut(data)
    assert bytewise(data) == whole
    for place in range(len(data)):
        assert cut(data[:place], data[place:]) == whole


def test_messages_without_the_space_around_them() -> None:
    assert cut(b' {"a": [1, 2]} \n[3]\r\n')[0] == [b'{"a": [1, 2]}', b"[3]"]


def test_brackets_and_escapes_in_strings_do_not_count() -> None:
    messages = [rb'{"a":"}"}', rb'["\"]","\\"]', rb'{"\\\"{":1}', rb'["[[[[[[[[["]']
    assert cut(b"".join(messages))[0] == messages


def test_what_came_before_the_bad_spot_is_given_out() -> None:
    messages, error, _ = cut(b'{"a":1}{"b":2}nonsense{"c":3}')
    assert messages == [b'{"a":1}', b'{"b":2}']
    assert error == 'expected { or [ at the beginning of a message, got "n"'


def test_nothing_after_the_bad_spot() -> None:
    assert cut(b"x", b'{"a":1}')[0] == []


@pytest.mark.parametrize("pad", [100, 98])
def test_message_size_limit_counts_the_message_alone(pad: int) -> None:
    message = b'["' + b"x" * (pad - 4) + b'"]'
    messages, error, _ = cut(b"  " + message + b"  ", limit=98)
    assert (messages, error) == (
        ([message], None) if pad <= 98 else ([], "expected a message of at most 98 bytes, got a larger one")
    )


def test_too_large_is_seen_before_the_end() -> None:
    assert cut(b"[" + b"1," * 60, limit=100)[1] == "expected a message of at most 100 bytes, got a larger one"


def test_depth_limit() -> None:
    fits = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert cut(fits)[0] == [fits]
    assert cut(b"[" + fits + b"]")[1] == f"expected at most {MAX_DEPTH} levels of brackets, got more"


def test_pending() -> None:
    stream = JsonStream(LIMIT)
    seen = [stream.pending]
    for piece in (b" \n", b'{"a"', b":1}"):
        stream.feed(piece)
        seen.append(stream.pending)
    assert seen == [False, False, True, False]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
containers = st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4)


@given(
    st.lists(containers, max_size=6),
    st.sampled_from([b"", b"\n", b" \r\n"]),
    st.booleans(),
    st.lists(st.integers(0, 4000), max_size=6),
)
def test_any_messages_any_cuts(contents: list[object], gap: bytes, ascii_only: bool, cuts: list[int]) -> None:
    messages = [json.dumps(content, ensure_ascii=ascii_only).encode() for content in contents]
    data = gap.join(messages)
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert cut(*pieces, limit=1 << 20)[0] == messages
    assert bytewise(data, limit=1 << 20)[0] == messages


@given(st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"x", b" "]), max_size=40), st.data())
def test_any_bytes_any_cut(tokens: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(tokens)
    place = draw.draw(st.integers(0, len(data)))
    assert cut(data[:place], data[place:]) == cut(data) == bytewise(data)


@pytest.mark.parametrize("step", [7, 1 << 30], ids=["7 bytes each", "at once"])
@pytest.mark.parametrize(
    "message",
    [
        lambda n: b'{"a":"' + b"x" * n + b'"}',
        lambda n: b'{"a":"' + b"\\n" * (n // 2) + b'"}',
        lambda n: b"[" + b"1," * (n // 2) + b"1]",
        lambda n: b"[" + b"[[[[[]]]]]," * (n // 11) + b"1]",
        lambda n: b'["' + b'","' * (n // 3) + b'"]',
        lambda n: b"[[[[[]]]]]" * (n // 10),
    ],
    ids=["long string", "escapes", "numbers", "nested", "strings", "deep messages"],
)
def test_cost_is_linear(message: Callable[[int], bytes], step: int) -> None:
    def cost(data: bytes) -> float:
        stream = JsonStream(1 << 24)
        began = time.thread_time()
        for at in range(0, len(data), step):
            stream.feed(data[at : at + step])
        assert not stream.pending
        return time.thread_time() - began

    few, many = message(100_000), message(800_000)
    # Eight times the bytes take 8 times the processor time if it is linear, and 64 times if it is quadratic.
    assert min(cost(many) for _ in range(3)) < 30 * min(cost(few) for _ in range(3))


REQUEST_PARTS = (b"{", b"}", b'"', b'""', b'"{"', b'"}"', b'{"a":{', b"}}", b"x", b" ", b"\n", b"[", b"\\")


def test_streams_of_requests_are_cut_as_other_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests whose strings have no brackets are cut by their brackets. All other reads must not be."""
    streams = [b"".join(parts) for size in range(4) for parts in itertools.product(REQUEST_PARTS, repeat=size)]
    requests = [
        b'{"a":{%b}}' % inner for inner in (b"", b'"b":1', b'"}":1', b'"{":1', b'"\\"":1', b'"b":""', b"{}")
    ]
    streams += [b"".join(parts) for parts in itertools.product((*requests, b"\n", b"x"), repeat=4)]
    found = [cut(stream) for stream in streams]
    monkeypatch.setattr(jsonstream, "_requests", lambda _: None)
    assert [cut(stream) for stream in streams] == found


def test_the_size_limit_counts_each_request() -> None:
    request = b'{"a":{"b":"%b"}}' % (b"x" * 86)
    assert cut(request * 5, limit=len(request)) == ([request] * 5, None, False)
    found, error, _ = cut(request * 2 + b" " + request[:-2] + b"x}}", limit=len(request))
    assert found == [request] * 2
    assert "at most 100 bytes" in str(error)
