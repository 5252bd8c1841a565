"""Packets as people write them: lines ``Name = value``, as ``radclient`` reads them. No I/O.

Rule: a written packet is encoded, and then decoded as if a switch had sent it. So it is read as by the server.
Passwords are in clear. The secret and the authenticator are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from identengine.errors import WireError, expected, nearest, one_of
from identengine.model.addresses import parse_address
from identengine.model.attributes import (
    ATTRIBUTES,
    SECRETS,
    VALUES,
    VENDOR_SPECIFIC,
    NamedAttribute,
    attribute_named,
    attribute_numbered,
)
from identengine.wire.radius.authenticators import ZEROS, SharedSecret
from identengine.wire.radius.mapping import STATUS_TYPE
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    LONGEST_PACKET,
    LONGEST_VALUE,
    LONGEST_VENDOR_VALUE,
    MESSAGE_AUTHENTICATOR,
    MOST_ATTRIBUTES,
    Packet,
    PacketError,
    attribute,
    decode,
    vendor_key,
)
from identengine.wire.radius.passwords import (
    CHAP_BYTES,
    CHAP_CHALLENGE,
    CHAP_PASSWORD,
    LONGEST_PASSWORD,
    USER_PASSWORD,
    chap_response,
    hidden,
)

SECRET: Final = SharedSecret(b"written")
"""The secret of written packets."""
CODES = {"Access-Request": ACCESS_REQUEST, "Accounting-Request": ACCOUNTING_REQUEST}
"""The values of ``Packet-Type``."""
ALIASES = {"Digest-User-Name": "Digest-Username", "Digest-Body-Digest": "Digest-Entity-Body-Hash"}
"""Names that ``radclient`` also reads."""
_BY_ALIAS = {alias.casefold(): name for alias, name in ALIASES.items()}
_NOT_SENT = re.compile(
    r"(Response-)?Packet-[\w-]+|Radclient-[\w-]+|Cleartext-Password|Message-Authenticator", re.I
)
"""Attributes that ``radclient`` does not send as written."""
_PAIR = re.compile(
    r"""\s* (?P<name> [\w.-]+ ) \s* (?: := | \+= | == | = ) \s*
    (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,#"'][^\s,#]* )
    \s* (?: ,\s* | (?=\#) | $ )""",
    re.VERBOSE,
)
_REQUEST_NUMBER = re.compile(r"^\s*\(\d+\)\s*")
"""The number of a request that begins each line of FreeRADIUS' debug output."""
_NUMBERED = re.compile(r"Attr-(?:26\.(?P<vendor>\d{1,8})\.)?(?P<number>\d{1,3})", re.IGNORECASE)
_WORD = re.compile(r"[\w.-]+")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_HEX = re.compile(r"0[xX](?:[0-9A-Fa-f]{2})*")
_IN_HEX = "bytes in hex (0x…)"
_DATE = "%b %d %Y %H:%M:%S"


class NotationError(WireError):
    """A line of a written packet cannot be used."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {what}")


class WrittenAttribute(NamedTuple):
    """An attribute of a written packet."""

    line: int
    """Number of its line, from 1."""
    name: str
    """Its name as this program spells it, or as written if it has only a number."""
    key: int
    value: bytes


class WrittenPacket(NamedTuple):
    """A written packet."""

    packet: Packet
    attributes: list[WrittenAttribute]
    """The attributes in the order of ``packet``."""


def parse(text: str) -> WrittenPacket:
    """Return the packet that a text describes. Raise NotationError if it describes none.

    ``Packet-Type`` names the kind of packet. Without it, a packet with an Acct-Status-Type is an
    Accounting-Request. Bytes that are not UTF-8 must be surrogates.
    """
    code: int | None = None
    attributes: list[WrittenAttribute] = []
    line = 1
    for line, name, value in _pairs(text):
        if name.casefold() == "packet-type":
            code = CODES.get(value)
            if code is None:
                raise NotationError(line, expected(one_of(CODES), value))
        elif not _NOT_SENT.fullmatch(name):
            one = _attribute(line, name, value)
            if one.key != MESSAGE_AUTHENTICATOR:
                attributes.append(one)
    if not attributes:
        raise NotationError(line, expected("an attribute, got none"))
    if code is None:
        is_accounting = any(one.key == STATUS_TYPE for one in attributes)
        code = ACCOUNTING_REQUEST if is_accounting else ACCESS_REQUEST
    return WrittenPacket(_packet(code, attributes), attributes)


def _pairs(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and value as written of each attribute. Raise NotationError for other lines."""
    blank = 0
    is_begun = False
    for line, whole in enumerate(text.split("\n"), 1):
        written = _REQUEST_NUMBER.sub("", whole)
        at, rest = 0, written.strip()
        if not rest or rest.startswith("#"):
            blank = line if is_begun and not rest else blank
            continue
        if blank:
            raise NotationError(line, f"expected one packet, got a second one after the blank line {blank}")
        is_begun = True
        while at < len(written) and not written[at:].startswith("#"):
            found = _PAIR.match(written, at)
            if found is None:
                raise NotationError(line, expected("Name = value", _without_secret(written[at:].strip())))
            yield line, found["name"], found["value"]
            at = found.end()


def _attribute(line: int, name: str, written: str) -> WrittenAttribute:
    """Return an attribute. Raise NotationError if it has no such name or value."""
    numbered = _NUMBERED.fullmatch(name)
    named = _numbered(line, numbered) if numbered else attribute_named(_BY_ALIAS.get(name.casefold(), name))
    if named is None:
        meant = nearest(name, [*ATTRIBUTES, *ALIASES])
        form = "the name of an attribute" if meant else "the name of an attribute, Attr-N or Attr-26.VENDOR.N"
        raise NotationError(line, expected(form, name, meant=meant))
    try:
        value = _hex(written) if numbered else _READERS[named.kind](named, _unquoted(written))
    except ValueError as error:
        what = expected(_IN_HEX) if _is_secret(named) else str(error)
        raise NotationError(line, f"{name}: {what}") from None
    key = vendor_key(named.vendor, named.type) if named.vendor else named.type
    longest = LONGEST_VENDOR_VALUE if named.vendor else LONGEST_PASSWORD if key == USER_PASSWORD else LONGEST_VALUE
    if len(value) > longest:
        raise NotationError(line, f"{name}: expected at most {longest} bytes, got {len(value):,}")
    return WrittenAttribute(line, named.name or name, key, value)


def _is_secret(named: NamedAttribute) -> bool:
    return named.vendor == 0 and named.type in SECRETS


def _without_secret(written: str) -> str:
    """Return part of a line, only its first word if any word may name a secret.

    The line has no form that shows where a value begins.
    """
    words = _WORD.findall(written)
    return f"{words[0]} …" if any(map(_may_name_secret, words)) else written


def _may_name_secret(word: str) -> bool:
    named = attribute_named(_BY_ALIAS.get(word.casefold(), word))
    numbered = _NUMBERED.fullmatch(word)
    if numbered and numbered["vendor"] is None:
        named = attribute_numbered(0, int(numbered["number"]))
    return _is_secret(named) if named is not None else "password" in word.casefold()


def _numbered(line: int, found: re.Match[str]) -> NamedAttribute:
    vendor, number = int(found["vendor"] or 0), int(found["number"])
    is_vendor = found["vendor"] is not None
    if (
        not 0 < number < 256
        or (is_vendor and not 0 < vendor < 1 << 24)
        or (not is_vendor and number == VENDOR_SPECIFIC)
    ):
        raise NotationError(line, expected("Attr-N or Attr-26.VENDOR.N with N from 1 to 255", found[0]))
    return attribute_numbered(vendor, number)


def _unquoted(written: str) -> str:
    """Return a value without its quotes, its escapes as the bytes that they stand for."""
    quote = written[:1]
    if quote not in ("'", '"'):
        return written

    def plain(escape: re.Match[str]) -> str:
        one = escape[1]
        if len(one) == 3:
            return bytes((int(one, 8) & 255,)).decode(errors="surrogateescape")
        return one if one in ("\\", quote) else _ESCAPES.get(one, escape[0])

    return _ESCAPE.sub(plain, written[1:-1])


def _hex(written: str) -> bytes:
    if not _HEX.fullmatch(written):
        raise ValueError(expected(_IN_HEX, written))
    return bytes.fromhex(written[2:])


def _text(_: NamedAttribute, written: str) -> bytes:
    return written.encode(errors="surrogateescape")


def _bytes(_: NamedAttribute, written: str) -> bytes:
    return _hex(written) if written[:2] in ("0x", "0X") else written.encode(errors="surrogateescape")


def _integer(named: NamedAttribute, written: str) -> bytes:
    names = VALUES.get(named.name or "", {})
    number = next((value for name, value in names.items() if name.casefold() == written.casefold()), None)
    if number is None:
        is_number = written.isascii() and (written.isdigit() or re.fullmatch(r"0[xX][0-9A-Fa-f]+", written))
        number = int(written, 16 if written[:2] in ("0x", "0X") else 10) if is_number and len(written) < 12 else -1
    if not 0 <= number < 1 << 32:
        what = f"{one_of(names)}, or an integer" if names else "an integer of at most 32 bits"
        raise ValueError(expected(what, written, meant=nearest(written, names)))
    return number.to_bytes(4, "big")


def _date(named: NamedAttribute, written: str) -> bytes:
    """Return a time of FreeRADIUS, as ``Nov 30 2026 20:00:00 UTC``, or seconds."""
    try:
        moment = datetime.strptime(" ".join(written.split()[:4]), _DATE).replace(tzinfo=UTC)
    except ValueError:
        return _integer(named, written)
    return int(moment.timestamp()).to_bytes(4, "big")


def _address(size: int) -> Callable[[NamedAttribute, str], bytes]:
    version = "an IPv4 address" if size == 4 else "an IPv6 address"

    def read(_: NamedAttribute, written: str) -> bytes:
        try:
            address = parse_address(written)
        except ValueError:
            address = b""
        if len(address) != size:
            raise ValueError(expected(version, written))
        return address

    return read


_READERS: dict[str, Callable[[NamedAttribute, str], bytes]] = {
    "text": _text,
    "bytes": _bytes,
    "integer": _integer,
    "date": _date,
    "address": _address(4),
    "address6": _address(16),
}


def _packet(code: int, attributes: list[WrittenAttribute]) -> Packet:
    """Return a packet of attributes. Raise NotationError if it would be too large."""
    body = b""
    for number, one in enumerate(attributes, 1):
        body += attribute(one.key, _sent(one, attributes))
        whole = SECRET.request(code, 0, ZEROS, body)
        if len(whole) > LONGEST_PACKET:
            raise NotationError(one.line, f"expected a packet of at most {LONGEST_PACKET:,} bytes, got more")
        if number >= MOST_ATTRIBUTES:
            raise NotationError(one.line, f"expected at most {MOST_ATTRIBUTES - 1} attributes, got more")
    try:
        packet = decode(SECRET.request(code, 0, ZEROS, body))
    except PacketError as error:
        raise NotationError(attributes[-1].line, f"the packet cannot be sent: {error.cause}") from None
    return packet


def _sent(one: WrittenAttribute, attributes: list[WrittenAttribute]) -> bytes:
    """Return the value that is sent: a User-Password is hidden, and a CHAP-Password becomes a response."""
    if one.key == USER_PASSWORD:
        return hidden(one.value, SECRET, ZEROS)
    if one.key != CHAP_PASSWORD:
        return one.value
    challenge = next((other.value for other in attributes if other.key == CHAP_CHALLENGE), None)
    is_response = len(one.value) == CHAP_BYTES and not (one.value.isascii() and one.value.decode().isprintable())
    if not is_response:  # radclient decides by the same shape
        return chap_response(0, one.value, ZEROS if challenge is None else challenge)
    if challenge is None:
        raise NotationError(one.line, "CHAP-Password: expected a CHAP-Challenge with a response, got none")
    return one.value
