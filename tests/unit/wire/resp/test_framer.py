"""Commands of RESP2: the same messages and errors wherever the reads cut the bytes (interfaces.md 4)."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.wire.resp.framer import MAX_ARGUMENTS, Commands, arguments_of, message_of

LIMIT = 4096
arguments = st.lists(
    st.binary(max_size=20)
    | st.sampled_from([b'"', b"\\", b"*1", b"\r\n", b"$1\r\n", b"a=b|c=d", b"IDENT.AUTH", b"", b'","', b"\0"]),
    min_size=1,
    max_size=6,
)


def array(found: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(found) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in found)


def cut(*pieces: bytes, limit: int = LIMIT) -> tuple[list[list[bytes]], str | None, bool]:
    """Return the arguments of the commands, the error, and True if a command is pending."""
    framer = Commands(limit)
    found = [arguments_of(message) for piece in pieces for message in framer.feed(piece)]
    return found, framer.error, framer.error is None and framer.pending


@given(arguments)
def test_a_message_has_the_arguments_that_made_it(found: list[bytes]) -> None:
    assert arguments_of(message_of(found)) == found


@given(st.lists(arguments, max_size=6), st.data())
def test_arrays_come_out_as_they_were_sent(commands: list[list[bytes]], data: st.DataObject) -> None:
    stream = b"".join(map(array, commands))
    at = data.draw(st.integers(0, len(stream)))
    for pieces in ([stream], [stream[:at], stream[at:]], [stream[n : n + 1] for n in range(len(stream))]):
        assert cut(*pieces) == (commands, None, False)


PIECES = [b"*1\r\n", b"*2\r\n", b"$1\r\n", b"a\r\n", b"PING\r\n", b"$-1\r\n", b"*0\r\n", b"*-1\r\n", b'"a', b"\n",
          b"\r", b"$3\r\nfoo\r\n", b"$x", b"*"]  # fmt: skip


@given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join), st.data())
def test_any_stream_is_the_same_in_pieces(stream: bytes, data: st.DataObject) -> None:
    whole = cut(stream)
    at = data.draw(st.integers(0, len(stream)))
    assert cut(stream[:at], stream[at:]) == whole
    assert cut(*[stream[n : n + 1] for n in range(len(stream))]) == whole


@given(st.lists(st.lists(st.sampled_from([b"a=1", b"bb=22", b"*", b'"']), min_size=2, max_size=2), max_size=5))
def test_alike_commands_have_the_form_of_single_ones(commands: list[list[bytes]]) -> None:
    framer = Commands(LIMIT)
    assert framer.feed(b"".join(map(array, commands))) == list(map(message_of, commands))


@pytest.mark.parametrize(
    ("data", "commands", "error", "pending"),
    [
        (b"PING\r\n", [[b"PING"]], None, False),
        (b"PING\n", [[b"PING"]], None, False),
        (b"\r\n\r\nPING\r\n", [[b"PING"]], None, False),
        (b"  echo  a\tb \r\n", [[b"echo", b"a", b"b"]], None, False),
        (
            b'set "a b" \'c d\' "\\x41\\n\\"" \'\\\'\' ""\r\n',
            [[b"set", b"a b", b"c d", b'A\n"', b"'", b""]],
            None,
            False,
        ),
        (b'echo "a\r\n', [], "unbalanced quotes in request", False),
        (b'echo "a"b\r\n', [], "unbalanced quotes in request", False),
        (b"echo a=\"b c\" d='e f'\r\n", [[b"echo", b"a=b c", b"d=e f"]], None, False),
        (b"echo a'b\r\n", [], "unbalanced quotes in request", False),
        (b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]], None, False),
        (b"*1\r\n$4\r\nPING", [], None, True),
        (b"*1\r\n", [], None, True),
        (b"*", [], None, True),
        (b"P", [], None, True),
        (b"*x\r\n", [], "invalid multibulk length", False),
        (b"*-2\r\n", [], "invalid multibulk length", False),
        (b"*1\n", [], "invalid multibulk length", False),
        (b"*4097\r\n", [], "invalid multibulk length", False),
        (b"*99999999999999999999\r\n", [], "invalid multibulk length", False),
        (b"*" + b"1" * 60, [], "too big count string", False),
        (b"*1\r\n$-1\r\n", [], "invalid bulk length", False),
        (b"*1\r\n$+1\r\n", [], "invalid bulk length", False),
        (b"*1\r\n$4096\r\n", [], "at most 4096 bytes", False),
        (b"*1\r\n$999999999\r\n", [], "at most 4096 bytes", False),
        (b"*1\r\n$9999999999\r\n", [], "invalid bulk length", False),
        (b"*1\r\n:4\r\n", [], "expected '$', got \":\"", False),
        (b"*2\r\n*1\r\n$4\r\nPING\r\n", [], "expected '$', got \"*\"", False),
        (b"*1\r\n$4\r\nPINGxx", [], "line end behind a bulk string", False),
        (b"a" * 4097, [], "too big inline request", False),
        (b"POST / HTTP/1.1\r\n", [], 'expected a command, got "POST" of HTTP', False),
        (b"Host: x\r\nPING\r\n", [], 'expected a command, got "Host:" of HTTP', False),
        (b"PING\r\n*1\r\n$x\r\nPING\r\n", [[b"PING"]], "invalid bulk length", False),
    ],
)
def test_commands(data: bytes, commands: list[list[bytes]], error: str | None, pending: bool) -> None:
    found, problem, waits = cut(data)
    assert found == commands
    assert (problem is None) is (error is None)
    assert error is None or error in (problem or "")
    assert waits is pending
    pieces = [data[n : n + 1] for n in range(len(data))]
    assert cut(*pieces) == (found, problem, waits)


def test_no_length_reserves_memory() -> None:
    tracemalloc.start()
    try:
        framer = Commands(1 << 29)
        framer.feed(b"*4096\r\n$400000000\r\n")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_command_of_many_arguments_is_read_in_linear_time() -> None:
    stream = array([b"IDENT.SYNC", *[b"a"] * (MAX_ARGUMENTS - 1)])
    began = time.process_time()
    found, error, _ = cut(*[stream[n : n + 1] for n in range(len(stream))], limit=65536)
    assert (len(found), error) == (1, None)
    assert time.process_time() - began < 2


def test_nothing_is_read_after_an_error() -> None:
    framer = Commands(LIMIT)
    framer.feed(b"*x\r\n")
    assert framer.feed(b"PING\r\n") == []
