"""pyrad, a RADIUS client in Python: an independent reading of the packets of this project."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyrad.client import Client
from pyrad.dictionary import Dictionary

from identengine.model.attributes import ATTRIBUTES, CISCO, NamedAttribute
from support import HOST

_KINDS = {
    "text": "string",
    "bytes": "octets",
    "integer": "integer",
    "address": "ipaddr",
    "address6": "ipv6addr",
    "date": "date",
}


def _line(name: str, one: NamedAttribute) -> str:
    return f"ATTRIBUTE {name} {one.type} {_KINDS[one.kind]}\n"


def dictionary() -> Dictionary:
    """Return the attributes of this project as pyrad reads them, without the SIP fields of accounting."""
    standard = [
        _line(name, one) for name, one in ATTRIBUTES.items() if not one.vendor and one.packets != "accounting"
    ]
    cisco = [_line(name, one) for name, one in ATTRIBUTES.items() if one.vendor == CISCO]
    vendor = f"VENDOR Cisco {CISCO}\nBEGIN-VENDOR Cisco\n"
    return Dictionary(io.StringIO("".join((*standard, vendor, *cisco, "END-VENDOR Cisco\n"))))


@contextmanager
def client(auth: int, acct: int, secret: str, source: str = HOST) -> Iterator[Any]:
    """Return a client that sends to two ports of this machine, and wants a Message-Authenticator in replies."""
    made = Client(
        server=HOST, authport=auth, acctport=acct, secret=secret.encode(), dict=dictionary(), retries=2, timeout=5,
        enforce_ma=True,
    )  # fmt: skip
    made.bind((source, 0))
    try:
        yield made
    finally:
        made._CloseSocket()
