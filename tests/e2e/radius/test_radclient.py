"""radclient against a real server (interfaces.md 5): all credentials, accounting, Status-Server and secrets."""

from __future__ import annotations

from hashlib import md5
from itertools import count as counting

import pytest
from e2e.radius.carrier import (
    FIXED,
    OTHER_SECRET,
    PASSWORD,
    PROXY,
    SIPPY,
    STRANGER,
    accounting,
    count,
    grows,
    trunk,
)
from support import HOST
from support.operator import held
from support.radclient import SECRET, SIGNED, Reply, ask, send, send_all
from support.server import Server

from identengine.model.attributes import ATTRIBUTES

_CALLS = counting()


def call_id() -> str:
    """Return the id of a new call."""
    return f"call-{next(_CALLS)}"


def authorized(server: Server, *attributes: tuple[str, object], source: str = HOST) -> Reply:
    """Return the reply to an Access-Request."""
    return ask(server.ports["radius_auth"], "auth", *attributes, source=source)


def report(server: Server, status: str, call: str, *more: tuple[str, object], source: str = HOST) -> Reply:
    """Return the reply to an Accounting-Request."""
    return ask(server.ports["radius_acct"], "acct", *accounting(status, call, *more), source=source)


# ---- authorizations


def test_an_accepted_call(server: Server) -> None:
    call, before = call_id(), held(server)
    reply = authorized(server, *trunk(call))
    assert reply.code == "Access-Accept"
    assert reply.attributes[0][0] == "Message-Authenticator", "it precedes all that an attacker could choose"
    assert reply.values("h323-return-code") == ["0"]
    assert reply.pairs == {
        "xpgk-src-number-out": "4420",
        "xpgk-dst-number-out": "44123",
        "account": "1",
        "client": "1",
        "tag": "gold",
    }
    assert reply.values("Class") == ["0x" + b"account=1;client=1;version=1".hex()]
    assert held(server) == before + 1
    assert report(server, "Stop", call).code == "Accounting-Response"
    assert held(server) == before


def test_a_rejected_call(server: Server) -> None:
    before = count(server, "rejected_unknown_source")
    reply = authorized(server, ("h323-remote-address", "10.9.9.9"), ("Called-Station-Id", "44123"), SIGNED)
    assert (reply.code, reply.reason) == ("Access-Reject", "unknown_source")
    assert reply.attributes[0][0] == "Message-Authenticator"
    assert (reply.pairs, reply.values("h323-return-code")) == ({"sip-code": "403", "q850": "21"}, ["1"])
    grows(server, "rejected_unknown_source", before, 1)
    server.logged('rejected unknown_source from "10.9.9.9" by gw')


def test_the_dialled_number_loses_its_tech_prefix(server: Server) -> None:
    dialled = ("h323-remote-address", "10.0.0.4"), ("Called-Station-Id", "77#44123"), SIGNED
    assert authorized(server, *dialled).pairs["xpgk-dst-number-out"] == "44123"


def test_the_limit_of_an_account(server: Server) -> None:
    calls = [call_id() for _ in range(7)]
    codes = [authorized(server, *trunk(call)).reason for call in calls]
    assert codes == [None] * 5 + ["account_capacity"] * 2
    for call in calls[:5]:
        report(server, "Stop", call)
    assert held(server) == 0


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    ("credential", "password", "reason"),
    [
        ("User-Password", PASSWORD, None),
        ("User-Password", "Guessed", "bad_password"),
        ("User-Password", "x" * 128, "bad_password"),
        ("CHAP-Password", PASSWORD, None),
        ("CHAP-Password", "Guessed", "bad_password"),
    ],
)
def test_passwords(server: Server, credential: str, password: str, reason: str | None, signed: bool) -> None:
    asked = [("User-Name", "alice"), (credential, password), ("Called-Station-Id", "44123")]
    reply = authorized(server, *asked, *((SIGNED,) if signed else ()), source=SIPPY)
    assert reply.reason == reason
    assert reply.code == ("Access-Accept" if reason is None else "Access-Reject")


@pytest.mark.parametrize(("password", "reason"), [(PASSWORD, None), ("Guessed", "bad_password")])
def test_digests(server: Server, password: str, reason: str | None) -> None:
    def hashed(*texts: str) -> str:
        return md5(":".join(texts).encode()).hexdigest()

    secret, what = hashed("alice", "example.net", password), hashed("INVITE", "sip:44123@example.net")
    fields = {
        "Digest-Username": "alice",
        "Digest-Realm": "example.net",
        "Digest-Nonce": "n0nce",
        "Digest-Method": "INVITE",
        "Digest-URI": "sip:44123@example.net",
        "Digest-Qop": "auth",
        "Digest-Nonce-Count": "00000001",
        "Digest-CNonce": "client",
        "Digest-Algorithm": "MD5",
        "Digest-Response": hashed(secret, "n0nce", "00000001", "client", "auth", what),
    }
    # Debian's dictionary of radclient has no names for these attributes.
    raw = [(f"Attr-{ATTRIBUTES[name].type}", "0x" + value.encode().hex()) for name, value in fields.items()]
    reply = authorized(server, *raw, ("User-Name", "alice"), ("Called-Station-Id", "44123"), SIGNED)
    assert reply.reason == reason


def test_a_password_that_a_switch_always_sends(server: Server) -> None:
    caller = ("User-Name", "10.0.0.5"), ("Called-Station-Id", "44123")
    for kind in ("User-Password", "CHAP-Password"):
        assert authorized(server, *caller, (kind, FIXED), source=SIPPY).reason is None
        assert authorized(server, *caller, (kind, "Guessed"), source=SIPPY).reason == "bad_password"
        assert authorized(server, *caller, (kind, FIXED), SIGNED).reason == "bad_password"


def test_replies_as_sip_avp(server: Server) -> None:
    reply = authorized(server, ("User-Name", "10.0.0.1"), ("Called-Station-Id", "44123"), source=SIPPY)
    texts = [bytes.fromhex(value.removeprefix("0x")).decode() for value in reply.values("Attr-225")]
    assert texts == ["dst_number:44123", "account_id:1", "client_id:1", "tag:gold"]
    assert reply.pairs["xpgk-dst-number-out"] == "44123"


def test_a_map_of_a_switch(server: Server) -> None:
    call, before = call_id(), held(server)
    caller = ("User-Name", "10.0.0.1"), ("Called-Station-Id", "44123")
    asked = ("h323-conf-id", "not this one"), ("Cisco-AVPair", f"call-id={call}")
    assert authorized(server, *caller, *asked, source=SIPPY).code == "Access-Accept"
    assert held(server) == before + 1
    report(server, "Stop", call, source=SIPPY)
    assert held(server) == before


# ---- accounting


@pytest.mark.parametrize("first", ["Start", "Alive", "Interim-Update"])
def test_the_life_of_a_call(server: Server, first: str) -> None:
    call, before = call_id(), held(server)
    authorized(server, *trunk(call))
    for status in (first, "Alive", "Alive"):
        assert report(server, status, call).code == "Accounting-Response"
        assert held(server) == before + 1
    assert report(server, "Stop", call, ("Acct-Delay-Time", 0)).code == "Accounting-Response"
    assert report(server, "Stop", call, ("Acct-Delay-Time", 3)).code == "Accounting-Response"
    assert held(server) == before


@pytest.mark.parametrize("status", ["Start", "Alive", "Stop"])
def test_an_accounting_request_is_the_first_that_is_heard(server: Server, status: str) -> None:
    call, before = call_id(), held(server)
    fields = ("h323-remote-address", "10.0.0.1"), ("Called-Station-Id", "44123")
    assert report(server, status, call, *fields).code == "Accounting-Response"
    assert held(server) == before + (status != "Stop")
    report(server, "Stop", call)
    assert held(server) == before


def test_both_sides_of_a_call(server: Server) -> None:
    """Sippy reports both sides under one session id."""
    call, before = call_id(), held(server)
    authorized(server, *trunk(call))
    caller = ("h323-call-origin", "answer"), ("h323-remote-address", "10.0.0.1"), ("Called-Station-Id", "44123")
    vendor = ("h323-call-origin", "originate"), ("h323-remote-address", "10.0.0.3"), ("Called-Station-Id", "44123")
    for side in (caller, vendor, caller, vendor):
        report(server, "Start", call, *side)
    assert held(server) == before + 2
    report(server, "Stop", call, *vendor)
    assert held(server) == before + 1
    report(server, "Stop", call, *caller)
    assert held(server) == before


def test_a_stop_frees_both_sides_if_it_names_none(server: Server) -> None:
    call, before = call_id(), held(server)
    for side, source in (("answer", "10.0.0.1"), ("originate", "10.0.0.3")):
        fields = ("h323-call-origin", side), ("h323-remote-address", source), ("Called-Station-Id", "44123")
        report(server, "Start", call, *fields)
    assert held(server) == before + 2
    report(server, "Stop", call)
    assert held(server) == before


@pytest.mark.parametrize(
    ("status", "source", "secret"), [("Accounting-On", HOST, SECRET), ("Accounting-Off", PROXY, OTHER_SECRET)]
)
def test_a_switch_that_restarts(server: Server, status: str, source: str, secret: str) -> None:
    own, other = call_id(), call_id()
    auth, acct = server.ports["radius_auth"], server.ports["radius_acct"]
    assert ask(auth, "auth", *trunk(own), source=source, secret=secret).code == "Access-Accept"
    assert authorized(server, *trunk(other), source=SIPPY).code == "Access-Accept"
    before = held(server)
    reset = accounting(status, "boot")
    assert ask(acct, "acct", *reset, source=source, secret=secret).code == "Accounting-Response"
    assert held(server) == before - 1, "calls of other switches remain"
    report(server, "Stop", other, source=SIPPY)


# ---- Status-Server


@pytest.mark.parametrize(
    ("port", "code"), [("radius_auth", "Access-Accept"), ("radius_acct", "Accounting-Response")]
)
def test_status_server(server: Server, port: str, code: str) -> None:
    reply = ask(server.ports[port], "status", SIGNED)
    assert (reply.code, reply.attributes[0][0]) == (code, "Message-Authenticator")


# ---- secrets and addresses


@pytest.mark.parametrize(
    ("port", "kind", "attributes", "cause"),
    [
        ("radius_auth", "auth", trunk("x"), "message_authenticator"),
        ("radius_auth", "status", (SIGNED,), "message_authenticator"),
        ("radius_acct", "acct", accounting("Stop", "x"), "accounting_authenticator"),
    ],
)
def test_a_wrong_secret(
    server: Server, port: str, kind: str, attributes: tuple[tuple[str, object], ...], cause: str
) -> None:
    before = count(server, f"radius_dropped_{cause}")
    sent = send(server.ports[port], kind, *attributes, secret="wrong", seconds=0.5, retries=1)
    assert sent.replies == []
    assert "No reply from server" in sent.output
    grows(server, f"radius_dropped_{cause}", before, 1)
    server.logged(f"RADIUS packets from {HOST}, an address of gw, without a reply: ")
    server.logged(f"does not fit the secret ({cause})")


def test_each_switch_has_its_own_secret(server: Server) -> None:
    before = count(server, "radius_dropped_message_authenticator")
    port = server.ports["radius_auth"]
    assert send(port, "status", SIGNED, source=PROXY, seconds=0.5, retries=1).replies == []
    assert ask(port, "status", SIGNED, source=PROXY, secret=OTHER_SECRET).code == "Access-Accept"
    grows(server, "radius_dropped_message_authenticator", before, 1)


def test_a_stranger_gets_nothing(server: Server) -> None:
    before = count(server, "datagrams_dropped_unknown_peer")
    for port, kind, attributes in (
        ("radius_auth", "auth", trunk("x")),
        ("radius_auth", "status", (SIGNED,)),
        ("radius_acct", "acct", accounting("Stop", "x")),
    ):
        assert send(server.ports[port], kind, *attributes, source=STRANGER, seconds=0.3, retries=1).replies == []
    grows(server, "datagrams_dropped_unknown_peer", before, 3)
    server.logged(f'unknown peer from "{STRANGER}"')


def test_requests_without_a_message_authenticator(server: Server) -> None:
    """A request without one can be forged, so it is required once a switch has shown that it can send one."""
    port, before = server.ports["radius_auth"], count(server, "radius_dropped_no_message_authenticator")
    authorized(server, ("h323-remote-address", "10.9.9.9"), SIGNED)
    for source, secret in ((HOST, SECRET), (PROXY, OTHER_SECRET)):  # auto, after a signed request; and true
        asked = trunk("u", signed=False)
        assert send(port, "auth", *asked, source=source, secret=secret, seconds=0.5, retries=1).replies == []
    unsigned = ("User-Name", "10.0.0.1"), ("Called-Station-Id", "44123")
    assert ask(port, "auth", *unsigned, source=SIPPY).code == "Access-Accept"
    state = ("Proxy-State", "0x0102")
    assert send(port, "auth", *unsigned, state, source=SIPPY, seconds=0.5, retries=1).replies == []
    assert ask(port, "auth", *unsigned, state, SIGNED, source=SIPPY).values("Proxy-State") == ["0x0102"]
    grows(server, "radius_dropped_no_message_authenticator", before, 3)


# ---- many packets


def test_many_calls_at_a_time(server: Server) -> None:
    calls, before = [call_id() for _ in range(200)], held(server)
    sides = ("h323-call-origin", "originate"), ("h323-remote-address", "10.0.0.3"), ("Called-Station-Id", "44123")
    requests = [(*sides, ("Acct-Session-Id", call), ("Cisco-AVPair", "xpgk-source-port=5060")) for call in calls]
    stops = [accounting("Stop", call) for call in calls]
    starts = [(*accounting("Start", call), *sides) for call in calls]
    acct = server.ports["radius_acct"]
    sent = send_all(acct, "acct", starts, together=50)
    assert len(sent.replies) == len(requests), sent.output[-2000:]
    assert held(server) == before + 200
    assert len(send_all(acct, "acct", stops, together=50).replies) == 200
    assert held(server) == before
