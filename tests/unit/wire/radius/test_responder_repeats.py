"""Repeated packets get the stored reply again, undecided (interfaces.md 5)."""

from __future__ import annotations

import pytest
from unit.wire.radius.served import HOST, OTHER, Served, access, account, status_server, switch

from identengine.wire.radius.duplicates import KEPT_SECONDS
from identengine.wire.radius.packet import ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE
from identengine.wire.radius.passwords import chap_response

START, STOP, ON = 1, 2, 7


@pytest.mark.parametrize(
    "packet",
    [access("c"), access("c", "10.9.9.9"), account(START, "c"), account(STOP, "c"), status_server()],
    ids=["accept", "reject", "start", "stop", "status"],
)
def test_a_duplicate_gets_the_same_bytes(packet: bytes) -> None:
    served = Served()
    first = served.ask(packet)
    assert first is not None
    rejected, retransmitted = list(served.rejected), served.calls.gauges().retransmitted
    for _ in range(3):
        assert served.ask(packet) == first
    assert served.counts["duplicate"] == 3
    assert served.rejected == rejected
    assert served.calls.gauges().retransmitted == retransmitted


def test_a_duplicate_is_not_decided() -> None:
    served = Served()
    packet = access("c")
    accepted = served.ask(packet)
    assert served.decided(account(STOP, "c")) == ACCOUNTING_RESPONSE
    assert served.held == 0
    assert served.ask(packet) == accepted
    assert served.held == 0, "the call has ended, and the late duplicate takes no slot"


def test_a_duplicate_is_known_by_address_port_and_header() -> None:
    served = Served(switch(), switch("other", OTHER))
    packet = access("c")
    served.ask(packet)
    assert served.decided(packet, ports=[1025]) == ACCESS_ACCEPT
    assert served.decided(packet, host=OTHER) == ACCESS_ACCEPT
    assert served.counts["duplicate"] == 0
    changed = access("c")[:20] + packet[20:]
    assert served.decided(changed) is None, "another authenticator makes the Message-Authenticator wrong"


def test_a_duplicate_must_be_authentic() -> None:
    served = Served()
    packet = access("c")
    assert served.decided(packet) == ACCESS_ACCEPT
    forged = packet[:-1] + bytes((packet[-1] ^ 1,))
    assert served.decided(forged) is None
    assert served.dropped == [(HOST, "message_authenticator")]


def test_duplicates_of_one_batch() -> None:
    served = Served()
    packet, other = access("a"), access("b")
    replies = served.together(packet, other, packet, packet, ports=[1, 1, 1, 2])
    assert sorted(replies) == [0, 1, 2, 3]
    assert replies[0] == replies[2]
    assert served.held == 2
    assert served.counts["duplicate"] == 1, "the last one has another port"


def test_duplicates_of_one_batch_that_is_rolled_back() -> None:
    served = Served()
    served.mirror.broken = True
    packet = access("a")
    replies = served.together(packet, packet)
    assert replies[0] == replies[1]
    assert replies[0][0] == 3


@pytest.mark.parametrize(
    ("packet", "code"),
    [(access("a"), ACCESS_ACCEPT), (account(ON, "boot"), ACCOUNTING_RESPONSE)],
    ids=["access", "on"],
)
def test_a_fault_at_the_end_of_a_batch_loses_no_repeat(
    monkeypatch: pytest.MonkeyPatch, packet: bytes, code: int
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault")

    served = Served()
    monkeypatch.setattr("identengine.wire.radius.duplicates.Duplicates.keep", fail)
    with pytest.raises(ValueError, match="a fault"):
        served.ask(packet)
    monkeypatch.undo()
    assert served.decided(packet) == code
    assert served.counts["duplicate"] == 0


def test_one_packet_at_both_ports_is_no_duplicate() -> None:
    served = Served()
    status = status_server()
    session = served.peers.find(HOST)
    assert session is not None
    served._ports = [1024]
    served.batches.begin()
    first, _ = served.responder.authentication([status], [session], served, served.owed, None)
    second, _ = served.responder.accounting([status], [session], served, served.owed, None)
    served.batches.end()
    assert [reply[0] for reply in (*first, *second)] == [ACCESS_ACCEPT, ACCOUNTING_RESPONSE]


@pytest.mark.parametrize("usual", [True, False])
def test_a_repeat_with_other_credentials_is_decided_again(usual: bool) -> None:
    """The call id of an accepted call must not spare its caller the password (engine.md 5.3)."""
    served = Served(usual=usual)
    challenge = bytes(range(16))
    right, wrong = (
        (
            ("User-Name", "alice"),
            ("CHAP-Challenge", challenge),
            ("CHAP-Password", chap_response(1, one, challenge)),
        )
        for one in (b"hush", b"guessed")
    )
    assert served.decided(access("c", "", *right)) == ACCESS_ACCEPT
    assert served.decided(access("c", "", *wrong)) == ACCESS_REJECT
    assert served.decided(access("c", "", *right[:2])) == ACCESS_REJECT
    assert served.rejected == ["bad_password", "auth_required"]
    assert served.decided(access("c", "", *right)) == ACCESS_ACCEPT
    assert (served.held, served.calls.gauges().retransmitted) == (1, 1)


def test_replies_are_kept_for_thirty_seconds() -> None:
    served = Served()
    packet = access("c")
    served.ask(packet)
    served.now += KEPT_SECONDS - 1
    served.ask(packet)
    assert served.counts["duplicate"] == 1
    served.now += 2
    served.ask(packet)
    assert served.counts["duplicate"] == 1, "it is decided again; the set of calls knows the call"
    assert served.held == 1


def test_requests_without_a_reply_are_decided_again() -> None:
    served = Served()
    packet = account(START, None)
    assert served.decided(packet) is None
    assert served.decided(packet) is None
    assert served.counts["duplicate"] == 0
    assert served.wrong == ["call_id", "call_id"]


def test_a_restart_that_is_being_recorded_answers_once() -> None:
    served = Served(max_legs=5000)
    for number in range(3000):
        served.ask(access(str(number), "10.0.0.2"))
    served.now += 1
    packet = account(ON, "boot")
    assert served.ask(packet) is None
    assert served.owed.count == 1
    assert served.ask(packet) is None, "the first one will be answered"
    assert served.ask(account(ON, "boot", ("Acct-Delay-Time", 3))) is None
    while served.calls.work(served.now):
        pass
    assert served.held == 0
    ((place, reply),) = served.late
    assert (place, reply[0], served.owed.count) == (0, ACCOUNTING_RESPONSE, 0)
    assert served.ask(packet) == reply
