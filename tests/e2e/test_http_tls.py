"""HTTP over TLS, and in clear through a proxy: access, and a renewed certificate."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from support import HOST
from support.http import PROXIES, SWITCH, SWITCHES, make_book, wait_for_http
from support.server import Server, serving
from support.switch import read_all
from support.waiting import wait_for

TLS = f"""[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
http = "{HOST}:0"
[tls]
certificate = "server.pem"
key = "server.key"
[http]
tls = true
{SWITCHES}"""


def put_certificate(folder: Path, ca: trustme.CA) -> None:
    issued = ca.issue_cert(HOST, "localhost")
    issued.private_key_pem.write_to_path(folder / "server.key")
    issued.cert_chain_pems[0].write_to_path(folder / "server.pem")


def test_tls_and_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    make_book(tmp_path)
    old, new = trustme.CA(), trustme.CA()
    put_certificate(tmp_path, old)
    trust_old, trust_new = ssl.create_default_context(), ssl.create_default_context()
    old.configure_trust(trust_old)
    new.configure_trust(trust_new)
    headers = {"Authorization": f"Bearer {SWITCH}"}
    with serving(tmp_path, TLS) as server:
        base = f"https://{HOST}:{server.ports['http']}"
        with httpx.Client(base_url=base, verify=trust_old, headers=headers, timeout=20, trust_env=False) as client:
            assert client.post("/v1/ping").status_code == 200
            put_certificate(tmp_path, new)
            server.signal(signal.SIGHUP)

            def renewed() -> bool:
                try:
                    return httpx.get(f"{base}/healthz", verify=trust_new, timeout=20, trust_env=False).is_success
                except httpx.ConnectError:
                    return False

            wait_for(renewed)
            assert client.post("/v1/ping").status_code == 200, "an open connection stays"
        with socket.create_connection((HOST, server.ports["http"]), 20) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"alive" not in read_all(plain)
        (tmp_path / "server.pem").write_text("nonsense")
        server.signal(signal.SIGHUP)
        server.logged("earlier stay in use: [tls] ")
        wait_for(renewed)


def test_an_unusable_certificate_is_reported_at_the_start(tmp_path: Path) -> None:
    make_book(tmp_path)
    server = Server(tmp_path, TLS, ready=False)
    assert server.ended() == 1
    assert "[tls] certificate: " in server.log
    assert "Traceback" not in server.log


def test_off_loopback_in_clear_only_a_trusted_proxy_may_connect(tmp_path: Path) -> None:
    address = own_address()
    make_book(tmp_path)
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nhttp = "0.0.0.0:0"\n'
    with serving(tmp_path, listen + PROXIES + SWITCHES) as server:
        wait_for_http(server)  # this machine may connect
        stranger = socket.create_connection((address, server.ports["http"]), 20)
        with stranger, contextlib.suppress(ConnectionError):
            stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_all(stranger) == b""
        server.logged("rejected HTTP: neither this machine nor a trusted proxy from ")


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        name = probe.getsockname()[0]
    if name.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return str(name)
