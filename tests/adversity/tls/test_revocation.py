"""Revoked client certificates (``[tls] client_crl``), and the lists that cannot be used."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from functools import partial
from pathlib import Path

import pytest
from adversity.tls.switches import LINES, LISTEN, SWITCHES, made, pings
from adversity.tls.test_certificates import checked
from cryptography import x509
from support import HOST
from support.server import Server, serving
from support.switch import request
from support.tls import CLIENT_CA, DAY, NOW, TLS_FILES, Authority, MadeClient
from support.waiting import wait_for

CRL = 'client_crl = "crl.pem"\n'
CONFIG = LISTEN + TLS_FILES + CLIENT_CA + CRL + SWITCHES


def client(authority: Authority) -> MadeClient:
    return authority.client_of([x509.DNSName("sbc1.example")])


def served(server: Server, one: MadeClient) -> bool:
    try:
        with server.switch(LINES, one.context) as switch:
            return pings(switch)
    except (OSError, EOFError):
        return False


def alarmed(server: Server, times: int) -> bool:
    return server.log.count("earlier stay in use: [tls] client_crl:") == times


def reloaded(server: Server, crl: bytes) -> None:
    (server.folder / "crl.pem").write_bytes(crl)
    before = server.log.count("SIGHUP: changed")
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.log.count("SIGHUP: changed") > before)


def test_a_revoked_certificate_is_refused_and_its_connections_are_closed(
    tmp_path: Path, authority: Authority
) -> None:
    lost, kept = client(authority), client(authority)
    (made(tmp_path, authority) / "crl.pem").write_bytes(authority.crl([1, 2]))
    with serving(tmp_path, CONFIG) as server:
        with server.switch(LINES, lost.context) as stolen, server.switch(LINES, kept.context) as good:
            assert pings(stolen)
            assert pings(good)
            reloaded(server, authority.crl([1, lost.serial]))
            assert stolen.is_closed()
            assert pings(good)
        assert not served(server, lost)
        server.logged('TLS handshake: certificate revoked from "127.0.0.1": 1; the first certificate is of')
        assert served(server, kept)
        for alarms, bad in enumerate((b"", b"no list", authority.crl([1])[:-60], Authority().crl([1])), 1):
            reloaded(server, bad)
            wait_for(partial(alarmed, server, alarms))
            assert not served(server, lost)
            assert served(server, kept)
        reloaded(server, authority.crl([1, kept.serial], until=NOW - DAY))
        server.logged("has expired, and the list that was read earlier stays in use: it expired on")
        assert not served(server, lost)
        assert served(server, kept)
        reloaded(server, authority.crl([kept.serial]))
        wait_for(lambda: served(server, lost))
        assert not served(server, kept)


def test_an_expired_list_refuses_no_other_switch(tmp_path: Path, authority: Authority) -> None:
    """It was valid yesterday: a restart must not end the service of all switches."""
    lost, kept = client(authority), client(authority)
    (made(tmp_path, authority) / "crl.pem").write_bytes(authority.crl([lost.serial], until=NOW - DAY))
    with serving(tmp_path, CONFIG) as server:
        server.logged(
            "ALARM: the list of revoked client certificates has expired, and it stays in use: it expired on"
        )
        assert served(server, kept)
        assert not served(server, lost)
        ran = checked(tmp_path, "--check")
        assert ran.returncode == 0
        assert "warning: [tls] client_crl: it expired on" in ran.stderr


def test_a_decider_without_a_usable_list_refuses_every_peer_over_tls(tmp_path: Path, authority: Authority) -> None:
    one = client(authority)
    (made(tmp_path, authority) / "crl.pem").write_bytes(authority.crl([1]))
    with serving(tmp_path, CONFIG) as server:
        assert served(server, one)
        (tmp_path / "crl.pem").write_text("half written")
        old = server.decider
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: server.decider != old)
        wait_for(lambda: "list of revoked ones" in server.log or served(server, one))
        assert not served(server, one)
        reloaded(server, authority.crl([1]))
        wait_for(lambda: served(server, one))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("missing", "No such file or directory"),
        ("empty", "it has no list"),
        ("other", "no CA of client_ca signed the list of "),
        ("delta", "is not complete"),
    ],
)
def test_lists_that_a_server_does_not_start_with(
    tmp_path: Path, authority: Authority, content: str, why: str
) -> None:
    made(tmp_path, authority)
    crl = {
        "empty": b"",
        "other": authority.crl([1]) + Authority().crl([1]),
        "delta": authority.crl([1], extension=x509.DeltaCRLIndicator(7)),
    }
    if content != "missing":
        (tmp_path / "crl.pem").write_bytes(crl[content])
    (tmp_path / "identengine.toml").write_text('[store]\npath = "store"\n[calls]\npath = "calls"\n' + CONFIG)
    for options in ([], ["--check"]):
        ran = checked(tmp_path, *options)
        assert ran.returncode == 1
        assert "[tls] client_crl: expected complete CRLs in PEM, signed by a CA of client_ca, got" in ran.stderr
        assert why in ran.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_has_the_certificate_of_its_first_connection(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    one = client(authority)
    one.context.minimum_version = one.context.maximum_version = version
    (made(tmp_path, authority) / "crl.pem").write_bytes(authority.crl([1]))
    with serving(tmp_path, CONFIG) as server:
        _, session = asked(server, one, None)
        reused, session = asked(server, one, session)
        assert reused
        reloaded(server, authority.crl([one.serial]))
        with pytest.raises((OSError, AssertionError)):
            asked(server, one, session)


def asked(server: Server, one: MadeClient, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
    """Ask over a new connection. Return whether it resumed a session, and the session to resume next."""
    raw = socket.create_connection((HOST, server.ports["tls"]), 20)
    with one.context.wrap_socket(raw, server_hostname=HOST, session=session) as tls:
        tls.sendall(request("ping"))
        assert b"result" in tls.recv(65536)
        return bool(tls.session_reused), tls.session
