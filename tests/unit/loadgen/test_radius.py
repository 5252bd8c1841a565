"""RADIUS in the load generator: its packets as pyrad reads them, and the check of answers."""

from __future__ import annotations

import hmac
import json
import random
import socket
from hashlib import md5
from pathlib import Path

import pytest
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket

from identengine.errors import WireError
from identengine.loadgen.connection import LoadConnection
from identengine.loadgen.mix import Judge, Line
from identengine.loadgen.order import Source
from identengine.loadgen.pattern import Pattern
from identengine.loadgen.radius import IDENTIFIERS, Radius
from identengine.loadgen.scores import Scores
from identengine.loadgen.target import target

SECRET = b"a secret"
INTERFACE = Radius(SECRET)
NAMES = """\
ATTRIBUTE User-Name 1 string
ATTRIBUTE User-Password 2 string
ATTRIBUTE Calling-Station-Id 31 string
ATTRIBUTE Acct-Status-Type 40 integer
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Message-Authenticator 80 octets
ATTRIBUTE Digest-Response 103 string
VENDOR Cisco 9
BEGIN-VENDOR Cisco
ATTRIBUTE Cisco-AVPair 1 string
ATTRIBUTE h323-remote-address 23 string
ATTRIBUTE h323-call-origin 26 string
END-VENDOR Cisco
"""
ACCEPT, REJECT, ACCOUNTED, CHALLENGE = 2, 3, 5, 11


@pytest.fixture
def names(tmp_path: Path) -> Dictionary:
    path = tmp_path / "dictionary"
    path.write_text(NAMES)
    return Dictionary(str(path))


def pattern(method: str, params: dict[str, object]) -> Pattern:
    return Pattern(lambda number, filled: INTERFACE.render(method, filled, number), params, random.Random(1))


def attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value) + 2)) + value


def answer(request: bytes, code: int, attributes: bytes = b"", *, authenticated: bool = True) -> bytes:
    """Return the answer of a server that knows the secret."""
    first = attribute(80, bytes(16)) if authenticated else b""
    head = bytes((code, request[1])) + (20 + len(first) + len(attributes)).to_bytes(2)
    if authenticated:
        first = attribute(80, hmac.digest(SECRET, head + request[4:20] + first + attributes, "md5"))
    return head + md5(head + request[4:20] + first + attributes + SECRET).digest() + first + attributes


@pytest.mark.parametrize("length", [1, 15, 16, 17, 60])
def test_an_authorization_is_a_packet_that_pyrad_verifies(names: Dictionary, length: int) -> None:
    params: dict[str, object] = {
        "call_id": "100%-{n}",
        "name": "alice",
        "password": "é" + "p" * (length - 1),
        "src_ip": "192.0.2.5",
        "src_port": 5060,
        "src_number": "44{n:4}",
        "direction": "termination",
        "digest": {"response": "0123"},
    }
    sealed = INTERFACE.reader().seal(1, pattern("authorize", params).fill(1, 1234567))
    packet = AuthPacket(packet=sealed, secret=SECRET, dict=names)
    assert packet.code == 1
    assert packet.verify_message_authenticator()
    assert packet.PwDecrypt(packet[2][0]) == params["password"]
    assert packet["Acct-Session-Id"] == ["100%-000001234567"]
    assert packet["User-Name"] == ["alice"]
    assert packet["Calling-Station-Id"] == ["444567"]
    assert packet["h323-remote-address"] == ["h323-remote-address=192.0.2.5"]
    assert packet["Cisco-AVPair"] == ["xpgk-source-port=5060"]
    assert packet["h323-call-origin"] == ["h323-call-origin=originate"]
    assert packet["Digest-Response"] == ["0123"]


@pytest.mark.parametrize(
    ("method", "status"), [("start", 1), ("stop", 2), ("update", 3), ("switch_up", 7), ("switch_down", 8)]
)
def test_accounting_is_a_packet_that_pyrad_verifies(names: Dictionary, method: str, status: int) -> None:
    sealed = INTERFACE.reader().seal(1, pattern(method, {"call_id": "{n}"}).fill(1, 7))
    packet = AcctPacket(packet=sealed, secret=SECRET, dict=names)
    assert packet.code == 4
    assert packet.VerifyAcctRequest()
    assert packet["Acct-Status-Type"] == [status]
    assert packet["Acct-Session-Id"] == [f"{7:012}"]


def test_a_status_server_request_has_a_message_authenticator(names: Dictionary) -> None:
    packet = AuthPacket(
        packet=INTERFACE.reader().seal(1, INTERFACE.render("ping", {}, "")), secret=SECRET, dict=names
    )
    assert packet.code == 12
    assert packet.verify_message_authenticator()


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("identify", {}, 'method: expected "authorize", .* or "ping", which RADIUS has, got "identify"'),
        ("authorize", {"leg_id": "1"}, "leg_id: RADIUS carries no such parameter"),
        ("authorize", {"name": "x" * 254}, "expected at most 253 bytes in attribute 1, got 254"),
        ("authorize", {"name": ["x"]}, r'name: expected a text, got \["x"\]'),
        ("start", {"direction": "up"}, 'direction: expected "origination" or "termination", got "up"'),
        ("authorize", {"digest": {"opaque": "x"}}, "digest: expected an object of "),
    ],
)
def test_requests_that_radius_has_not(method: str, params: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        INTERFACE.render(method, params, "")


def test_answers_are_matched_and_judged() -> None:
    session = INTERFACE.reader()
    asked = {number: session.seal(number, INTERFACE.render("authorize", {}, "")) for number in range(1, 4)}
    pairs = (b"xpgk-dst-number-out=4420", b"account=17", b"rate-table=A=B")
    vendor = [attribute(26, b"\0\0\0\x09" + attribute(1, pair)) for pair in pairs]
    line = Line("authorize", {}, {"account_id": 17, "dst_number": "4420", "rate_table": "A=B", "version": 5})
    judge = Judge(line, INTERFACE.decoder("authorize"), INTERFACE.carried("authorize"))
    (accepted,) = session.feed(answer(asked[2], ACCEPT, b"".join(vendor)))
    assert accepted.id == 2
    assert judge.result(accepted.result) == ("accepted", None)
    (rejected,) = session.feed(answer(asked[1], REJECT, attribute(18, b"no_did")))
    assert (rejected.id, judge.result(rejected.result).outcome) == (1, "no_did")
    (late,) = session.feed(answer(asked[1], REJECT))
    assert late.id == 1
    number, stop = (
        4,
        Judge(Line("stop", {}, {"ok": True, "freed": 1}), INTERFACE.decoder("stop"), frozenset({"ok"})),
    )
    sealed = session.seal(number, INTERFACE.render("stop", {"call_id": "1"}, ""))
    (counted,) = session.feed(answer(sealed, ACCOUNTED, authenticated=False))
    assert (counted.id, stop.result(counted.result)) == (4, ("done", None))


def test_a_changed_answer_is_no_answer() -> None:
    session = INTERFACE.reader()
    asked = session.seal(1, INTERFACE.render("authorize", {}, ""))
    right = answer(asked, ACCEPT, attribute(18, b"text"))
    for place in range(len(right)):
        wrong = bytearray(right)
        wrong[place] ^= 1
        with pytest.raises(WireError):
            session.feed(bytes(wrong))
        with pytest.raises(WireError):
            session.feed(right[:place])
    # The Response Authenticator alone proves nothing, since its MD5 can be forged (CVE-2024-3596).
    for missing in (
        answer(asked, ACCEPT, authenticated=False),
        answer(asked, CHALLENGE),
        answer(asked, ACCOUNTED),
    ):
        with pytest.raises(WireError):
            session.feed(missing)
    forged = answer(asked, ACCEPT, attribute(80, bytes(16)), authenticated=False)
    with pytest.raises(WireError, match="Message-Authenticator"):
        session.feed(forged)
    assert [reply.id for reply in session.feed(right)] == [1]


def test_identifiers_are_used_again() -> None:
    session = INTERFACE.reader()
    message = INTERFACE.render("authorize", {}, "")
    asked = {number: session.seal(number, message) for number in range(IDENTIFIERS)}
    assert {packet[1] for packet in asked.values()} == set(range(IDENTIFIERS))
    assert len({packet[4:20] for packet in asked.values()}) == IDENTIFIERS
    session.forget(7)
    assert [reply.id for reply in session.feed(answer(asked[7], REJECT))] == [7]  # late
    assert session.again(8) == asked[8]
    again = session.seal(1000, message)
    assert again[1] == asked[7][1]
    with pytest.raises(WireError):
        session.feed(answer(asked[7], REJECT))
    assert [reply.id for reply in session.feed(answer(again, REJECT))] == [1000]


class Sending(socket.socket):
    """A socket that keeps the datagrams which it sends."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: list[bytes] = []

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # bytes alone
        self.sent.append(data)
        return len(data)


def test_a_retransmission_waits_for_a_socket_that_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = [pattern("authorize", {"call_id": "{n}"})]
    judge = Judge(Line("authorize"), INTERFACE.decoder("authorize"), INTERFACE.carried("authorize"))
    whom, scores = target("radius://127.0.0.1", "json", None, 1.0, secret=SECRET), Scores(["authorize"])
    connection = LoadConnection(whom, Source(patterns, 0, 1, 1), patterns, [judge], scores, patience=300)
    with Sending() as opened:
        monkeypatch.setattr(type(whom), "dial", lambda _: (opened, INTERFACE.reader()))
        assert connection.connected(0)
        connection.send([0], now=0)
        connection.blocked, connection._blocked_at = True, 150
        connection.sweep(150)
        assert (len(opened.sent), scores.retransmitted) == (1, 0)
        connection.blocked = False
        connection.sweep(160)
        assert (opened.sent, scores.retransmitted) == (opened.sent[:1] * 2, 1)


def test_a_mix_of_radius_is_json_too() -> None:
    """Fields that RADIUS does not carry are not compared, so one mix fits all interfaces."""
    line = Line("authorize", {}, json.loads('{"accepted": true, "tech_prefix": "9", "matched": "192.0.2.5"}'))
    judge = Judge(line, INTERFACE.decoder("authorize"), INTERFACE.carried("authorize"))
    assert judge.result(bytes((ACCEPT,))) == ("accepted", None)
    assert judge.result(bytes((REJECT,))).wrong is not None
