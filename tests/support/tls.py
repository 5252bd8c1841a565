"""Certificates for tests, new in each run: a CA, a server's, and those of switches."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import KeyType

from support import HOST

TLS_FILES = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
"""Config of a server whose folder has the files of :meth:`Authority.certify`."""
CLIENT_CA = 'client_ca = "ca.pem"\n'
"""Line to add to it, so that clients need a certificate."""


NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class MadeClient(NamedTuple):
    """A client with a certificate of any names."""

    context: ssl.SSLContext
    serial: int


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

    def client_of(
        self,
        names: Sequence[x509.GeneralName] = (),
        common_names: Sequence[str] = (),
        not_before: datetime = NOW - DAY,
        extension: x509.ExtensionType | None = None,
    ) -> MadeClient:
        """Return a client with a certificate of these alternative names and these common names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in common_names])
        serial = x509.random_serial_number()
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), serial)
            .not_valid_before(not_before)
            .not_valid_after(not_before + 10 * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if extension is not None:
            builder = builder.add_extension(extension, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        context = self.client()
        with tempfile.NamedTemporaryFile() as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write(signed.public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return MadeClient(context, serial)

    def crl(
        self,
        serials: Iterable[int] = (),
        until: datetime = NOW + 10 * DAY,
        extension: x509.ExtensionType | None = None,
    ) -> bytes:
        """Return a list of revoked certificates in PEM, with a critical extension if ``extension`` is set."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(NOW - 20 * DAY)
        builder = builder.next_update(until)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        found = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        return found

    @property
    def _name(self) -> x509.Name:
        return x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()).subject

    def write_client(self, name: str, path: Path) -> None:
        """Write a client's certificate and key into one file."""
        self._ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))


def encrypt(key: Path) -> None:
    """Encrypt a key with a pass phrase."""
    opened = load_pem_private_key(key.read_bytes(), None)
    phrase = BestAvailableEncryption(b"hush-phrase")
    key.write_bytes(opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, phrase))
