"""Packets: a datagram in, its attributes out, or one error with a cause (RFC 2865, section 3). No I/O.

Rule: the datagram is hostile. No length in it is trusted beyond the end of its container. :data:`MOST_ATTRIBUTES`
bounds the work, and :class:`PacketError` is the only exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from struct import Struct as Layout
from typing import Final, TypeAlias

import msgspec

from identengine.errors import WireError

ACCESS_REQUEST: Final = 1
ACCESS_ACCEPT: Final = 2
ACCESS_REJECT: Final = 3
ACCOUNTING_REQUEST: Final = 4
ACCOUNTING_RESPONSE: Final = 5
STATUS_SERVER: Final = 12
CODES = frozenset((*range(1, 14), *range(21, 32), 33, 34, *range(40, 46), *range(50, 53)))
"""The codes that IANA has assigned. A packet of any other code is malformed."""

PROXY_STATE: Final = 33
EAP_MESSAGE: Final = 79
MESSAGE_AUTHENTICATOR: Final = 80
VENDOR_SPECIFIC: Final = 26

HEADER_BYTES = 20
"""Size of code, identifier, length and authenticator."""
LONGEST_PACKET = 4096
"""Largest packet, in bytes (RFC 2865, section 3)."""
LONGEST_VALUE = 253
"""Largest value of an attribute, in bytes."""
LONGEST_VENDOR_VALUE = 247
"""Largest value of a vendor's attribute, in bytes."""
MOST_ATTRIBUTES = 200
"""Largest number of attributes in a packet, those of vendors included. Real requests have fewer than 50."""
OTHER_FORMATS = frozenset((429, 4846, 8164, 24757))
"""Vendors whose attributes begin with other than one byte each for type and length.

They are USR, Lucent, Starent and WiMAX. Their attributes are not opened.
"""
_HEADER = Layout("!BBH16s")
_VENDOR = Layout("!I")
_MOST_PROXY_STATE = LONGEST_PACKET - HEADER_BYTES - 18
"""Largest size of all Proxy-State, in bytes. A reply also has its header and a Message-Authenticator."""

Attribute: TypeAlias = tuple[int, bytes]
"""The key of an attribute (:func:`vendor_key`, or the plain type) and its value."""


class Cause(StrEnum):
    """The fault of a datagram that gets no reply. Each cause is counted."""

    TOO_SHORT = "too_short"
    """The datagram has fewer bytes than a header."""
    TOO_LONG = "too_long"
    """The packet is longer than 4,096 bytes."""
    LENGTH = "length"
    """The length field is smaller than a header."""
    TRUNCATED = "truncated"
    """The length field counts more bytes than arrived."""
    CODE = "code"
    """The code is not assigned, or the port does not serve it."""
    ATTRIBUTE = "attribute"
    """An attribute has type 0, a length below 2, or extends beyond the packet."""
    VENDOR_ATTRIBUTE = "vendor_attribute"
    """An attribute of a vendor has vendor 0, a length below 2, or extends beyond its container."""
    TOO_MANY_ATTRIBUTES = "too_many_attributes"
    """The packet has over 200 attributes."""
    PROXY_STATE = "proxy_state"
    """The Proxy-State attributes leave no room for a reply."""
    MESSAGE_AUTHENTICATOR = "message_authenticator"
    """The Message-Authenticator is wrong, has another length than 16 bytes, or appears twice."""
    NO_MESSAGE_AUTHENTICATOR = "no_message_authenticator"
    """The packet must have a Message-Authenticator, and has none."""
    ACCOUNTING_AUTHENTICATOR = "accounting_authenticator"
    """The authenticator of an Accounting-Request is wrong, for example because the secrets differ."""
    NO_STATUS_TYPE = "no_status_type"
    """An Accounting-Request has no Acct-Status-Type of four bytes."""


MEANINGS = {
    Cause.TOO_SHORT: "the datagram is shorter than a header",
    Cause.TOO_LONG: "the packet is longer than 4,096 bytes",
    Cause.LENGTH: "the length field is smaller than a header",
    Cause.TRUNCATED: "the datagram is shorter than its length field",
    Cause.CODE: "the port does not serve packets of this code",
    Cause.ATTRIBUTE: "the type or the length of an attribute is wrong",
    Cause.VENDOR_ATTRIBUTE: "the vendor or the length of a vendor's attribute is wrong",
    Cause.TOO_MANY_ATTRIBUTES: "the packet has too many attributes",
    Cause.PROXY_STATE: "Proxy-State leaves no room for a reply",
    Cause.MESSAGE_AUTHENTICATOR: "the Message-Authenticator does not fit the secret",
    Cause.NO_MESSAGE_AUTHENTICATOR: "the packet has no Message-Authenticator, but must have one",
    Cause.ACCOUNTING_AUTHENTICATOR: "the authenticator does not fit the secret",
    Cause.NO_STATUS_TYPE: "the packet has no Acct-Status-Type",
}
"""The meaning of each cause for the log and the counters."""


class PacketError(WireError):
    """A datagram that is no packet to reply to. It is dropped in silence, and its cause is counted."""

    def __init__(self, cause: Cause) -> None:
        self.cause = cause
        super().__init__(cause)


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A packet with its attributes in order."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: list[Attribute]
    """All attributes in order. Attributes of vendors are opened."""
    signature_at: int
    """Position of the value of the Message-Authenticator in ``data``; 0 if the packet has none."""
    proxy_state: bytes
    """All Proxy-State attributes in order, encoded as received. A reply returns them unchanged."""
    data: bytes
    """The bytes of the packet, without padding."""


def vendor_key(vendor: int, kind: int) -> int:
    """Return the key of a vendor's attribute. No plain attribute has the same key."""
    return vendor << 8 | kind


def decode(datagram: bytes) -> Packet:
    """Return the packet in a datagram. Raise PacketError if it is malformed.

    Bytes behind the length that it states are padding.
    """
    if len(datagram) < HEADER_BYTES:
        raise PacketError(Cause.TOO_SHORT)
    code, identifier, end, authenticator = _HEADER.unpack_from(datagram)
    if end != len(datagram):
        datagram = _without_padding(datagram, end)
    elif end > LONGEST_PACKET:
        raise PacketError(Cause.TOO_LONG)
    if code not in CODES:
        raise PacketError(Cause.CODE)
    attributes: list[Attribute] = []
    add, plain = attributes.append, _PLAIN
    at, signature_at, has_rare = HEADER_BYTES, 0, code == STATUS_SERVER
    try:
        for _ in _TURNS:
            if at >= end:
                break
            kind, size = datagram[at], datagram[at + 1]
            if size < 2 or not kind:
                raise PacketError(Cause.ATTRIBUTE)
            behind = at + size
            value = datagram[at + 2 : behind]
            if kind in plain:
                add((kind, value))
            elif kind == VENDOR_SPECIFIC:
                if size >= 8 and value[5] == size - 6 and value[:4] == _CISCO:
                    add((_CISCO_KEYS | value[4], value[6:]))  # the usual case: one attribute of Cisco
                elif behind <= end:
                    _open(value, attributes)
            elif kind == MESSAGE_AUTHENTICATOR:
                if signature_at or size != 18:
                    raise PacketError(Cause.MESSAGE_AUTHENTICATOR)
                signature_at = at + 2
                add((kind, value))
            else:
                has_rare = True
                add((kind, value))
            at = behind
    except IndexError:  # a byte that must be there is behind the end of the packet
        raise PacketError(Cause.ATTRIBUTE) from None
    if len(attributes) > MOST_ATTRIBUTES:  # an attribute of a vendor can hold many
        raise PacketError(Cause.TOO_MANY_ATTRIBUTES)
    if at != end:  # the last attribute extends beyond the packet
        raise PacketError(Cause.ATTRIBUTE)
    proxy_state = _proxy_state(code, attributes, signature_at) if has_rare else b""
    return Packet(code, identifier, authenticator, attributes, signature_at, proxy_state, datagram)


def _proxy_state(code: int, attributes: list[Attribute], signature_at: int) -> bytes:
    """Return all Proxy-State. Raise PacketError for too much, or for a packet that must be signed and is not."""
    must_be_signed = code == STATUS_SERVER or any(kind == EAP_MESSAGE for kind, _ in attributes)
    if must_be_signed and not signature_at:  # RFC 5997, section 3; RFC 3579, section 3.1
        raise PacketError(Cause.NO_MESSAGE_AUTHENTICATOR)
    found = encoded(one for one in attributes if one[0] == PROXY_STATE)
    if len(found) > _MOST_PROXY_STATE:
        raise PacketError(Cause.PROXY_STATE)
    return found


_CISCO = _VENDOR.pack(9)
_CISCO_KEYS = vendor_key(9, 0)
_PLAIN = frozenset(range(1, 256)) - {VENDOR_SPECIFIC, PROXY_STATE, EAP_MESSAGE, MESSAGE_AUTHENTICATOR}
"""Types of attributes that need no look at their values."""
_TURNS = range(MOST_ATTRIBUTES + 1)


def _without_padding(datagram: bytes, end: int) -> bytes:
    """Return the packet that ends at ``end``, the value of its length field."""
    if end < HEADER_BYTES:
        raise PacketError(Cause.LENGTH)
    if end > LONGEST_PACKET:
        raise PacketError(Cause.TOO_LONG)
    if end > len(datagram):
        raise PacketError(Cause.TRUNCATED)
    return datagram[:end]


def _open(value: bytes, attributes: list[Attribute]) -> None:
    """Add the attributes of a vendor, or the whole value with type 0 if the vendor has another format."""
    if len(value) < 6:
        raise PacketError(Cause.VENDOR_ATTRIBUTE)
    (vendor,) = _VENDOR.unpack_from(value)
    if vendor in OTHER_FORMATS:
        attributes.append((vendor_key(vendor, 0), value[4:]))
        return
    inner = fields(value[4:])
    if inner is None or not vendor:
        raise PacketError(Cause.VENDOR_ATTRIBUTE)
    keys = vendor_key(vendor, 0)
    attributes += [(keys | kind, one) for kind, one in inner]


def fields(data: bytes) -> list[Attribute] | None:
    """Return the fields inside an attribute, each with a byte for type and length, or None if one is cut."""
    found, at, end = [], 0, len(data)
    while at < end:
        size = data[at + 1] if at + 1 < end else 0
        value = data[at + 2 : at + size]
        if len(value) != size - 2:
            return None
        found.append((data[at], value))
        at += size
    return found


def values(packet: Packet, key: int) -> list[bytes]:
    """Return the values of all attributes with a key, in order."""
    return [value for each, value in packet.attributes if each == key]


def encode(code: int, identifier: int, authenticator: bytes, attributes: bytes) -> bytes:
    """Return a packet whose attributes are encoded already. It must not be longer than LONGEST_PACKET."""
    return _HEADER.pack(code, identifier, HEADER_BYTES + len(attributes), authenticator) + attributes


def attribute(key: int, value: bytes) -> bytes:
    """Return an attribute as a packet carries it, that of a vendor in a Vendor-Specific of its own.

    Raise ValueError if the value is too long.
    """
    if key < 256:
        return bytes((key, len(value) + 2)) + value
    vendor, kind = key >> 8, key & 255
    inner = value if vendor in OTHER_FORMATS else bytes((kind, len(value) + 2)) + value
    return bytes((VENDOR_SPECIFIC, len(inner) + 6)) + _VENDOR.pack(vendor) + inner


def encoded(attributes: Iterable[Attribute]) -> bytes:
    """Return attributes as a packet carries them. Raise ValueError if a value is too long."""
    return b"".join(attribute(key, value) for key, value in attributes)
