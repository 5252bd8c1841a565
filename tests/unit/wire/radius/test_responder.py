"""The responder of RADIUS without a socket (interfaces.md 5): which packets are answered, and how."""

from __future__ import annotations

import pytest
from unit.wire.radius.served import (
    HOST,
    SECRET,
    STRANGER,
    Served,
    access,
    account,
    is_authentic,
    status_server,
    switch,
    texts,
    unsigned_accounting,
)

from identengine.wire.radius.packet import ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE

ACCEPT, REJECT, RECORDED = ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE
START, STOP, ALIVE, ON, OFF, FAILED = 1, 2, 3, 7, 8, 15


@pytest.fixture(params=[True, False], ids=["usual", "general"])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(usual=request.param)


# ---- authorizations


def test_an_accepted_call_holds_a_slot(served: Served) -> None:
    request = access()
    reply = served.ask(request)
    assert reply is not None
    assert reply[0] == ACCEPT
    assert is_authentic(reply, request)
    assert "xpgk-dst-number-out=44123" in texts(reply, "Cisco-AVPair")
    assert served.held == 1


@pytest.mark.parametrize(("source", "reason"), [("10.9.9.9", "unknown_source"), ("10.0.0.999", "invalid_request")])
def test_a_rejected_call(served: Served, source: str, reason: str) -> None:
    reply = served.ask(access(source=source))
    assert reply is not None
    assert (reply[0], texts(reply, "Reply-Message")) == (REJECT, [reason])
    assert served.rejected == [reason]
    assert served.held == 0


def test_limits_hold_over_calls_of_one_batch(served: Served) -> None:
    replies = served.together(*(access(str(number)) for number in range(4)))
    assert [replies[place][0] for place in range(4)] == [ACCEPT, ACCEPT, REJECT, REJECT]
    assert served.held == 2


def test_a_failover_asks_again_with_another_packet(served: Served) -> None:
    """Kamailio repeats a request with another identifier, port and authenticator: the call id is the key."""
    first, second = access("a"), access("a", identifier=8)
    assert [served.decided(one) for one in (first, second)] == [ACCEPT, ACCEPT]
    assert served.held == 1


def test_before_the_first_book() -> None:
    served = Served(ready=False)
    reply = served.ask(access())
    assert reply is not None
    assert (reply[0], texts(reply, "Reply-Message")) == (REJECT, ["not_ready"])
    assert served.decided(status_server()) is None, "a switch should ask another server"
    fields = (("h323-remote-address", "10.0.0.1"), ("Called-Station-Id", "44123"))
    for status in (START, ALIVE):
        assert served.decided(account(status, "d", *fields)) is None, "the switch repeats it"


def test_a_reply_that_does_not_fit_frees_its_slot(served: Served) -> None:
    reply = served.ask(access(source="10.0.0.3"))
    assert reply is not None
    assert (reply[0], texts(reply, "Reply-Message")) == (REJECT, ["internal_error"])
    assert served.held == 0
    assert len(served.engine.faults) == 1


def test_a_call_that_cannot_be_stored_is_rejected(served: Served) -> None:
    served.mirror.broken = True
    request = access()
    reply = served.ask(request)
    assert reply is not None
    assert (reply[0], texts(reply, "Reply-Message")) == (REJECT, ["overload"])
    assert served.held == 0
    served.mirror.broken = False
    assert served.ask(request) == reply, "a duplicate gets the stored reject"
    assert served.decided(access()) == ACCEPT


# ---- Status-Server


def test_status_server_on_both_ports(served: Served) -> None:
    for accounting, code in ((False, ACCEPT), (True, RECORDED)):
        request = status_server()
        reply = served.ask(request, accounting=accounting)
        assert reply is not None
        assert reply[0] == code
        assert is_authentic(reply, request)


def test_status_server_without_a_message_authenticator(served: Served) -> None:
    assert served.decided(status_server(signed=False)) is None
    assert served.dropped == [(HOST, "no_message_authenticator")]


# ---- packets that get no reply


@pytest.mark.parametrize(
    ("packet", "accounting", "cause"),
    [
        (b"", False, "too_short"),
        (b"\x01" * 19, False, "too_short"),
        (access()[:-1], False, "truncated"),
        (b"\x01\x01\x00\x13" + bytes(16), False, "length"),
        (b"\x01\x01\xff\xff" + bytes(5000), False, "too_long"),
        (b"\x63\x01\x00\x14" + bytes(16), False, "code"),
        (access(), True, "code"),
        (account(STOP), False, "code"),
        (b"\x02\x01\x00\x14" + bytes(16), False, "code"),
        (b"\x0b\x01\x00\x14" + bytes(16), False, "code"),
        (b"\x05\x01\x00\x14" + bytes(16), True, "code"),
        (b"\x28\x01\x00\x14" + bytes(16), True, "code"),
        (access(secret=b"another secret"), False, "message_authenticator"),
        (account(STOP, secret=b"another secret"), True, "accounting_authenticator"),
        (status_server(secret=b"another secret"), False, "message_authenticator"),
        (unsigned_accounting(b"\x01\x01"), True, "attribute"),
        (unsigned_accounting(b"\x00\x02"), True, "attribute"),
        (unsigned_accounting(b"\x1a\x06\x00\x00\x00\x09"), True, "vendor_attribute"),
        (unsigned_accounting(b"\x28\x06\x00\x00\x00\x02" * 300), True, "too_many_attributes"),
    ],
)
def test_packets_without_a_reply(served: Served, packet: bytes, accounting: bool, cause: str) -> None:
    assert served.ask(packet, accounting=accounting) is None
    assert served.dropped == [(HOST, cause)]
    assert served.engine.faults.total == 0
    assert served.decided(access()) == ACCEPT, "the next packet is served"


def test_bad_packets_do_not_harm_others_of_their_batch(served: Served) -> None:
    replies = served.together(b"", access("a"), b"\xff" * 100, access("b", secret=b"wrong"), access("c"))
    assert sorted(replies) == [1, 4]


def test_strangers_have_no_session(served: Served) -> None:
    assert served.peers.find(STRANGER) is None


# ---- Message-Authenticator


@pytest.mark.parametrize(
    ("required", "before", "after"), [("auto", ACCEPT, None), (True, None, None), (False, ACCEPT, ACCEPT)]
)
def test_requests_without_a_message_authenticator(
    required: str | bool, before: int | None, after: int | None
) -> None:
    served = Served(switch(require_message_authenticator=required))
    assert served.decided(access("a", signed=False)) == before
    assert served.decided(status_server()) == ACCEPT, "it always has a Message-Authenticator, so it shows nothing"
    assert served.decided(access("b", signed=False)) == before
    assert served.decided(access("b")) == ACCEPT
    assert served.decided(access("b", signed=False)) == after
    if after is None:
        assert served.dropped[-1] == (HOST, "no_message_authenticator")


def test_a_wrong_message_authenticator_is_not_one() -> None:
    served = Served(switch(require_message_authenticator="auto"))
    assert served.decided(access("a", secret=b"wrong")) is None
    assert served.decided(access("a", signed=False)) == ACCEPT


def test_a_reload_forgets_no_message_authenticator() -> None:
    served = Served()
    assert served.decided(access("a")) == ACCEPT
    served.configure(switch(secret=b"another secret"))
    assert served.decided(access("a", signed=False)) is None
    served.configure(switch(require_message_authenticator=False))
    assert served.decided(access("a", signed=False)) == ACCEPT


@pytest.mark.parametrize("limited", [True, False])
def test_proxy_state_without_a_message_authenticator(limited: bool) -> None:
    served = Served(switch(limit_proxy_state=limited))
    state = ("Proxy-State", b"\x01")
    assert served.decided(access("a", "10.0.0.1", signed=False)) == ACCEPT
    assert served.decided(access("b", "10.0.0.2", state, signed=False)) == (None if limited else ACCEPT)
    assert served.decided(access("c", "10.0.0.2", state)) == ACCEPT


def test_proxy_state_is_copied_in_order(served: Served) -> None:
    states = [("Proxy-State", bytes((number,)) * number) for number in range(1, 9)]
    for packet in (
        access("a", "10.0.0.1", *states),
        access("a", "10.9.9.9", *states),
        account(STOP, "a", *states),
    ):
        reply = served.ask(packet)
        assert reply is not None
        assert texts(reply, "Proxy-State") == [value.decode() for _, value in states]


# ---- several switches


def test_switches_at_one_address_are_told_apart_by_their_secrets() -> None:
    served = Served(switch("one"), switch("two", secret=b"77d0a4e8529f3b1c"))
    for name, secret in (("one", SECRET), ("two", b"77d0a4e8529f3b1c")):
        request = access("same", secret=secret)
        reply = served.ask(request)
        assert reply is not None
        assert is_authentic(reply, request, secret), name
    assert served.held == 2, "each switch has its own calls"
    stop = account(STOP, "same", secret=b"77d0a4e8529f3b1c")
    reply = served.ask(stop)
    assert reply is not None
    assert is_authentic(reply, stop, b"77d0a4e8529f3b1c")
    assert served.held == 1
    assert served.decided(access("c", signed=False)) is None, "nothing shows which of the two it is from"
    assert served.decided(access("c", secret=b"wrong")) is None
    assert [cause for _, cause in served.dropped] == ["no_message_authenticator", "message_authenticator"]


def test_the_longest_network_chooses_the_secret() -> None:
    served = Served(switch("wide", "192.0.2.0/24", b"the wide secret."), switch("near", HOST))
    assert served.decided(access("a")) == ACCEPT
    assert served.decided(access("a", secret=b"the wide secret.")) is None
    assert served.decided(access("a", secret=b"the wide secret."), host="192.0.2.7") == ACCEPT


def test_a_reload_changes_the_secret() -> None:
    served = Served()
    assert served.decided(access("a")) == ACCEPT
    served.configure(switch(secret=b"another secret"))
    assert served.decided(access("b")) is None
    assert served.decided(access("b", secret=b"another secret")) == ACCEPT


# ---- age


def test_old_packets_are_dropped_except_stops(served: Served) -> None:
    served.ask(access("c"))
    assert served.ask(access("b"), too_old=[True]) is None
    assert served.ask(status_server(), too_old=[True]) is None
    assert served.ask(account(START, "c"), too_old=[True]) is None
    assert served.ask(account(ON, "c"), too_old=[True]) is None
    assert (served.counts["too_old"], served.held) == (4, 1)
    assert served.decided(account(STOP, "c"), too_old=[True]) == RECORDED
    assert served.held == 0
    assert served.decided(account(START, "c")) == RECORDED, "what was dropped is no duplicate"
