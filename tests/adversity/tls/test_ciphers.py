"""The ciphers of TLS 1.2: those with AEAD and forward secrecy alone, also of HTTP."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from adversity.tls.switches import made
from support import HOST
from support.server import serving
from support.tls import TLS_FILES, Authority
from trustme import KeyType

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'


def cipher_of(authority: Authority, port: int, ciphers: str, version: ssl.TLSVersion) -> str | None:
    """Return the cipher that a client with these ciphers agrees on, or None."""
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with socket.create_connection((HOST, port), 20) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=HOST) as tls:
                found = tls.cipher()
                return found[0] if found else None
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.parametrize("kind", [KeyType.ECDSA, KeyType.RSA])
def test_only_ciphers_with_aead(tmp_path: Path, authority: Authority, kind: KeyType) -> None:
    made(tmp_path, authority)
    authority.certify(tmp_path, kind)
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with serving(tmp_path, LISTEN + TLS_FILES + "[http]\ntls = true\n") as server:
        for port in (server.ports["tls"], server.ports["http"]):
            for ciphers in ("ECDHE+AES:!AESGCM:!AESCCM", "kRSA", "kRSA+AESGCM", "DHE+AESGCM:!ECDHE"):
                assert cipher_of(authority, port, ciphers, old) is None, ciphers
            for ciphers in ("ECDHE+AESGCM", "ECDHE+CHACHA20"):
                assert cipher_of(authority, port, ciphers, old), ciphers
            assert cipher_of(authority, port, "DEFAULT", old)
            assert cipher_of(authority, port, "DEFAULT", new)
