"""RADIUS packets for tests: attributes by name, requests of a client, and vectors of other projects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from identengine.model.attributes import ATTRIBUTES
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import ACCESS_REQUEST, Attribute, Packet, decode, encoded, vendor_key
from identengine.wire.radius.passwords import hidden
from support import ROOT

SECRET = SharedSecret(b"a long shared secret")
AUTHENTICATOR = bytes(range(16))
VECTORS = Path(os.environ.get("IDENTENGINE_RADIUS_VECTORS", ROOT.parent / "shared" / "radius"))
"""The folder of packets that this project did not write."""


def vectors(name: str) -> str:
    """Return a file of vectors. Skip the test if the folder is absent."""
    if not VECTORS.is_dir():
        pytest.skip(f"{VECTORS} with RADIUS packets is absent: set IDENTENGINE_RADIUS_VECTORS")
    return (VECTORS / name).read_text()


def key(name: str) -> int:
    """Return the key of an attribute by its name."""
    one = ATTRIBUTES[name]
    return vendor_key(one.vendor, one.type) if one.vendor else one.type


def attribute(name: str, value: object) -> Attribute:
    """Return an attribute. An integer has four bytes."""
    if isinstance(value, int):
        return key(name), value.to_bytes(4, "big")
    return key(name), value if isinstance(value, bytes) else str(value).encode()


def request(*pairs: tuple[str, object], code: int = ACCESS_REQUEST, secret: SharedSecret = SECRET) -> bytes:
    """Return a request with these attributes behind its Message-Authenticator. A User-Password is in clear."""
    attributes = [attribute(name, value) for name, value in pairs]
    attributes = [
        (kind, hidden(value, secret, AUTHENTICATOR) if kind == key("User-Password") else value)
        for kind, value in attributes
    ]
    return secret.request(code, 7, AUTHENTICATOR, encoded(attributes))


def packet(*pairs: tuple[str, object], code: int = ACCESS_REQUEST) -> Packet:
    """Return a request as it is decoded."""
    return decode(request(*pairs, code=code))
