"""Certificates (interfaces.md 7): admission, checks at the start, and renewal."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from adversity.tls.switches import GOOD, LINES, LISTEN, made, pings
from support import HOST
from support.server import Server, serving
from support.switch import call
from support.tls import CLIENT_CA, TLS_FILES, Authority, encrypt
from support.waiting import wait_for


def refused(server: Server, context: ssl.SSLContext, address: str = HOST) -> None:
    """Return True if a client gets no answer."""
    try:
        with server.switch(LINES, context, address) as switch:
            switch.send(
                call("ping")
            )  # in TLS 1.3 the handshake of a client ends before the check of its certificate
            assert switch.is_closed()
    except OSError:  # includes SSLError
        return


def test_a_certificate_names_the_switch(server: Server, authority: Authority) -> None:
    with server.switch(LINES, authority.client("sbc1.EXAMPLE")) as switch:
        result = switch.exchange("authorize", GOOD)["result"]
        assert result["account_id"] == 1
        assert "reason" in switch.exchange("authorize", GOOD | {"src_ip": "192.0.2.77"})["result"]
    server.logged('from "192.0.2.77" by certified')


def test_a_switch_without_certificate_needs_one_of_the_ca_all_the_same(
    server: Server, authority: Authority
) -> None:
    with server.switch(LINES, authority.client("anybody.example"), "127.0.0.2") as switch:
        assert pings(switch)
    refused(server, authority.client(), "127.0.0.2")


def test_certificates_that_are_refused(server: Server, authority: Authority) -> None:
    stranger = Authority()
    past = datetime.now(UTC) - timedelta(days=1)
    for context in (
        authority.client(),
        authority.client("sbc1.example", signer=stranger),
        authority.client("sbc1.example", not_after=past),
        authority.client("other.example"),
    ):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            refused(server, context)
    server.logged('; the first certificate is of "other.example"')
    # Each defect has its own reason from OpenSSL: no certificate, another authority, expired.
    wait_for(lambda: len(set(re.findall(r'TLS handshake: (.+) from "127\.0\.0\.1"', server.log))) >= 3)
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)


def test_clients_trust_the_server_by_its_ca(server: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError), server.switch(LINES, Authority().client("sbc1.example")):
        pass


def test_older_versions_are_refused(server: Server, authority: Authority) -> None:
    context = authority.client("sbc1.example")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), server.switch(LINES, context):
        pass
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)


def test_certificates_renewed_while_connections_are_open(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:  # noqa: SIM117 - it ends last
        with server.switch(LINES, authority.client()) as old:
            assert pings(old)
            renewed = Authority()
            renewed.certify(tmp_path)
            server.signal(signal.SIGHUP)
            server.logged("SIGHUP: changed")
            assert pings(old)
            with server.switch(LINES, renewed.client()) as new:
                assert pings(new)
            with pytest.raises(ssl.SSLCertVerificationError), server.switch(LINES, authority.client()):
                pass
            # With unusable files the certificates in use stay, and the alarm names the remedy.
            (tmp_path / "server.key").write_text("half written")
            server.signal(signal.SIGHUP)
            server.logged("earlier stay in use: [tls] key:")
            assert pings(old)
            with server.switch(LINES, renewed.client()) as new:
                assert pings(new)
            # A decider that starts meanwhile serves all other ports.
            os.kill(server.decider, signal.SIGKILL)
            wait_for(lambda: server.authorize(**GOOD)["accepted"])
            server.logged("there is no usable certificate") if _gets_nothing(server, renewed) else pytest.fail(
                "who signed?"
            )
            renewed.certify(tmp_path)
            server.signal(signal.SIGHUP)
            wait_for(lambda: not _gets_nothing(server, renewed))


def _gets_nothing(server: Server, authority: Authority) -> bool:
    try:
        with server.switch(LINES, authority.client()) as switch:
            return not pings(switch)
    except OSError:
        return True


def checked(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "identengine",
        "serve",
        "--config",
        str(folder / "identengine.toml"),
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_files_are_checked_at_the_start(tmp_path: Path, authority: Authority) -> None:
    made(tmp_path, authority)
    config = tmp_path / "identengine.toml"
    config.write_text('[store]\npath = "store"\n[calls]\npath = "calls"\n' + LISTEN + TLS_FILES + CLIENT_CA)
    assert checked(tmp_path, "--check").returncode == 0

    def wrong(name: str, said: str, content: bytes | None, *options: str) -> None:
        path = tmp_path / name
        before = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        ran = checked(tmp_path, *options)
        assert ran.returncode == 1
        assert re.search(rf'\[tls\] {said}: expected .+, got "{path}" \(', ran.stderr)
        assert "Traceback" not in ran.stderr
        path.write_bytes(before)

    encrypted = tmp_path / "encrypted"
    encrypted.write_bytes((tmp_path / "server.key").read_bytes())
    encrypt(encrypted)
    other = Authority()
    (tmp_path / "other").mkdir()
    other.certify(tmp_path / "other")
    wrong("server.pem", "certificate", None, "--check")
    wrong("server.key", "key", None, "--check")
    wrong("ca.pem", "client_ca", None, "--check")
    wrong("server.key", "key", b"no key", "--check")
    wrong("server.key", "key", (tmp_path / "other" / "server.key").read_bytes(), "--check")
    wrong("server.key", "key", encrypted.read_bytes(), "--check")
    wrong("ca.pem", "client_ca", b"no certificate")
