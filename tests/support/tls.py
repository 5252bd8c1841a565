"""Certificates for tests, new in each run: a CA, a server's, and those of switches."""

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
"""Config of a server whose folder has the files of :meth:`Authority.certify`."""
CLIENT_CA = 'client_ca = "ca.pem"\n'
"""Line to add to it, so that clients need a certificate."""


class Authority:
    """A CA and the certificates that it signs."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def certify(self, folder: Path, key_type: KeyType = KeyType.ECDSA) -> None:
        """Write the certificate and key of a server at this host, and the CA's certificate, into ``folder``."""
        made = self._ca.issue_cert(HOST, key_type=key_type)
        (folder / "server.key").write_bytes(made.private_key_pem.bytes())
        (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self._ca.cert_pem.write_to_path(str(folder / "ca.pem"))

    def client(
        self, name: str | None = None, *, signer: Authority | None = None, not_after: datetime | None = None
    ) -> ssl.SSLContext:
        """Return the context of a client that trusts this CA. With ``name`` it has a certificate of that name."""
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
