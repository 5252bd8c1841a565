"""Digest authentication in an Access-Request: RFC 5090, and the older draft-sterman-aaa-sip.

RFC 5090 has an attribute for each field. The draft has the response in one attribute, and all other fields inside
another one, which may occur several times. Rule: the fields are text that the engine verifies. Broken fields are
absent, so that the digest verifies for no account.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from identengine.model.records import Digest
from identengine.wire.radius.packet import Packet, fields

RESPONSE: Final = 103
DRAFT_RESPONSE: Final = 206
DRAFT_ATTRIBUTES: Final = 207

FIELDS: dict[int, str] = {
    103: "response",
    104: "realm",
    105: "nonce",
    108: "method",
    109: "uri",
    110: "qop",
    111: "algorithm",
    113: "cnonce",
    114: "nc",
    115: "username",
}
"""The attributes of RFC 5090 that the engine verifies."""
DRAFT_FIELDS: dict[int, str] = {
    1: "realm",
    2: "nonce",
    3: "method",
    4: "uri",
    5: "qop",
    6: "algorithm",
    8: "cnonce",
    9: "nc",
    10: "username",
}
"""The fields inside a Digest-Attributes of the draft that the engine verifies."""
KEYS = frozenset((*FIELDS, DRAFT_RESPONSE, DRAFT_ATTRIBUTES))
"""The attributes of both encodings."""


def digest_of(packet: Packet) -> Digest | None:
    """Return the digest of an Access-Request, or None if it has none."""
    found = digest_fields(packet)
    return Digest(**{name: value for name, (_, value) in found.items()}) if found else None


def digest_fields(packet: Packet) -> dict[str, tuple[int, str]]:
    """Return for each field of the digest the index of its attribute, and its value.

    If a field occurs twice, the first one counts. Attributes of RFC 5090 count before those of the draft.
    """
    found: dict[str, tuple[int, str]] = {}
    draft: dict[str, tuple[int, str]] = {}
    inner = b""
    starts: list[tuple[int, int]] = []
    for place, (key, value) in enumerate(packet.attributes):
        if key in FIELDS:
            found.setdefault(FIELDS[key], (place, text(value)))
        elif key == DRAFT_ATTRIBUTES:
            starts.append((len(inner), place))
            inner += value
        elif key == DRAFT_RESPONSE:
            draft.setdefault("response", (place, text(value)))
    at = 0
    for kind, value in fields(inner) or ():
        if kind in DRAFT_FIELDS:
            _, place = starts[bisect_right(starts, (at, len(packet.attributes))) - 1]
            draft.setdefault(DRAFT_FIELDS[kind], (place, text(value)))
        at += len(value) + 2
    return draft | found


def text(value: bytes) -> str:
    """Return a value as text: UTF-8, or Latin-1 if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
