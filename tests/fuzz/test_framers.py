"""Framers: streams of messages, right or damaged, cut in any way.

Invariant: a stream gives the same messages and the same error if it comes whole, byte by byte or in random pieces.
A framer never holds more than one message and one read, and after an error it returns nothing.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import pytest
from fuzz.commands import array, command
from fuzz.messages import batch
from fuzz.mutation import mutated, pieces
from fuzz.rounds import Case, Rounds, rounds
from fuzz.values import to_json, to_messagepack

from identengine.wire.framing import Framer
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.netstring import Netstrings
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.resp.framer import Commands, arguments_of, message_of

LIMITS = (64, 1024, 65536)
FRAMERS: dict[str, Callable[[int], Framer]] = {
    "json": JsonStream,
    "netstring": Netstrings,
    "prefixed": Prefixed,
    "resp": Commands,
}
BYTE_BY_BYTE = 6000
"""Longest stream that is fed byte by byte, in bytes."""
MEMORY = 1 << 20
"""Largest memory of a framer and the messages of one read, in bytes."""
UNITS = (b"[", b'"', b"\\", b"{}", b"1:", b"0", b"9", b" ", b"\n", b"\x00", b'["', b"1:x,", b"{", b"\x00\x00\x40",
         b"*1\r\n", b"*9\r\n$0\r\n\r\n", b"a ", b"PING\r\n")  # fmt: skip
"""Bytes that a hostile stream repeats."""


class Found(NamedTuple):
    """The result of a stream."""

    messages: list[bytes]
    error: str | None
    pending: bool


@pytest.mark.parametrize("kind", FRAMERS)
@rounds(800)
def test_the_cuts_of_a_stream_do_not_matter(cases: Rounds, kind: str) -> None:
    for case in cases.within_memory():
        with case:
            limit = case.choice(LIMITS)
            case.input = data = stream(case, kind)
            whole = fed(kind, limit, [data])
            assert all(size(message, kind) <= limit for message in whole.messages)
            assert fed(kind, limit, pieces(case, data)) == whole
            if len(data) <= BYTE_BY_BYTE:
                assert fed(kind, limit, [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize("kind", FRAMERS)
@rounds(800)
def test_right_messages_come_out_as_they_went_in(cases: Rounds, kind: str) -> None:
    for case in cases.within_memory():
        with case:
            messages = [right(case, kind) for _ in range(case.choice((1, 2, 5)))]
            case.input = data = b"".join(framed(message, kind) for message in messages)
            found = fed(kind, 1 << 24, pieces(case, data))
            assert found == Found(messages, None, False)


@pytest.mark.parametrize("kind", FRAMERS)
@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_a_framer_holds_one_message(kind: str, unit: bytes) -> None:
    framer, limit = FRAMERS[kind](1 << 14), 1 << 14
    tracemalloc.start()
    try:
        for _ in range(10):
            framer.feed(unit * (limit // len(unit)))
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def fed(kind: str, limit: int, cut: list[bytes]) -> Found:
    """Return the messages and the error of a stream that comes in these pieces."""
    framer = FRAMERS[kind](limit)
    messages: list[bytes] = []
    for piece in cut:
        ended = framer.error
        found = framer.feed(piece)
        messages += found
        if ended is not None:
            assert not found
            assert framer.error == ended
    return Found(messages, framer.error, framer.error is None and framer.pending)


def stream(case: Case, kind: str) -> bytes:
    """Return framed messages of which many are damaged, and damage between them."""
    data = b"".join(framed(any_message(case, kind), kind) for _ in range(case.choice((1, 2, 3))))
    return mutated(case, data) if case.often(0.7) else data


def framed(message: bytes, kind: str) -> bytes:
    """Return a message with its framing."""
    return array(arguments_of(message)) if kind == "resp" else FRAMERS[kind](1 << 24).frame(message)


def size(message: bytes, kind: str) -> int:
    """Return the size of a message that counts, in bytes: of a command, that of its arguments."""
    return sum(map(len, arguments_of(message))) if kind == "resp" else len(message)


def any_message(case: Case, kind: str) -> bytes:
    """Return a message that may be broken."""
    if kind == "resp":
        return message_of(command(case))
    value = batch(case)
    return to_messagepack(case, value) if kind == "prefixed" else to_json(case, value)


def right(case: Case, kind: str) -> bytes:
    """Return a message that its framing can carry."""
    if kind == "resp":
        return message_of([case.randbytes(case.choice((0, 1, 10, 5000))) for _ in range(case.randint(1, 9))])
    if kind != "json":
        return case.randbytes(case.choice((0, 1, 10, 300, 70_000)))
    depth = case.randint(1, 60)
    text = to_json(case, "".join(case.choice('a"\\{}[]é\n') for _ in range(case.randrange(200))))
    return b"[" * depth + text + b"]" * depth
