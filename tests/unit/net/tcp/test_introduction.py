"""A connection is read cheaply, and in few bytes, until its peer shows a token (interfaces.md 3)."""

from __future__ import annotations

import time

import pytest
from unit.wire.asking import Run, call, meet

from identengine.net.tcp.introduction import Introduction
from identengine.wire.framing import Framer
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.framings import framings
from identengine.wire.session import UNPROVEN_BYTES, Session

AUTH = JSON.encode(call("auth", token="token of one"))
LARGE = b'[{"jsonrpc":"2.0","id":1,"method":"sync","params":{"calls":[' + b'["c"],' * 9000 + b'["c"]]}}]'
FIRST = {"lines": b"{", "netstrings": b"1", "prefixed": b"\0"}


class Fed:
    """A framer behind an introduction, as a connection uses them. The messages are answered at once."""

    def __init__(self, begins: bytes = b"{", host: str = "10.2.0.1") -> None:
        framing = framings(Run().responder).chosen_by(begins[0])
        self.session: Session = meet(host)
        self.framer: Framer = framing.framer(65536)
        self._respond = framing.responder()
        self._introduction = Introduction(framing, self.framer, self.session)

    def feed(self, data: bytes) -> list[bytes]:
        cautious = self.framer.cautious
        found = self._introduction.feed(data, self.framer, self.session) if cautious else self.framer.feed(data)
        self._respond(found, self.session, None, lambda _: None, None, False)  # type: ignore[arg-type]  # nothing is deferred
        return found


def framed(name: str, message: bytes) -> bytes:
    return framings(Run().responder).chosen_by(FIRST[name][0]).framer(65536).frame(message)


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_large_message_behind_auth_is_read(name: str, size: int) -> None:
    codec = MESSAGEPACK if name == "prefixed" else JSON
    auth = codec.encode(call("auth", token="token of one"))
    raw = framed(name, auth) + framed(name, LARGE)
    fed = Fed(FIRST[name])
    found = [one for at in range(0, len(raw), size) for one in fed.feed(raw[at : at + size])]
    assert found == [auth, LARGE]
    assert (fed.framer.error, fed.framer.cautious, fed.framer.pending) == (None, False, name == "none")


def test_a_large_message_with_its_own_token_is_read() -> None:
    token = (
        b'{"jsonrpc":"2.0","id":1,"params":{"token":"token of two","x":' + b"[[]," * 20 + b"1" + b"]" * 20 + b"}}"
    )
    for size in (1, 50, 1000):
        fed = Fed()
        assert [one for at in range(0, len(token), size) for one in fed.feed(token[at : at + size])] == [token]


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("size", [1, 100, 4096, 4097, 65536])
def test_without_a_token_few_bytes_are_read(name: str, size: int) -> None:
    raw = framed(name, b'{"x":"' + b"x" * 60000 + b'"}')
    fed = Fed(FIRST[name])
    sent = 0
    while fed.framer.error is None and sent < len(raw):
        assert fed.feed(raw[sent : sent + size]) == []
        sent += size
    assert fed.framer.error is not None
    assert "first 4096 bytes" in fed.framer.error
    assert sent <= UNPROVEN_BYTES + max(size, 1)


def test_short_messages_are_answered_until_there_are_too_many_bytes() -> None:
    fed = Fed()
    ping = JSON.encode(call("ping"))
    assert fed.feed(ping + b"\n" + ping[:10]) == [ping]
    assert fed.feed(ping[10:]) == [ping]
    assert fed.framer.error is None


@pytest.mark.parametrize("host", ["10.1.0.1", "10.3.0.1"])
def test_a_peer_without_token_is_not_limited(host: str) -> None:
    assert Fed(host=host).feed(LARGE) == [LARGE]


@pytest.mark.parametrize("filler", [b"[],", b'["c"],', b"[[[[]]]],", b'"\\n",', b"[" * 40 + b"]" * 40 + b","])
@pytest.mark.parametrize("complete", [True, False])
def test_a_read_without_token_costs_little(filler: bytes, complete: bool) -> None:
    """A walk of 64 KB cost 12 to 17 ms."""
    times = []
    for _ in range(5):
        raw = b'[{"params":{"x":[' + filler * (65000 // len(filler)) + b"1" + b"]}}]" * complete
        fed = Fed()
        began = time.process_time_ns()
        for at in range(0, len(raw), 4000):
            fed.feed(raw[at : at + 4000])
        times.append(time.process_time_ns() - began)
    assert min(times) < 1_000_000
