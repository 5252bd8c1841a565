"""RADIUS attributes by name, number and type, and the notation in which a config or a command names one.

The names are those that ``radclient`` reads. It also names the attributes that are the fields of a
request unless a config changes that. Rule: this module reads no packet.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from identengine.errors import expected, nearest

Kind: TypeAlias = Literal["text", "bytes", "integer", "date", "address", "address6"]
"""The type of a value: text, other bytes, an integer of four bytes, a time, an IPv4 or an IPv6 address.

A time is an integer of four bytes, in seconds since 1970.
"""
Packets: TypeAlias = Literal["any", "access", "accounting"]
"""The packets in which an attribute has a meaning."""

CISCO: Final = 9
VENDOR_SPECIFIC: Final = 26
VENDORS = {"Cisco": CISCO}
"""Vendors by name."""
AVPAIR: Final = "Cisco-AVPair"
"""Name of the attribute whose values are pairs ``name=value``."""


class NamedAttribute(msgspec.Struct, frozen=True, gc=False):
    """An attribute, or one pair ``name=value`` that an attribute holds."""

    vendor: int
    """Number of the vendor; 0 for an attribute of the standard."""
    type: int
    kind: Kind = "text"
    name: str | None = None
    """Name of the attribute, or None if it has only a number here."""
    packets: Packets = "any"
    pair: str | None = None
    """Name of the pair, or None for the whole value."""

    def __str__(self) -> str:
        """Return the notation that :func:`parse_attribute` reads."""
        name = self.name or (f"{self.vendor}/{self.type}" if self.vendor else str(self.type))
        return name if self.pair is None else f"{name}:{self.pair}"


_STANDARD = """
User-Name 1, User-Password 2, CHAP-Password 3 bytes, NAS-IP-Address 4 address, NAS-Port 5 integer,
Service-Type 6 integer, Framed-Protocol 7 integer, Framed-IP-Address 8 address, Framed-IP-Netmask 9 address,
Framed-Routing 10 integer, Filter-Id 11, Framed-MTU 12 integer, Framed-Compression 13 integer,
Login-IP-Host 14 address, Login-Service 15 integer, Login-TCP-Port 16 integer, Reply-Message 18,
Callback-Number 19,
Callback-Id 20, Framed-Route 22, Framed-IPX-Network 23 address, State 24 bytes, Class 25 bytes,
Session-Timeout 27 integer, Idle-Timeout 28 integer, Termination-Action 29 integer, Called-Station-Id 30,
Calling-Station-Id 31, NAS-Identifier 32, Proxy-State 33 bytes, Login-LAT-Service 34, Login-LAT-Node 35,
Login-LAT-Group 36 bytes, Framed-AppleTalk-Link 37 integer, Framed-AppleTalk-Network 38 integer,
Framed-AppleTalk-Zone 39, Acct-Status-Type 40 integer, Acct-Delay-Time 41 integer, Acct-Input-Octets 42 integer,
Acct-Output-Octets 43 integer, Acct-Session-Id 44, Acct-Authentic 45 integer, Acct-Session-Time 46 integer,
Acct-Input-Packets 47 integer, Acct-Output-Packets 48 integer, Acct-Terminate-Cause 49 integer,
Acct-Multi-Session-Id 50, Acct-Link-Count 51 integer, Acct-Input-Gigawords 52 integer,
Acct-Output-Gigawords 53 integer, Event-Timestamp 55 date, CHAP-Challenge 60 bytes, NAS-Port-Type 61 integer,
Port-Limit 62 integer, Login-LAT-Port 63, Acct-Tunnel-Connection 68, ARAP-Password 70 bytes,
ARAP-Features 71 bytes,
ARAP-Zone-Access 72 integer, ARAP-Security 73 integer, ARAP-Security-Data 74, Password-Retry 75 integer,
Prompt 76 integer, Connect-Info 77, Configuration-Token 78, EAP-Message 79 bytes, Message-Authenticator 80 bytes,
ARAP-Challenge-Response 84 bytes, Acct-Interim-Interval 85 integer, Acct-Tunnel-Packets-Lost 86 integer,
NAS-Port-Id 87, Framed-Pool 88, Chargeable-User-Identity 89 bytes, NAS-IPv6-Address 95 address6,
Framed-Interface-Id 96 bytes, Framed-IPv6-Prefix 97 bytes, Login-IPv6-Host 98 address6, Framed-IPv6-Route 99,
Framed-IPv6-Pool 100, Digest-Response 103 text access, Digest-Realm 104 text access, Digest-Nonce 105 text access,
Digest-Response-Auth 106, Digest-Nextnonce 107, Digest-Method 108, Digest-URI 109, Digest-Qop 110,
Digest-Algorithm 111, Digest-Entity-Body-Hash 112, Digest-CNonce 113, Digest-Nonce-Count 114, Digest-Username 115,
Digest-Opaque 116, Digest-Auth-Param 117, Digest-AKA-Auts 118, Digest-Domain 119, Digest-Stale 120, Digest-HA1 121,
SIP-AOR 122, Sip-Method 101 integer accounting, Sip-Response-Code 102 integer accounting,
Sip-CSeq 103 text accounting, Sip-To-Tag 104 text accounting, Sip-From-Tag 105 text accounting,
Framed-IPv6-Address 168 address6, Operator-Name 126, Location-Information 127 bytes, Location-Data 128 bytes,
Draft-Digest-Response 206, Digest-Attributes 207 bytes, SIP-URI-User 208, SIP-Translated-Request-ID 213,
SIP-AVP 225
"""
"""Name, number, the type unless it is text, and the packets unless it is in all.

They are from RFC 2865, 2866, 2869, 3162, 5090 and 6911, from draft-sterman-aaa-sip, and from SIP accounting.
"""
_CISCO = """
Cisco-AVPair 1, Cisco-NAS-Port 2, h323-remote-address 23, h323-conf-id 24, h323-setup-time 25, h323-call-origin 26,
h323-call-type 27, h323-connect-time 28, h323-disconnect-time 29, h323-disconnect-cause 30, h323-voice-quality 31,
h323-gw-id 33, h323-incoming-conf-id 35, Cisco-Policy-Up 37, Cisco-Policy-Down 38, h323-credit-amount 101,
h323-credit-time 102, h323-return-code 103, h323-prompt-id 104, h323-time-and-day 105, h323-redirect-number 106,
h323-preferred-lang 107, h323-redirect-ip-address 108, h323-billing-model 109, h323-currency 110, subscriber 111,
gw-rxd-cdn 112, gw-final-xlated-cdn 113, remote-media-address 114, release-source 115, gw-rxd-cgn 116,
gw-final-xlated-cgn 117, call-id 141, session-protocol 142, method 143, prev-hop-via 144, prev-hop-ip 145,
incoming-req-uri 146, outgoing-req-uri 147, next-hop-ip 148, next-hop-dn 149, sip-hdr 150, dsp-id 151
"""
"""The attributes of Cisco that voice gateways use, in the same notation."""

_VALUES = """
Acct-Status-Type: Start 1, Stop 2, Alive 3, Interim-Update 3, Accounting-On 7, Accounting-Off 8, Failed 15
Service-Type: Login-User 1, Framed-User 2, Callback-Login-User 3, Callback-Framed-User 4, Outbound-User 5,
 Administrative-User 6, NAS-Prompt-User 7, Authenticate-Only 8, Callback-NAS-Prompt 9, Call-Check 10,
 Callback-Administrative 11, Voice 12, Fax 13, Modem-Relay 14, Sip-Session 15, SIP 15, Authorize-Only 17
NAS-Port-Type: Async 0, Sync 1, ISDN 2, Virtual 5, Ethernet 15
Acct-Terminate-Cause: User-Request 1, Lost-Carrier 2, Lost-Service 3, Idle-Timeout 4, Session-Timeout 5,
 Admin-Reset 6, Admin-Reboot 7, Port-Error 8, NAS-Error 9, NAS-Request 10, NAS-Reboot 11, User-Error 17,
 Host-Request 18
"""
SECRETS = frozenset((2, 3, 60, 69, 70, 103, 121, 206))
"""Standard attributes of passwords, or of values that prove one. Their values are never shown."""


def _table(lines: str, vendor: int) -> dict[str, NamedAttribute]:
    found = {}
    for line in lines.replace("\n", " ").split(","):
        name, number, *rest = line.split()
        kind: Kind = next((one for one in get_args(Kind) if one in rest), "text")
        packets: Packets = next((one for one in get_args(Packets) if one in rest), "any")
        found[name] = NamedAttribute(vendor, int(number), kind, name, packets)
    return found


def _values(lines: str) -> dict[str, dict[str, int]]:
    found = {}
    for line in lines.strip().replace("\n ", " ").splitlines():
        attribute, _, values = line.partition(":")
        pairs = (value.rsplit(maxsplit=1) for value in values.split(","))
        found[attribute] = {name.strip(): int(number) for name, number in pairs}
    return found


VALUES = _values(_VALUES)
"""Names of integers, by attribute."""
ATTRIBUTES: dict[str, NamedAttribute] = _table(_STANDARD, 0) | _table(_CISCO, CISCO)
"""All attributes with a name, by name."""
DEFAULT_SOURCES: dict[str, tuple[str, ...]] = {
    "call_id": ("h323-conf-id", "Cisco-AVPair:call-id", "Acct-Session-Id"),
    "leg_id": (),
    "direction": ("h323-call-origin",),
    "account_id": (),
    "src_ip": ("h323-remote-address", "Cisco-AVPair:xpgk-source-ip", "User-Name"),
    "src_port": ("Cisco-AVPair:xpgk-source-port",),
    "protocol": ("Cisco-AVPair:h323-session-protocol", "session-protocol"),
    "gateway": ("h323-gw-id", "NAS-Identifier"),
    "name": ("User-Name",),
    "src_number": ("Cisco-AVPair:xpgk-src-number-in", "Calling-Station-Id"),
    "dst_number": ("Cisco-AVPair:xpgk-dst-number-in", "Called-Station-Id"),
    "interval": (),
}
"""The sources of each field, the best one first. NAS-IP-Address is never a default: it is the switch itself."""
_BY_FOLDED = {name.casefold(): one for name, one in ATTRIBUTES.items()}
_SIP_NUMBERS = range(101, 106)
"""Numbers that are fields of a digest in an Access-Request, and SIP fields in an Accounting-Request."""


def attribute_named(name: str) -> NamedAttribute | None:
    """Return the attribute with a name, in any case, or None."""
    return _BY_FOLDED.get(name.casefold())


def attribute_numbered(vendor: int, number: int, packets: Packets = "any") -> NamedAttribute:
    """Return the attribute with a number, in such packets. It has no name if the number is unknown."""
    found = NamedAttribute(vendor, number)
    for one in ATTRIBUTES.values():
        if (one.vendor, one.type) == (vendor, number):
            if one.packets in ("any", packets):
                return one
            found = NamedAttribute(vendor, number)
    return found


def parse_attribute(written: object) -> NamedAttribute:
    """Return the attribute that a config names.

    It may be a number (44), a name, ``vendor/type`` (``9/24``), or any of these with ``:name`` for a pair
    (``Cisco-AVPair:call-id``). 101 to 105 are the SIP fields of accounting, since digests are read anyway. Raise
    ValueError, with the expected form, if there is no such attribute, or if it holds a secret.
    """
    if not isinstance(written, str | int) or isinstance(written, bool):
        raise ValueError(expected(_NOTATION, written))  # noqa: TRY004 - each mistake of a config is a ValueError
    head, colon, pair = str(written).strip().partition(":")
    found = _by_number(head)
    if found is None:
        found = attribute_named(head)
    if found is None:
        raise ValueError(expected(_NOTATION, written, meant=nearest(head, ATTRIBUTES)))
    if colon and not pair:
        raise ValueError(expected("the name of a pair after the colon", written))
    if (found.vendor == 0 and found.type in SECRETS and found.packets != "accounting") or found.kind == "bytes":
        raise ValueError(expected("an attribute that holds text, a number or an address, and no secret", written))
    return msgspec.structs.replace(found, pair=pair) if colon else found


def parse_source(field: str, written: object) -> NamedAttribute:
    """Return the attribute that a config names as a source of a field in DEFAULT_SOURCES.

    Raise ValueError as :func:`parse_attribute` does, or if the attribute is the address of the switch itself.
    """
    found = parse_attribute(written)
    if field == "src_ip" and found.name in ("NAS-IP-Address", "NAS-IPv6-Address"):
        raise ValueError(expected("an attribute of the caller, not the address of the switch", written))
    return found


_NOTATION = 'an attribute (a name, 44, "9/24" or "Cisco-AVPair:call-id")'


def _by_number(text: str) -> NamedAttribute | None:
    """Return the attribute that a number names, or None if the text is no number of an attribute."""
    vendor, slash, number = text.rpartition("/")
    if not (number.isascii() and number.isdigit()) or len(number) > 3 or not 0 < int(number) < 256:
        return None
    if not slash:
        if int(number) == VENDOR_SPECIFIC:
            return None  # its attributes are named by vendor and type
        packets: Packets = "accounting" if int(number) in _SIP_NUMBERS else "access"
        return attribute_numbered(0, int(number), packets)
    if vendor in VENDORS:
        return attribute_numbered(VENDORS[vendor], int(number))
    if not (vendor.isascii() and vendor.isdigit()) or len(vendor) > 8 or not 0 < int(vendor) < 1 << 24:
        return None
    return attribute_numbered(int(vendor), int(number))
