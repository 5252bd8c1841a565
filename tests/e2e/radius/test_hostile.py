"""Hostile datagrams against a real server: silence and a counter by cause, and the decider lives.

Nothing here can be sent by radclient, so the packets are raw bytes.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from e2e.radius.carrier import OTHER_SECRET, PROXY, SIPPY, STRANGER, count, grows, trunk
from support import HOST
from support.operator import held
from support.radclient import SECRET, SIGNED, ask
from support.radiuspackets import attribute, vectors
from support.server import Server
from support.waiting import wait_for

from identengine.stats import file as counters
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import ACCESS_REQUEST, ACCOUNTING_REQUEST, LONGEST_PACKET, decode, encoded

OURS, ANOTHER = SharedSecret(SECRET.encode()), SharedSecret(OTHER_SECRET.encode())
ACCESS = [attribute("h323-remote-address", "10.0.0.3"), attribute("h323-call-origin", "originate"),
          attribute("Called-Station-Id", "44123")]  # fmt: skip
STATES = [attribute("Proxy-State", bytes((number % 256,)) * 2) for number in range(199)]
DROPPED = "radius_dropped_"


def packet(*more: tuple[int, bytes], number: int = 1, code: int = ACCESS_REQUEST) -> bytes:
    """Return a request with a right Message-Authenticator."""
    authenticator = number.to_bytes(16, "big")
    return OURS.request(code, number % 256, authenticator, encoded([*ACCESS, *more]))


def head(code: int, size: int, rest: bytes = b"") -> bytes:
    """Return a packet with this value in its length field."""
    return bytes((code, 1)) + size.to_bytes(2, "big") + bytes(16) + rest


def causes(server: Server) -> Counter[str]:
    """Return the counters of packets without a reply, by cause."""
    values = counters.read(server.folder / "calls").values
    return Counter({name.removeprefix(DROPPED): n for name, n in values.items() if name.startswith(DROPPED)})


@contextmanager
def sender(server: Server, port: str = "radius_auth", source: str = HOST) -> Iterator[socket.socket]:
    """Return a socket that is connected to a port of the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        made.connect((HOST, server.ports[port]))
        made.settimeout(5)
        yield made


def flood(
    server: Server, datagrams: Sequence[bytes], port: str = "radius_auth", source: str = HOST
) -> Counter[str]:
    """Send datagrams of which none may get a reply. Return how many were dropped, by cause.

    A last packet, which gets a reply, shows that the server has read all of them.
    """
    decider, before = server.decider, causes(server)
    secret = OTHER_SECRET if source == PROXY else SECRET
    with sender(server, port, source) as peer:
        for number, datagram in enumerate(datagrams):
            peer.send(datagram)
            if number % 200 == 199:  # the socket must not overflow
                ask(server.ports["radius_auth"], "status", SIGNED, source=source, secret=secret)
        ask(server.ports["radius_auth"], "status", SIGNED, source=source, secret=secret)
        ask(server.ports["radius_acct"], "status", SIGNED, source=source, secret=secret)
        wait_for(lambda: (causes(server) - before).total() >= len(datagrams))
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(5000)
    assert server.decider == decider
    assert count(server, "faults") == 0
    return causes(server) - before


# ---- malformed packets

MALFORMED = {
    b"": "too_short",
    b"\x01" * 19: "too_short",
    head(1, 19): "length",
    head(1, 0): "length",
    head(1, 21): "truncated",
    head(1, LONGEST_PACKET, bytes(100)): "truncated",
    head(1, LONGEST_PACKET + 1, bytes(LONGEST_PACKET - 19)): "too_long",
    head(1, 0xFFFF, bytes(20000)): "too_long",
    head(0, 20): "code",
    head(254, 20): "code",
    head(2, 20): "code",
    head(3, 20): "code",
    head(11, 20): "code",
    head(40, 20): "code",
    head(4, 20): "code",
    head(1, 21, b"\x01"): "attribute",
    head(1, 22, b"\x01\x00"): "attribute",
    head(1, 22, b"\x01\x01"): "attribute",
    head(1, 22, b"\x01\x03"): "attribute",
    head(1, 22, b"\x00\x02"): "attribute",
    head(1, 24, b"\x1a\x04\x00\x00"): "vendor_attribute",
    head(1, 26, b"\x1a\x06\x00\x00\x00\x09"): "vendor_attribute",
    head(1, 28, b"\x1a\x08\x00\x00\x00\x09\x01\x00"): "vendor_attribute",
    head(1, 28, b"\x1a\x08\x00\x00\x00\x09\x01\x03"): "vendor_attribute",
    head(1, 28, b"\x1a\x08\x00\x00\x00\x00\x01\x02"): "vendor_attribute",
    head(1, 22, b"\x50\x02"): "message_authenticator",
    head(1, 37, b"\x50\x11" + bytes(15)): "message_authenticator",
    head(1, 56, (b"\x50\x12" + bytes(16)) * 2): "message_authenticator",
    head(1, 38, b"\x50\x12" + bytes(16)): "message_authenticator",
    head(1, 22, b"\x4f\x02"): "no_message_authenticator",
    head(12, 20): "no_message_authenticator",
    head(1, 20 + 201 * 2, b"\x01\x02" * 201): "too_many_attributes",
    head(1, 20 + 16 * 255, b"\x21\xff" + bytes(253) + (b"\x21\xff" + bytes(253)) * 15): "too_long",
    head(1, 20 + 15 * 255 + 250, (b"\x21\xff" + bytes(253)) * 15 + b"\x21\xfa" + bytes(248)): "proxy_state",
}
"""Datagrams with the cause for which each is dropped."""


def test_malformed_packets_get_no_reply(server: Server) -> None:
    assert flood(server, list(MALFORMED)) == Counter(MALFORMED.values())
    server.logged(f"RADIUS packets from {HOST}, an address of gw, without a reply")


def test_packets_at_the_wrong_port_get_no_reply(server: Server) -> None:
    right = packet(number=77)
    assert flood(server, [right, *[head(code, 20) for code in (5, 11, 40, 43)]], "radius_acct")["code"] == 5


def test_malformed_packets_of_others_get_no_reply(server: Server) -> None:
    lines = vectors("errors.txt").splitlines()
    bad = [bytes.fromhex(line.removeprefix("decode-proto")) for line in lines if line.startswith("decode-proto")]
    assert len(bad) >= 8
    for port in ("radius_auth", "radius_acct"):
        assert flood(server, bad, port).total() == len(bad)


def test_packets_that_are_not_authentic_get_no_reply(server: Server) -> None:
    ask(server.ports["radius_auth"], "auth", *trunk("signed"))  # so that requests without a signature are dropped
    right = packet(number=99)
    changed = [right[:at] + bytes((right[at] ^ 1,)) + right[at + 1 :] for at in range(4, len(right))]
    # Of the authenticated bytes none can change. Those of lengths and types have other causes.
    assert flood(server, changed).keys() <= {"message_authenticator", "attribute", "vendor_attribute", "truncated",
                                             "no_message_authenticator"}  # fmt: skip
    report = encoded([attribute("Acct-Status-Type", 2), attribute("Acct-Session-Id", "x")])
    stop = OURS.request(ACCOUNTING_REQUEST, 1, b"", report)
    changed = [stop[:at] + bytes((stop[at] ^ 1,)) + stop[at + 1 :] for at in range(4, len(stop))]
    found = flood(server, changed, "radius_acct")
    assert found["accounting_authenticator"] > len(changed) // 2
    assert found.total() == len(changed)


def test_noise_gets_no_reply(server: Server) -> None:
    noise = random.Random(15)
    right = packet(number=5)
    datagrams = [noise.randbytes(noise.randrange(0, 300)) for _ in range(300)]
    for _ in range(300):
        cut = bytearray(right)
        for _ in range(noise.randrange(1, 4)):
            cut[noise.randrange(1, len(cut))] = noise.randrange(256)
        datagrams.append(bytes(cut[: noise.randrange(len(cut))]))
    assert flood(server, datagrams).total() == len(datagrams)
    assert flood(server, datagrams, "radius_acct").total() == len(datagrams)


# ---- Proxy-State


@pytest.mark.parametrize("source", ["10.0.0.3", "10.9.9.9"], ids=["accepted", "rejected"])
@pytest.mark.parametrize("number", [1, 150, 190])
def test_many_proxy_states_are_returned_in_order(server: Server, source: str, number: int) -> None:
    caller = attribute("h323-remote-address", source)
    request = OURS.request(ACCESS_REQUEST, 3, number.to_bytes(8) + source.encode().ljust(8),
                           encoded([caller, *ACCESS[1:], *STATES[:number]]))  # fmt: skip
    with sender(server) as peer:
        peer.send(request)
        reply = peer.recv(9000)
    found = decode(reply)
    assert OURS.answers(found, request[4:20])
    assert [(key, value) for key, value in found.attributes if key == STATES[0][0]] == STATES[:number]


def test_a_reply_never_exceeds_the_largest_packet(server: Server) -> None:
    """Proxy-State has the first claim to the room. A call whose fields do not fit is rejected."""
    replies: list[bytes] = []
    with sender(server) as peer:
        for size in range(3300, 3960, 20):
            blocks, rest = divmod(size, 255)
            states = [attribute("Proxy-State", bytes(253))] * blocks + [
                attribute("Proxy-State", bytes(max(0, rest - 2)))
            ]
            request = packet(*states, number=5000 + size)
            assert len(request) <= LONGEST_PACKET
            peer.send(request)
            replies.append(peer.recv(9000))
            assert len(replies[-1]) <= LONGEST_PACKET
            assert OURS.answers(decode(replies[-1]), request[4:20])
            assert [one for one in decode(replies[-1]).attributes if one[0] == states[0][0]] == states
    assert {reply[0] for reply in replies} <= {2, 3}
    assert max(map(len, replies)) > 3900


# ---- strangers


def test_strangers_get_no_reply_to_anything(server: Server) -> None:
    dropped, sent = causes(server), [packet(number=1), *MALFORMED]
    for port in ("radius_auth", "radius_acct"):
        before = count(server, "datagrams_dropped_unknown_peer")
        with sender(server, port, STRANGER) as peer:
            for datagram in sent:
                peer.send(datagram)
            ask(server.ports[port], "status", SIGNED)
            grows(server, "datagrams_dropped_unknown_peer", before, len(sent))
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(5000)
    assert causes(server) == dropped, "their packets are not parsed"


# ---- calls


def test_hostile_packets_hold_no_slots(server: Server) -> None:
    before = held(server)
    forged = [
        ANOTHER.request(ACCESS_REQUEST, number % 256, number.to_bytes(16), encoded(ACCESS))
        for number in range(300)
    ]
    assert flood(server, forged)["message_authenticator"] == 300
    limited = [attribute("User-Name", "10.0.0.3"), *ACCESS, attribute("Proxy-State", b"forged")]
    unsigned = [bytes((1, n)) + (20 + len(encoded(limited))).to_bytes(2) + n.to_bytes(16) + encoded(limited)
                for n in range(100)]  # fmt: skip
    assert flood(server, unsigned, source=SIPPY)["no_message_authenticator"] == 100
    assert flood(server, unsigned, source=PROXY)["no_message_authenticator"] == 100
    assert held(server) == before
    assert ask(server.ports["radius_auth"], "auth", *trunk("after")).code == "Access-Accept"
    assert held(server) == before + 1


def test_a_stop_is_heard_while_noise_arrives(server: Server) -> None:
    """Noise of the same address costs the switch nothing but time."""
    call = "while noise arrives"
    before = held(server)
    assert ask(server.ports["radius_auth"], "auth", *trunk(call)).code == "Access-Accept"
    with sender(server, "radius_acct") as peer:
        for _ in range(20):
            for _ in range(10):
                peer.send(head(4, 21, b"\x01"))
        stop = OURS.request(ACCOUNTING_REQUEST, 9, b"", encoded(
            [attribute("Acct-Status-Type", 2), attribute("Acct-Session-Id", call)]))  # fmt: skip
        peer.send(stop)
        assert OURS.answers(decode(peer.recv(5000)), stop[4:20])
    assert held(server) == before
