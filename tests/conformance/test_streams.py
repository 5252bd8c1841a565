"""Messages on a connection, wherever the reads cut them, and errors of connections (interfaces.md 3)."""

from __future__ import annotations

import pytest
from conformance.steps import from_ip
from support.switch import OVER_TCP, Switch, call


def test_whole_and_byte_by_byte(connected: Switch) -> None:
    messages = [call("ping", 1), call("authorize", 2, **from_ip("1", src_number="é")), [call("no", 3)]]
    stream = b"".join(map(connected.encoded, messages))
    connected.socket.sendall(stream)
    whole = [connected.receive() for _ in messages]
    for place in range(len(stream)):
        connected.socket.sendall(stream[place : place + 1])
    pieces = [connected.receive() for _ in messages]
    for found in (whole, pieces):
        del found[0]["result"]["uptime"]
    assert whole == pieces


def test_cut_at_each_place(connected: Switch) -> None:
    message = connected.encoded(call("ping", "é", token="x"))
    for place in range(1, len(message)):
        connected.socket.sendall(message[:place])
        connected.socket.sendall(message[place:])
    assert [connected.receive()["id"] for _ in range(1, len(message))] == ["é"] * (len(message) - 1)


def test_what_comes_at_once_is_answered_at_once(connected: Switch) -> None:
    connected.send(*[call("authorize", n, **from_ip("1")) for n in range(20)])
    some = connected.socket.recv(65536)
    if _framing(connected) != "netstrings":  # each answer in a netstring is a segment of its own
        assert len(some) > 20 * 150
    connected._held = some
    assert [connected.receive()["id"] for _ in range(20)] == list(range(20))


def test_large_pipelines_both_ways(connected: Switch) -> None:
    count = 3000
    messages = [call("explain" if n % 500 == 0 else "authorize", n, **from_ip("1")) for n in range(count)]
    sent = b"".join(map(connected.encoded, messages))
    heard: list[int] = []
    place = 0
    while len(heard) < count:  # send as much as was answered, so that neither side has to hold all messages
        while place < len(sent) and place - len(sent) * len(heard) // count < 200_000:
            connected.socket.sendall(sent[place : place + 10_000])
            place += 10_000
        heard.append(connected.receive()["id"])
    assert heard == list(range(count))


def test_a_stream_that_goes_wrong_is_answered_up_to_there_and_closed(connected: Switch) -> None:
    connected.send(call("ping", 1), call("ping", 2))
    # A length above the limit, or a byte that begins no message, in a good frame if the framing has one.
    connected.socket.sendall(
        {"lines": b"nonsense", "netstrings": b"99999:{", "prefixed": b"\xff" * 9}[_framing(connected)]
    )
    answers = connected.rest()
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert answers[-1]["error"]["code"] == -32700


_GARBAGE = {
    "json": [b"{]", b"{}x", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', b"\xc1", b""],
    "msgpack": [b"\xc1", b"\x81\xa1", b"\x80\x80", b"\xdd\xff\xff\xff\xff\x01", b""],
}


@pytest.mark.parametrize("place", range(6))
def test_a_framed_message_that_cannot_be_parsed(connected: Switch, place: int) -> None:
    if _framing(connected) == "lines" or place >= len(_GARBAGE[connected.wire.encoding]):
        return  # this framing has no frame around a message
    garbage = _GARBAGE[connected.wire.encoding][place]
    connected.send(call("ping", 1))
    connected.socket.sendall(connected.framed(garbage) + connected.encoded(call("ping", 2)))
    answers = connected.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[-1]["error"]["code"] == -32700


def _framing(switch: Switch) -> str:
    assert switch.wire.framing is not None
    return switch.wire.framing


def test_a_message_nested_too_deep_is_answered_and_the_connection_closed(connected: Switch) -> None:
    deep = {"json": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 1000, "msgpack": b"\x91" * 1000}
    connected.send(connected.framed(deep[connected.wire.encoding]))
    (answer,) = connected.rest()
    assert answer["error"]["code"] == -32700


# TLS closes both halves at once.


@pytest.mark.parametrize("connected", OVER_TCP, ids=lambda wire: wire.name, indirect=True)
def test_a_message_that_the_end_cuts_off_is_answered(connected: Switch) -> None:
    connected.send(call("ping", 1), connected.encoded(call("ping", 2))[:-5])
    connected.end_sending()
    answers = connected.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[1]["error"]["code"] == -32700


@pytest.mark.parametrize("connected", OVER_TCP, ids=lambda wire: wire.name, indirect=True)
def test_half_closed_connections_get_their_answers(connected: Switch) -> None:
    connected.send(call("ping", 1), call("ping", 2))
    connected.end_sending()
    assert [answer["id"] for answer in connected.rest()] == [1, 2]
