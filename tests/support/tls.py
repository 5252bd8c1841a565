"""Certificates for tests, made anew each time: a CA, a server's, and those of switches."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import KeyType

from support import HOST

TLS_FILES = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
"""For a server in whose folder :meth:`Authority.certify` was."""
CLIENT_CA = 'client_ca = "ca.pem"\n'
"""To be put right behind it."""


class Authority:
    """A CA, and what it has signed."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def certify(self, folder: Path, key_type: KeyType = KeyType.ECDSA) -> None:
        """Put the certificate and key of a server at this host into ``folder``, and the CA's own."""
        made = self._ca.issue_cert(HOST, key_type=key_type)
        (folder / "server.key").write_bytes(made.private_key_pem.bytes())
        (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self._ca.cert_pem.write_to_path(str(folder / "ca.pem"))

    def client(
        self, name: str | None = None, *, signer: Authority | None = None, not_after: datetime | None = None
    ) -> ssl.SSLContext:
        """Return how a client connects that trusts this CA, with a certificate of this name if there is one."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        if name is not None:
            (signer or self)._ca.issue_cert(name, not_after=not_after).configure_cert(context)
        return context

    def write_client(self, name: str, path: Path) -> None:
        """Write a client's certificate and key into one file."""
        self._ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))


def encrypt(key: Path) -> None:
    """Encrypt a key with a pass phrase."""
    opened = load_pem_private_key(key.read_bytes(), None)
    phrase = BestAvailableEncryption(b"hush-phrase")
    key.write_bytes(opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, phrase))
