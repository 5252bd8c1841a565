"""FreeRADIUS as a proxy between a switch and a real server: it marks requests with Proxy-State, and reads replies.

A proxy drops a reply whose Proxy-State is not what it sent, so each reply shows that the server returned it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.radius.carrier import OTHER_SECRET, PASSWORD, PROXY, accounting, count, grows, trunk
from support.freeradius import Proxy, proxying
from support.operator import held
from support.radclient import SIGNED, ask, send_all
from support.server import Server


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy") / "freeradius"
    with proxying(
        folder, server.ports["radius_auth"], server.ports["radius_acct"], PROXY, OTHER_SECRET
    ) as running:
        yield running


def test_the_life_of_a_call(server: Server, proxy: Proxy) -> None:
    before = held(server)
    accepted = ask(proxy.auth, "auth", *trunk("proxied"))
    assert accepted.code == "Access-Accept"
    assert accepted.pairs["xpgk-dst-number-out"] == "44123"
    assert held(server) == before + 1
    for status, holds in (("Start", 1), ("Alive", 1), ("Stop", 0)):
        assert ask(proxy.acct, "acct", *accounting(status, "proxied")).code == "Accounting-Response"
        assert held(server) == before + holds
    assert "Proxy-State = 0x" in proxy.log


def test_rejects_and_passwords(server: Server, proxy: Proxy) -> None:
    rejected = ask(proxy.auth, "auth", ("h323-remote-address", "10.9.9.9"), SIGNED)
    assert (rejected.code, rejected.reason, rejected.pairs["sip-code"]) == (
        "Access-Reject",
        "unknown_source",
        "403",
    )
    for password, reason in ((PASSWORD, None), ("Guessed", "bad_password")):
        for kind in ("User-Password", "CHAP-Password"):
            caller = ("User-Name", "alice"), (kind, password), ("Called-Station-Id", "44123")
            assert ask(proxy.auth, "auth", *caller).reason == reason


def test_the_state_of_a_proxy_in_front(server: Server, proxy: Proxy) -> None:
    """Proxy-State of a further proxy precedes that of FreeRADIUS, and returns to the client."""
    states = [("Proxy-State", f"0x{number:04x}") for number in range(5)]
    reply = ask(proxy.auth, "auth", *trunk("front"), *states)
    assert reply.values("Proxy-State") == [value for _, value in states]
    ask(proxy.acct, "acct", *accounting("Stop", "front"))


def test_many_calls_through_a_proxy(server: Server, proxy: Proxy) -> None:
    before, accepted = held(server), count(server, "accepted")
    vendor = ("h323-call-origin", "originate"), ("h323-remote-address", "10.0.0.3"), ("Called-Station-Id", "44123")
    calls = [f"many-{number}" for number in range(60)]
    # The direction termination needs no credentials: the account is known by its address.
    requests = [(*vendor, ("Acct-Session-Id", call), SIGNED) for call in calls]
    sent = send_all(proxy.auth, "auth", requests, together=20)
    assert [reply.code for reply in sent.replies] == ["Access-Accept"] * 60, sent.output[-2000:]
    assert held(server) == before + 60
    grows(server, "accepted", accepted, 60)
    stops = [accounting("Stop", call) for call in calls]
    assert len(send_all(proxy.acct, "acct", stops, together=20).replies) == 60
    assert held(server) == before
