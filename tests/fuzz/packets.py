"""Random RADIUS packets: mostly right, with wrong attributes, damaged bytes and wrong secrets."""

from __future__ import annotations

from hashlib import md5

from conformance.book import PASSWORD
from fuzz.mutation import mutated
from fuzz.rounds import Case
from support.radiuspackets import attribute

from identengine.model.attributes import ATTRIBUTES
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.digest import DRAFT_FIELDS
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    CODES,
    LONGEST_VENDOR_VALUE,
    STATUS_SERVER,
    encode,
    encoded,
)
from identengine.wire.radius.passwords import hidden

RIGHT: dict[str, tuple[object, ...]] = {
    "User-Name": ("10.0.0.1", "acme", "10.0.0.5", "", "Größe"),
    "User-Password": (PASSWORD, "wrong", "cisco", b"\xff", ""),
    "CHAP-Password": (bytes(17), b"\x01", b""),
    "CHAP-Challenge": (bytes(16), b"x", b""),
    "NAS-IP-Address": (b"\x0a\0\0\x01", b"\x0a\0"),
    "NAS-Identifier": ("g1", "gw"),
    "Calling-Station-Id": ("+44 20 7000", "44207000", "", "1" * 70),
    "Called-Station-Id": ("44171", "77#44171", "+44171", "", "x"),
    "Acct-Session-Id": ("call-1", "call-2", "c" * 253, b"\xff\xfe"),
    "Acct-Status-Type": (1, 2, 3, 7, 8, 15, 9, 0, 1 << 31, b"", b"\x01"),
    "Acct-Delay-Time": (0, 1, 30),
    "Acct-Interim-Interval": (60, 0),
    "Class": (b"account=1;client=1;version=7", b"\x00"),
    "h323-remote-address": ("10.0.0.1", "10.0.0.8", "h323-remote-address=10.0.0.15", "2001:db8::1", "10.0.0.999"),
    "h323-conf-id": ("h323-conf-id=1 2 3 4", "1 2 3 5", "h323-conf-id="),
    "h323-call-origin": ("answer", "originate", "h323-call-origin=answer", "callback", ""),
    "h323-gw-id": ("g1",),
    "session-protocol": ("sipv2", "SIP"),
    "Cisco-AVPair": (
        "call-id=call-1",
        "xpgk-source-ip=10.0.0.9",
        "xpgk-source-port=5060",
        "xpgk-source-port=70000",
        "xpgk-src-number-in=44207000",
        "xpgk-dst-number-in=44171",
        "h323-session-protocol=sip",
        "=",
        "",
        "call-id",
    ),
    "Digest-Response": ("0" * 32, "x"),
    "Digest-Realm": ("realm",),
    "Digest-Nonce": ("nonce",),
    "Digest-Method": ("INVITE",),
    "Digest-URI": ("sip:44171@example.com",),
    "Digest-Qop": ("auth", "auth-int", ""),
    "Digest-Algorithm": ("MD5", "SHA-256", "md5"),
    "Digest-CNonce": ("0a4f113b",),
    "Digest-Nonce-Count": ("00000001",),
    "Digest-Username": ("acme", "nobody"),
    "Draft-Digest-Response": ("0" * 32,),
    "SIP-AVP": ("a:b",),
}
"""Usual values of each attribute."""
USUAL = ("User-Name", "Called-Station-Id", "Calling-Station-Id", "Acct-Session-Id", "h323-remote-address")
"""Attributes that most packets have."""
SIZES = (0, 1, 4, 16, LONGEST_VENDOR_VALUE, LONGEST_VENDOR_VALUE)
"""Sizes of random values, in bytes."""
TOKENS = (
    b"\x00",
    b"\xff",
    b"\x1a",
    b"\x50\x12",
    b"\x21\x02",
    b"\x21\xff",
    b"\x1a\x08\0\0\0\x09\x01\x02",
    b"\x4f\x02",
)
"""Bytes that matter to a reader of packets."""


def packet(case: Case, secret: SharedSecret, *, accounting: bool) -> bytes:
    """Return a packet for one of the ports. It may be right, wrong, damaged, or proven by another secret."""
    if case.often(0.03):
        return case.randbytes(case.choice((0, 1, 19, 20, 21, 300, 4096, 5000)))
    code = ACCOUNTING_REQUEST if accounting else ACCESS_REQUEST
    if case.often(0.15):
        code = case.choice((STATUS_SERVER, STATUS_SERVER, ACCESS_REQUEST, ACCOUNTING_REQUEST, *CODES, 0, 99, 255))
    authenticator, identifier = case.randbytes(16), case.randrange(256)
    attributes = _attributes(case, code, secret, authenticator)
    if case.often(0.2):
        attributes = mutated(case, attributes, 3, TOKENS)
    if case.often(0.03):
        secret = SharedSecret(b"another secret")
    raw = _proven(case, code, identifier, authenticator, attributes, secret)
    if case.often(0.05):
        raw += case.randbytes(case.choice((1, 20, 4096)))  # padding
    return mutated(case, raw, 2, TOKENS) if case.often(0.1) else raw


def _proven(
    case: Case, code: int, identifier: int, authenticator: bytes, attributes: bytes, secret: SharedSecret
) -> bytes:
    """Return a packet with its proof: a Message-Authenticator, the authenticator of accounting, or none."""
    attributes = attributes[: 0xFFFF - 100]
    if case.often(0.7):
        return secret.request(code, identifier, authenticator, attributes)
    if code == ACCOUNTING_REQUEST:
        raw = encode(code, identifier, bytes(16), attributes)
        return raw[:4] + md5(raw + secret.secret).digest() + raw[20:]
    return encode(code, identifier, authenticator, attributes)


def _attributes(case: Case, code: int, secret: SharedSecret, authenticator: bytes) -> bytes:
    names = [name for name in USUAL if case.often(0.9)]
    names += [case.choice(tuple(RIGHT)) for _ in range(case.choice((0, 0, 1, 3, 10)))]
    if code == ACCOUNTING_REQUEST and case.often(0.95):
        names.append("Acct-Status-Type")
    found = [attribute(name, case.choice(RIGHT[name])) for name in names]
    for place, name in enumerate(names):
        if name == "User-Password" and case.often(0.9):
            kind, password = found[place]
            found[place] = kind, hidden(password, secret, authenticator)
    if case.often(0.1):
        inner = b"".join(bytes((one, 6)) + b"acme" for one in DRAFT_FIELDS)
        found.append(attribute("Digest-Attributes", mutated(case, inner)[:253] if case.often(0.3) else inner))
    for repeated in ("Proxy-State", None):
        count, size = case.choice(((0, 0),) * 5 + ((1, LONGEST_VENDOR_VALUE), (3, 16), (16, 253), (210, 0)))
        found += [
            attribute(repeated or case.choice(tuple(ATTRIBUTES)), case.randbytes(min(size, case.choice(SIZES))))
            for _ in range(count)
        ]
    if case.often(0.3):
        case.shuffle(found)
    return encoded(found)
