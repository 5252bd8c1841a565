"""RADIUS while the server changes: batches, SIGHUP, a dead decider, a take-over and a drain."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from e2e.radius.carrier import CONFIG, LISTEN, OTHER_SECRET, accounting, count, made, trunk
from support import HOST
from support.cli import run
from support.operator import held
from support.radclient import SECRET, SIGNED, ask, send
from support.radiuspackets import attribute
from support.server import Server, serving
from support.waiting import wait_for

from identengine.stats.metrics import exposition
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import ACCESS_ACCEPT, ACCESS_REQUEST, ACCOUNTING_REQUEST, decode, encoded

OURS = SharedSecret(SECRET.encode())
VENDOR = ("h323-remote-address", "10.0.0.3"), ("h323-call-origin", "originate"), ("Called-Station-Id", "44123")
STANDBY = CONFIG.replace("[listen]\n", "[listen]\nstandby = true\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path)


def access(number: int) -> bytes:
    """Return an Access-Request for a call of the vendor."""
    fields = [attribute(*one) for one in (*VENDOR, ("Acct-Session-Id", f"call-{number}"))]
    return OURS.request(ACCESS_REQUEST, number % 256, number.to_bytes(16, "big"), encoded(fields))


def stop(number: int) -> bytes:
    fields = [attribute("Acct-Status-Type", 2), attribute("Acct-Session-Id", f"call-{number}")]
    return OURS.request(ACCOUNTING_REQUEST, number % 256, b"", encoded(fields))


def peer(server: Server, port: str = "radius_auth") -> socket.socket:
    """Return a socket that is connected to a port of the server."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((HOST, server.ports[port]))
    one.settimeout(20)
    return one


def batches(server: Server) -> int:
    """Return the number of batches that the engine decided."""
    text = exposition(server.folder / "calls", None, [], []).decode()
    found = re.search(r"^identengine_batch_requests_count (\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_packets_that_wait_together_are_one_batch(folder: Path) -> None:
    with serving(folder, CONFIG) as server, peer(server) as auth, peer(server, "radius_acct") as acct:
        assert ask(server.ports["radius_auth"], "auth", *trunk("first")).code == "Access-Accept"
        before = batches(server)
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        try:
            sent = [access(number) for number in range(60)]
            for one in sent:
                auth.send(one)
        finally:
            os.kill(decider, signal.SIGCONT)
        for one in sent:
            reply = auth.recv(5000)
            assert reply[0] == ACCESS_ACCEPT
            assert OURS.answers(decode(reply), one[4:20]), "replies are in the order of their requests"
        wait_for(lambda: batches(server) > before)
        assert batches(server) == before + 1
        assert held(server) == 61
        os.kill(decider, signal.SIGSTOP)
        try:
            for number in range(60):
                acct.send(stop(number))
        finally:
            os.kill(decider, signal.SIGCONT)
        assert len({acct.recv(5000)[1] for _ in range(60)}) == 60
        assert held(server) == 1
        assert batches(server) == before + 2


def test_large_packets_are_decided_in_turns(folder: Path) -> None:
    """A batch of large packets has several parts. The port of each packet is known in each of them."""
    states = [attribute("Proxy-State", bytes(250))] * 12
    fields = [attribute(*one) for one in VENDOR]
    with serving(folder, CONFIG) as server, peer(server) as auth, peer(server) as other:
        large = [
            OURS.request(ACCESS_REQUEST, n, n.to_bytes(16, "big"), encoded([*fields, *states])) for n in range(30)
        ]
        for times in (1, 2):
            decider = server.decider
            os.kill(decider, signal.SIGSTOP)
            try:
                for one in large:
                    auth.send(one)
                    other.send(one)
            finally:
                os.kill(decider, signal.SIGCONT)
            for socket_of in (auth, other):
                assert sorted(socket_of.recv(5000)[1] for _ in large) == list(range(30))
            assert count(server, "radius_duplicates") == 60 * (times - 1)


def test_ipv6(folder: Path) -> None:
    config = CONFIG.replace(f'radius_auth = ["{HOST}:0"]', 'radius_auth = ["[::1]:0"]')
    with serving(folder, config.replace(f'["{HOST}"]', '["::1"]', 1)) as server:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.settimeout(20)
            one.connect(("::1", server.ports["radius_auth"]))
            for number in (1, 1, 2):
                one.send(access(number))
                assert OURS.answers(decode(one.recv(5000)), access(number)[4:20])
        wait_for(lambda: count(server, "radius_duplicates") == 1)
        assert held(server) == 2


# ---- SIGHUP


def hup(server: Server, config: str, text: str) -> None:
    length = len(server.log)
    server.write_config(config)
    server.signal(signal.SIGHUP)
    wait_for(lambda: text in server.log[length:])


def test_a_reload_changes_secrets_switches_and_options(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        auth = server.ports["radius_auth"]
        assert ask(auth, "auth", *trunk("a")).code == "Access-Accept"
        hup(server, CONFIG.replace(SECRET, OTHER_SECRET, 1), "SIGHUP: changed: [[switch]]")
        assert send(auth, "auth", *trunk("a"), seconds=0.5, retries=1).replies == []
        assert ask(auth, "auth", *trunk("a"), secret=OTHER_SECRET).code == "Access-Accept"
        assert held(server) == 1, "the call is known to the new secret"
        assert (
            send(auth, "auth", *trunk("b", signed=False), secret=OTHER_SECRET, seconds=0.5, retries=1).replies
            == []
        )
        lenient = CONFIG.replace(
            f'secret = "{SECRET}"\n[[switch]]\nname = "proxy"',
            f'secret = "{SECRET}"\n[switch.radius]\nrequire_message_authenticator = false\nreply = ["sip_avp"]\n'
            '[[switch]]\nname = "proxy"',
        )
        assert lenient != CONFIG
        hup(server, lenient, "SIGHUP: changed: [[switch]]")
        reply = ask(auth, "auth", *trunk("b", signed=False))
        assert (reply.code, reply.pairs) == ("Access-Accept", {})
        assert len(reply.values("Attr-225")) == 5
        stranger = "127.0.0.7"
        assert send(auth, "status", SIGNED, source=stranger, seconds=0.5, retries=1).replies == []
        hup(server, CONFIG.replace(f'["{HOST}"]', f'["{HOST}", "{stranger}"]'), "SIGHUP: changed: [[switch]]")
        assert ask(auth, "status", SIGNED, source=stranger).code == "Access-Accept"


def test_other_addresses_need_a_restart(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        hup(server, CONFIG.replace("radius_acct = ", "#radius_acct = "), "[listen]")
        assert ask(server.ports["radius_acct"], "status", SIGNED).code == "Accounting-Response"


# ---- other processes


@pytest.mark.parametrize("config", [CONFIG, STANDBY], ids=["alone", "standby"])
def test_a_decider_that_dies_loses_no_packet(folder: Path, config: str) -> None:
    with serving(folder, config, patient=True) as server, peer(server) as auth:
        auth.send(access(1))
        first = auth.recv(5000)
        if "standby" in config:
            wait_for(lambda: server.standby)
        dead = server.decider
        os.kill(dead, signal.SIGSTOP)
        auth.send(access(2))
        os.kill(dead, signal.SIGKILL)
        second = auth.recv(5000)
        assert OURS.answers(decode(second), access(2)[4:20])
        auth.send(access(1))
        assert auth.recv(5000)[0] == first[0] == ACCESS_ACCEPT, "its reply is lost, but its call is known"
        assert held(server) == 2


def test_a_take_over_keeps_ports_and_calls(folder: Path) -> None:
    old = Server(folder, CONFIG)
    new = None
    try:
        auth, acct = old.ports["radius_auth"], old.ports["radius_acct"]
        assert ask(auth, "auth", *trunk("kept")).code == "Access-Accept"
        new = Server(folder, CONFIG, options=["--take-over"])
        assert old.ended() == 0
        assert (new.ports["radius_auth"], new.ports["radius_acct"]) == (auth, acct)
        assert held(new) == 1
        assert ask(acct, "acct", *accounting("Stop", "kept")).code == "Accounting-Response"
        assert held(new) == 0
    finally:
        old.stop()
        assert new is None or new.stop() == 0


def test_packets_that_were_received_are_answered_before_the_end(folder: Path) -> None:
    server = Server(folder, CONFIG)
    with peer(server) as auth:
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        auth.send(access(1))
        server.signal(signal.SIGTERM)
        os.kill(decider, signal.SIGCONT)
        assert auth.recv(5000)[0] == ACCESS_ACCEPT
    assert server.ended() == 0


# ---- the commands of an operator


def test_the_check_of_a_config_names_weak_and_shared_secrets(folder: Path) -> None:
    weak = LISTEN + "".join(
        f'[[switch]]\nname = "{name}"\naddresses = ["{address}"]\nsecret = "{secret}"\n'
        for name, address, secret in (
            ("one", "127.0.0.1", "cisco123"),
            ("two", "127.0.0.2", SECRET),
            ("three", "127.0.0.3", SECRET),
        )
    )
    (folder / "identengine.toml").write_text(f'[store]\npath = "store"\n[calls]\npath = "calls"\n{weak}')
    checked = run("serve", "--check", "--config", folder / "identengine.toml")
    assert checked.status == 0, "weak secrets are warnings"
    assert 'can guess the secret of [[switch]] "one"' in checked.err
    assert '"two" and "three" have the same secret' in checked.err
    assert SECRET not in checked.out + checked.err
    assert "cisco123" not in checked.out + checked.err


def test_stats_and_top_show_radius(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        auth = server.ports["radius_auth"]
        ask(auth, "auth", *trunk("a"))
        send(auth, "auth", *trunk("b"), secret="wrong", seconds=0.3, retries=1)
        with peer(server) as one:
            for _ in range(3):
                one.send(access(1))
                one.recv(5000)
        wait_for(lambda: count(server, "radius_duplicates") == 2)
        stats = run("stats", "--json", "--config", server.config).json["counters"]
        assert stats["radius_dropped_message_authenticator"] == stats["radius_dropped"] == 1
        assert stats["radius_duplicates"] == 2
        assert "radius_dropped" in run("top", "--once", "--every", "0.2", "--config", server.config).out
