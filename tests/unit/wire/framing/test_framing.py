"""Netstrings and length-prefixed messages: the same messages and errors wherever the reads cut the bytes."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.engine.core import Engine
from identengine.wire.deferred import DeferredCount
from identengine.wire.framing import Framer
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.netstring import Netstrings
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.framings import framings
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.session import Session

LIMIT = 4096


def cut(kind: type[Netstrings | Prefixed], *pieces: bytes) -> tuple[list[bytes], str | None, bool]:
    """Return the messages, the error, and True if a message is pending after these pieces."""
    framer = kind(LIMIT)
    messages = [message for piece in pieces for message in framer.feed(piece)]
    return messages, framer.error, framer.error is None and framer.pending


@pytest.mark.parametrize(
    ("data", "messages", "error", "pending"),
    [
        (b"2:{},", [b"{}"], None, False),
        (b"2:{},4:[{}],0:,", [b"{}", b"[{}]", b""], None, False),
        (b"2:{}", [], None, True),
        (b"12", [], None, True),
        (b"2:{},3", [b"{}"], None, True),
        (b"2:{};", [], "comma", False),
        (b"2:{}}", [], "comma", False),
        (b"02:{},", [], 'a length in digits and a colon before a netstring, got "0"', False),
        (b":{},", [], 'got ":"', False),
        (b"2:{},\x16", [b"{}"], "got byte 0x16", False),
        (b"2 :{},", [], "digits", False),
        (b"-2:{},", [], "digits", False),
        (b"2:{},x", [b"{}"], "digits", False),
        (b"2:{},\n", [b"{}"], "digits", False),
        (b"4096:" + b"x" * 4096 + b",", [b"x" * 4096], None, False),
        (b"4097:", [], "at most 4096 bytes", False),
        (b"99999999999999999999999999", [], "at most 4096 bytes", False),
        (b"4097{:", [], "at most 4096 bytes", False),
        (b"409{:", [], 'got "{"', False),
        ("٣:abc,".encode(), [], "digits", False),
    ],
)
def test_netstrings(data: bytes, messages: list[bytes], error: str | None, pending: bool) -> None:
    found = cut(Netstrings, data)
    assert found[0] == messages
    assert (found[1] is None) == (error is None)
    assert error is None or error in (found[1] or "")
    assert found[2] == pending
    assert cut(Netstrings, *(data[at : at + 1] for at in range(len(data))))[:2] == found[:2]
    for place in range(0, len(data), max(1, len(data) // 50)):
        assert cut(Netstrings, data[:place], data[place:])[:2] == found[:2]


@pytest.mark.parametrize(
    ("data", "messages", "error", "pending"),
    [
        (b"\0\0\0\1\x80", [b"\x80"], None, False),
        (b"\0\0\0\1\x80\0\0\0\0\0\0\0\2ab", [b"\x80", b"", b"ab"], None, False),
        (b"\0\0\0\1", [], None, True),
        (b"\0\0", [], None, True),
        (b"\0\0\x10\0" + b"x" * 4096, [b"x" * 4096], None, False),
        (b"\0\0\x10\1", [], "at most 4096 bytes", False),
        (b"\0\0\0\1\x80\xff\xff\xff\xff", [b"\x80"], "at most 4096 bytes", False),
    ],
)
def test_prefixed(data: bytes, messages: list[bytes], error: str | None, pending: bool) -> None:
    found = cut(Prefixed, data)
    assert found[0] == messages
    assert error is None or error in (found[1] or "")
    assert (found[1] is None) == (error is None)
    assert found[2] == pending
    assert cut(Prefixed, *(data[at : at + 1] for at in range(len(data))))[0] == messages


@given(
    st.lists(st.binary(max_size=300), max_size=10), st.integers(0, 2**32), st.sampled_from([Netstrings, Prefixed])
)
def test_what_is_framed_comes_out_however_it_is_cut(
    messages: list[bytes], seed: int, kind: type[Netstrings | Prefixed]
) -> None:
    rng = random.Random(seed)
    stream = b"".join(map(kind(LIMIT).frame, messages))
    pieces = []
    while stream:
        size = rng.randrange(1, 40)
        pieces.append(stream[:size])
        stream = stream[size:]
    assert cut(kind, *pieces) == (messages, None, False)


@given(st.binary(max_size=100), st.integers(0, 99), st.sampled_from([Netstrings, Prefixed]))
def test_any_bytes_give_the_same_whole_and_cut(data: bytes, place: int, kind: type[Netstrings | Prefixed]) -> None:
    assert cut(kind, data[:place], data[place:])[:2] == cut(kind, data)[:2]


def test_nothing_is_given_out_behind_an_error() -> None:
    framer = Netstrings(LIMIT)
    assert framer.feed(b"x") == []
    assert framer.feed(b"2:{},") == []
    assert framer.error is not None


@pytest.mark.parametrize("kind", [Netstrings, Prefixed])
def test_cost_is_linear_in_the_bytes(kind: type[Netstrings | Prefixed]) -> None:
    def cost(size: int) -> float:
        framer = kind(1 << 24)
        data = framer.frame(b"x" * size)
        began = time.thread_time()
        count = sum(len(framer.feed(data[at : at + 16])) for at in range(0, len(data), 16))
        assert count == 1
        return time.thread_time() - began

    # Eight times the bytes take 8 times the processor time if it is linear, and 64 times if it is quadratic.
    assert min(cost(800_000) for _ in range(3)) < 30 * min(cost(100_000) for _ in range(3))


def test_the_first_byte_decides() -> None:
    chosen_by = framings(Responder(Engine(), lambda: 1.0, print)).chosen_by

    def framed(first: int) -> type[Framer]:
        return type(chosen_by(first).framer(LIMIT))

    def spoken(first: int) -> Codec:
        """Return the encoding in which the responder of a framing reports an empty message."""
        session, owed = Session("127.0.0.1", None), DeferredCount()
        (answer,), broken = chosen_by(first).responder()([b""], session, None, print, owed, False)
        assert broken
        return JSON if b"not parsable as JSON" in answer else MESSAGEPACK

    assert framed(0) is Prefixed
    assert spoken(0) is MESSAGEPACK
    for digit in b"0123456789":
        assert framed(digit) is Netstrings
        assert spoken(digit) is JSON
    for byte in b"{[ \n*A\xff\x80":
        assert framed(byte) is JsonStream
        assert spoken(byte) is JSON
