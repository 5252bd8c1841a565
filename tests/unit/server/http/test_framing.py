"""Heads and bodies that are cut out of a stream, and all that is rejected before a parser sees it."""

from __future__ import annotations

import contextlib
import time

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.server.http.framing import (
    LONGEST_HEAD,
    LONGEST_TARGET,
    MOST_FIELDS,
    MOST_SMALL_CHUNKS,
    FramingError,
    RequestFramer,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes, size: int = 1 << 20) -> tuple[list[tuple[bytes, bytes]], int | None]:
    """Return the heads with their bodies that are cut out of ``data``, and the status of the error at its end.

    ``size`` bytes arrive at a time. A body is returned as a parser reads it.
    """
    framer = RequestFramer()
    found: list[tuple[bytes, bytes]] = []
    status = None
    try:
        for place in range(0, len(data), size):
            framer.receive(data[place : place + size])
            while True:
                if framer.in_body:
                    part = framer.next_part()
                    found[-1] = (found[-1][0], found[-1][1] + part)
                else:
                    part = framer.next_head() or b""
                    found += [(part, b"")] if part else []
                if not part:
                    break
    except FramingError as error:
        status = error.problem.status
    return [(head, parsed(head, body)) for head, body in found], status


def parsed(head: bytes, body: bytes) -> bytes:
    """Return the body as a parser reads it."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head + body)
    found = b""
    with contextlib.suppress(h11.RemoteProtocolError):
        found = data_of(parser)
    return found


def data_of(parser: h11.Connection) -> bytes:
    """Return the data of the request that a parser has received."""
    found = b""
    while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Data):
            found += event.data
        if isinstance(event, h11.EndOfMessage):
            break
    return found


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_requests_of_every_kind_in_one_stream(size: int) -> None:
    heads = [GET + b"\r\n", POST + b"content-length:  5 \r\n\r\n", CHUNKED, POST + b"Content-Length: 0\r\n\r\n"]
    bodies = [b"", b"GET /", b"hello, world", b""]
    chunks = b'5\r\nhello\r\n7;name="value"\r\n, world\r\n000\r\nChecksum: 1\r\n\r\n'
    stream = heads[0] + heads[1] + bodies[1] + heads[2] + chunks + heads[3] + heads[0]
    found, status = framed(stream, size)
    assert found == [*zip(heads, bodies, strict=True), (heads[0], b"")]
    assert status is None


REJECTED = {
    "no HTTP": (b"\x16\x03\x01\x02\x00", 400),
    "blank lines": (b"\r\n\r\n", 400),
    "no target": (b"GET\r\n\r\n", 400),
    "an endless word": (b"x" * 100_000, 400),
    "an endless line": (b"GET /" + b"x" * 100_000, 414),
    "a long path": (b"GET /" + b"x" * LONGEST_TARGET + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long path of escapes": (b"GET /" + b"%2f" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long query": (b"GET /?" + b"a=b&" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "HTTP/2": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n\r\n", 505),
    "two blanks": (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a blank at the end": (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "too many fields": (GET + b"a:b\r\n" * MOST_FIELDS + b"\r\n", 431),
    "12,000 tiny fields": (GET + b"a:b\r\n" * 12_000 + b"\r\n", 431),
    "tiny fields without end": (GET + b"a:b\r\n" * 4000, 431),
    "one long field": (GET + b"a: " + b"x" * LONGEST_HEAD + b"\r\n\r\n", 431),
    "a long Authorization": (GET + b"Authorization: Bearer " + b"x" * LONGEST_HEAD + b"\r\n\r\n", 431),
    "a long X-Forwarded-For": (GET + b"X-Forwarded-For: " + b"1," * LONGEST_HEAD + b"\r\n\r\n", 431),
    "a folded field": (GET + b"a: b\r\n c\r\n\r\n", 400),
    "a fold after the request line": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "a blank before the colon": (GET + b"Content-Length : 5\r\n\r\n", 400),
    "no name": (GET + b": b\r\n\r\n", 400),
    "no colon": (GET + b"abc\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: x\n\n" + b"\r\n\r\n", 400),
    "bare LF in a field": (GET + b"a: b\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "bare CR in a field": (GET + b"a: b\rc\r\n\r\n", 400),
    "NUL in a field": (GET + b"a: b\0c\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "two lengths in one": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a length without digits": (POST + b"Content-Length:\r\n\r\nhello", 400),
    "a length with a blank": (POST + b"Content-Length: 1 0\r\n\r\nhello", 400),
    "a huge length": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello", 400),
    "both": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both, the other way": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a twisted coding": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "the coding twice": (POST + b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    "two tokens": (GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    "the same token twice": (GET + b"Authorization: Bearer a\r\nauthorization: Bearer a\r\n\r\n", 400),
    "a chunk without size": (CHUNKED + b"\r\n", 400),
    "a chunk with a bad size": (CHUNKED + b"0x5\r\nhello\r\n", 400),
    "a chunk with a signed size": (CHUNKED + b"-1\r\n", 400),
    "a chunk with a huge size": (CHUNKED + b"1" * 17 + b"\r\n", 400),
    "a chunk with a long extension": (CHUNKED + b"1;" + b"a" * 1000, 400),
    "a chunk extension with bare LF": (CHUNKED + b"1;a\nb\r\na\r\n", 400),
    "a chunk that is longer than its size": (CHUNKED + b"1\r\nab\r\n", 400),
    "a chunk that ends by bare LF": (CHUNKED + b"1\r\na\n0\r\n\r\n", 400),
    "tiny chunks": (CHUNKED + b"1\r\na\r\n" * (MOST_SMALL_CHUNKS + 1), 400),
    "a folded trailer": (CHUNKED + b"0\r\na: b\r\n c\r\n\r\n", 400),
    "too many trailers": (CHUNKED + b"0\r\n" + b"a:b\r\n" * (MOST_FIELDS + 1) + b"\r\n", 431),
    "a long trailer": (CHUNKED + b"0\r\na: " + b"b" * LONGEST_HEAD, 431),
}


@pytest.mark.parametrize(("data", "status"), REJECTED.values(), ids=REJECTED)
@pytest.mark.parametrize("size", [1 << 20, 7])
def test_requests_that_are_rejected(data: bytes, status: int, size: int) -> None:
    found, rejected = framed(data, size)
    assert rejected == status
    assert len(found) == data.startswith(CHUNKED)


def test_what_is_just_within_the_limits() -> None:
    target = b"GET /" + b"x" * (LONGEST_TARGET - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    fields = GET + b"a:b\r\n" * (MOST_FIELDS - 1) + b"\r\n"
    long = GET + b"a:" + b"x" * (LONGEST_HEAD - len(GET) - 6) + b"\r\n\r\n"
    assert len(long) == LONGEST_HEAD
    for head in (
        target,
        fields,
        long,
        b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ):
        assert framed(head) == ([(head, b"")], None)
    body = CHUNKED + b"1\r\na\r\n" * MOST_SMALL_CHUNKS + b"400\r\n%b\r\n0\r\n\r\n" % (b"x" * 1024)
    assert framed(body) == ([(CHUNKED, b"a" * MOST_SMALL_CHUNKS + b"x" * 1024)], None)


def test_a_body_that_has_not_arrived_is_announced() -> None:
    framer = RequestFramer()
    framer.receive(POST + b"Content-Length: 100\r\n\r\n" + b"x" * 10)
    assert framer.next_head()
    assert (framer.awaits(89), framer.awaits(90)) == (True, False)
    framer.receive(CHUNKED)
    framer.receive(b"x" * 90)
    framer = RequestFramer()
    framer.receive(CHUNKED)
    assert framer.next_head()
    assert framer.awaits(1 << 40), "the length of chunks is unknown"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(1, 40))
def test_chunks_of_any_size_arrive_in_pieces_of_any_size(chunks: list[bytes], size: int) -> None:
    sent = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    found, status = framed(CHUNKED + sent + GET + b"\r\n", size)
    assert found == [(CHUNKED, b"".join(chunks)), (GET + b"\r\n", b"")]
    assert status is None


WORDS = [GET, POST, b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"a: b\r\n", b"5\r\nhello\r\n"]
WORDS += [
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"hello",
    b"0\r\n",
    b"5",
    b" ",
    b":",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\xff",
    b";",
]


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join), st.integers(1, 60))
def test_the_parser_and_the_framer_agree_about_the_end_of_each_request(data: bytes, size: int) -> None:
    found, status = framed(data, size)
    assert status in (None, 400, 431, 501, 505)
    whole, whole_status = framed(data)
    assert ([head for head, _ in found], status) == ([head for head, _ in whole], whole_status)
    assert status or found == whole
    for head, _ in found:
        parser = h11.Connection(h11.SERVER)
        parser.receive_data(head)
        try:
            assert isinstance(parser.next_event(), h11.Request)
        except h11.RemoteProtocolError:  # without Host, for example
            continue
        assert not parser.trailing_data[0], "the parser found an earlier end of the head"


@pytest.mark.parametrize(
    "data",
    [
        GET + b"a:b\r\n" * 50_000 + b"\r\n",
        GET + b"a: b\r\n" + b" b\r\n" * 60_000 + b"\r\n",
        GET + b"Content-Length:" + b" \t" * 8000 + b"x\r\n\r\n",
        b"GET /" + b"%2f" * 80_000 + b" HTTP/1.1\r\n\r\n",
        CHUNKED + b"1\r\na\r\n" * 43_000,
        CHUNKED + b"0\r\n" + b"a:b\r\n" * 50_000 + b"\r\n",
    ],
    ids=["fields", "folds", "blanks", "escapes", "chunks", "trailers"],
)
def test_no_read_takes_more_than_a_few_milliseconds(data: bytes) -> None:
    def took() -> float:
        began = time.process_time()
        framed(data, 256 << 10)
        return time.process_time() - began

    assert min(took() for _ in range(5)) < 0.02
