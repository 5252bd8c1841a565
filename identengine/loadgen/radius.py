"""RADIUS (interfaces.md 5): requests as packets of a switch, and the check of their answers. No I/O.

The module has a reading of RFC 2865, 2866 and 3579 of its own. So it checks the codec of the server.
"""

from __future__ import annotations

import hmac
import os
from collections import deque
from collections.abc import Iterator, Mapping
from hashlib import md5

from identengine.calls.backend import LegResult
from identengine.errors import WireError, expected, one_of
from identengine.loadgen.mix import Decoder
from identengine.loadgen.protocols import BareReply
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import Result

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT = 1, 2, 3
ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE = 4, 5
STATUS_SERVER = 12
IDENTIFIERS = 256
"""Number of requests in flight that answers to one socket can distinguish."""
LONGEST_PACKET = 4096
_ANSWERS = {
    ACCESS_REQUEST: (ACCESS_ACCEPT, ACCESS_REJECT),
    ACCOUNTING_REQUEST: (ACCOUNTING_RESPONSE,),
    STATUS_SERVER: (ACCESS_ACCEPT, ACCOUNTING_RESPONSE),
}
_STATUSES = {"start": 1, "stop": 2, "update": 3, "switch_up": 7, "switch_down": 8}
"""Acct-Status-Type of each method of accounting."""
_HEAD = 20
"""Size of code, identifier, length and authenticator, in bytes."""
_USER_PASSWORD, _REPLY_MESSAGE, _VENDOR_SPECIFIC, _STATUS_TYPE, _MESSAGE_AUTHENTICATOR = 2, 18, 26, 40, 80
_AUTHENTICATOR_AT = _HEAD + 2
"""Offset of the value of the Message-Authenticator in a request. It is the first attribute."""
_REST_AT = _AUTHENTICATOR_AT + 16
_CISCO, _AVPAIR = 9, 1
_STANDARD = {"name": 1, "gateway": 32, "src_number": 31, "dst_number": 30, "call_id": 44}
"""Attribute of each parameter that one attribute of RFC 2865 or 2866 carries."""
_CISCO_NAMED = {"src_ip": (23, "h323-remote-address"), "protocol": (142, "session-protocol")}
_CISCO_PAIRS = {"src_port": "xpgk-source-port"}
_ORIGINS = {"origination": "answer", "termination": "originate"}
"""Value of h323-call-origin (9/26) for each direction."""
_DIGEST = {
    "response": 103,
    "realm": 104,
    "nonce": 105,
    "method": 108,
    "uri": 109,
    "qop": 110,
    "algorithm": 111,
    "cnonce": 113,
    "nc": 114,
    "username": 115,
}
"""Attribute of RFC 5090 for each member of ``digest``."""
_PLAIN = {*_STANDARD, *_CISCO_NAMED, *_CISCO_PAIRS, "direction", "digest", "password"}
_TEXTS = {
    "xpgk-src-number-out": "src_number",
    "xpgk-dst-number-out": "dst_number",
    "rate-table": "rate_table",
    "routing-plan": "routing_plan",
    "tag": "tag",
}
_NUMBERS = {"account": "account_id", "client": "client_id", "sip-code": "sip_code", "q850": "q850"}
"""Names of the AVPairs in an answer, and the fields that they carry."""


class Radius:
    """RADIUS over one socket, which asks two ports of the server.

    Requests have a Message-Authenticator, and answers to them must have one.
    """

    most: int | None = IDENTIFIERS
    numbered = True
    ordered = False
    retransmits = True

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return a packet without identifier and authenticators, and with a plain password.

        Raise ValueError if RADIUS has no such request.
        """
        given = {name: value for name, value in params.items() if value is not None}
        if unknown := sorted(given.keys() - _PLAIN):
            raise ValueError(f"{unknown[0]}: RADIUS carries no such parameter")
        body = b"".join(_attributes(given))
        if method in _STATUSES:
            return _packet(ACCOUNTING_REQUEST, _attribute(_STATUS_TYPE, _STATUSES[method].to_bytes(4)) + body)
        if method not in ("authorize", "ping"):
            methods = one_of(("authorize", *_STATUSES, "ping"))
            raise ValueError(f"method: {expected(f'{methods}, which RADIUS has', method)}")
        first = _attribute(_MESSAGE_AUTHENTICATOR, bytes(16)) + _password(given.get("password"))
        return _packet(ACCESS_REQUEST if method == "authorize" else STATUS_SERVER, first + body)

    def opening(self) -> bytes | None:
        """Return None, since each request proves the secret."""
        return None

    def reader(self) -> _Session:
        """Return a session with identifiers of its own."""
        return _Session(self._secret)

    def decoder(self, method: str) -> Decoder:
        """Return a decoder of answers to the method's request."""
        return _Results(method)

    def carried(self, method: str) -> frozenset[str] | None:
        """Return the fields that an answer of RADIUS carries."""
        if method == "authorize":
            return frozenset({"accepted", "reason", *_TEXTS.values(), *_NUMBERS.values()})
        return frozenset({"ok"})


class _Session:
    """The identifiers of one socket, and the requests that they name.

    A request is remembered until its identifier is used again, so that a late answer is recognized.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._free = deque(range(IDENTIFIERS))
        self._identifiers: dict[int, int] = {}
        """Identifier of each request in flight by its number."""
        self._asked: list[tuple[int, bytes]] = [(0, b"")] * IDENTIFIERS
        """The last request of each identifier: its number and its bytes."""

    def seal(self, number: int, message: bytes) -> bytes:
        identifier = self._free.popleft()
        head = bytes((message[0], identifier)) + message[2:4]
        if message[0] == ACCOUNTING_REQUEST:
            rest = message[_HEAD:]
            packet = head + md5(head + bytes(16) + rest + self._secret, usedforsecurity=False).digest() + rest
        else:
            authenticator = os.urandom(16)
            rest = message[_REST_AT:]
            if rest[:1] == bytes((_USER_PASSWORD,)):
                end = rest[1]
                rest = rest[:2] + _hidden(rest[2:end], self._secret, authenticator) + rest[end:]
            begin = head + authenticator + message[_HEAD:_AUTHENTICATOR_AT]
            packet = begin + hmac.digest(self._secret, begin + bytes(16) + rest, "md5") + rest
        self._identifiers[number] = identifier
        self._asked[identifier] = number, packet
        return packet

    def again(self, number: int) -> bytes:
        return self._asked[self._identifiers[number]][1]

    def forget(self, number: int) -> None:
        identifier = self._identifiers.pop(number, None)
        if identifier is not None:
            self._free.append(identifier)

    def feed(self, data: bytes) -> list[BareReply]:
        if not _HEAD <= len(data) <= LONGEST_PACKET or int.from_bytes(data[2:4]) != len(data):
            raise WireError(f"expected a RADIUS packet, got {len(data)} other bytes")
        number, request = self._asked[data[1]]
        if not request or data[0] not in _ANSWERS[request[0]]:
            raise WireError(f"an answer of code {data[0]} to no request of its identifier")
        self._verify(data, request)
        self.forget(number)
        kept = (raw for kind, raw, _ in _read(data) if kind != _MESSAGE_AUTHENTICATOR)
        return [BareReply(data[:1] + b"".join(kept), id=number)]

    def _verify(self, data: bytes, request: bytes) -> None:
        """Raise WireError if the answer is not from a server that knows the secret (RFC 2865 3, RFC 3579 3.2)."""
        begin, rest, secret = data[:4] + request[4:_HEAD], data[_HEAD:], self._secret
        if md5(begin + rest + secret, usedforsecurity=False).digest() != data[4:_HEAD]:
            raise WireError("an answer with a wrong Response Authenticator")
        found = [(at, value) for kind, _, (at, value) in _read(data) if kind == _MESSAGE_AUTHENTICATOR]
        if not found and request[0] == ACCESS_REQUEST:
            raise WireError("an answer without Message-Authenticator")
        for at, value in found:
            bare = begin + data[_HEAD:at] + bytes(len(value)) + data[at + len(value) :]
            if hmac.digest(secret, bare, "md5") != value:
                raise WireError("an answer with a wrong Message-Authenticator")


class _Results:
    """A decoder of answers, each a code and its attributes."""

    def __init__(self, method: str) -> None:
        self._method = method

    def decode(self, raw: bytes, /) -> Result:
        if self._method == "ping":
            return Pong("", None, 0.0, 0)
        if self._method != "authorize":
            return LegResult(True)
        fields: dict[str, object] = {}
        for name, text in _texts(raw):
            if name in _NUMBERS:
                fields[_NUMBERS[name]] = int(text)
            elif name in _TEXTS:
                fields[_TEXTS[name]] = text
            elif name == "reason":
                fields["reason"] = text
        return Decision(accepted=raw[0] == ACCESS_ACCEPT, **fields)  # type: ignore[arg-type]  # by the tables


def _texts(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield the AVPairs of an answer by name, and its Reply-Message as ``reason``."""
    for kind, _, (_, value) in _read(raw, 1):
        if kind == _REPLY_MESSAGE:
            yield "reason", value.decode()
        elif kind == _VENDOR_SPECIFIC and value[:5] == _CISCO.to_bytes(4) + bytes((_AVPAIR,)):
            name, _, text = value[6:].decode().partition("=")
            yield name, text


def _read(packet: bytes, at: int = _HEAD) -> Iterator[tuple[int, bytes, tuple[int, bytes]]]:
    """Yield the attributes from ``at``: type, all bytes, and place and bytes of the value. Raise WireError."""
    while at < len(packet):
        length = packet[at + 1] if at + 1 < len(packet) else 0
        if not 2 <= length <= len(packet) - at:
            raise WireError("an answer whose attributes have wrong lengths")
        yield packet[at], packet[at : at + length], (at + 2, packet[at + 2 : at + length])
        at += length


def _attributes(params: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the attributes of all parameters except the password. Raise ValueError if a value is not a text."""
    for name, value in params.items():
        if name in _STANDARD:
            yield _attribute(_STANDARD[name], _bytes(name, value))
        elif name in _CISCO_NAMED:
            kind, named = _CISCO_NAMED[name]
            yield _cisco(kind, f"{named}=".encode() + _bytes(name, value))
        elif name in _CISCO_PAIRS:
            yield _cisco(_AVPAIR, f"{_CISCO_PAIRS[name]}=".encode() + _bytes(name, value))
        elif name == "direction":
            if value not in _ORIGINS:
                raise ValueError(f"direction: {expected(one_of(_ORIGINS), value)}")
            yield _cisco(26, f"h323-call-origin={_ORIGINS[str(value)]}".encode())
        elif name == "digest":
            yield from _digest(value)


def _digest(value: object) -> Iterator[bytes]:
    if not isinstance(value, dict) or value.keys() - _DIGEST.keys():
        raise ValueError(f"digest: {expected(f'an object of {one_of(_DIGEST)}', value)}")
    for member, text in value.items():
        yield _attribute(_DIGEST[member], _bytes(f"digest.{member}", text))


def _password(value: object) -> bytes:
    """Return User-Password in plain, padded as its hidden form is."""
    if value is None:
        return b""
    plain = _bytes("password", value)
    return _attribute(_USER_PASSWORD, plain + bytes(-len(plain) % 16 or (0 if plain else 16)))


def _hidden(plain: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """Return the hidden form of a padded password (RFC 2865 5.2)."""
    hidden, before = b"", authenticator
    for at in range(0, len(plain), 16):
        mask = md5(secret + before, usedforsecurity=False).digest()
        before = bytes(one ^ two for one, two in zip(plain[at : at + 16], mask, strict=True))
        hidden += before
    return hidden


def _bytes(name: str, value: object) -> bytes:
    if not isinstance(value, str | int):
        raise ValueError(f"{name}: {expected('a text', value)}")  # noqa: TRY004 - a mistake in the mix
    return str(value).encode()


def _attribute(kind: int, value: bytes) -> bytes:
    if len(value) > 253:
        raise ValueError(f"expected at most 253 bytes in attribute {kind}, got {len(value)}")
    return bytes((kind, len(value) + 2)) + value


def _cisco(kind: int, value: bytes) -> bytes:
    return _attribute(_VENDOR_SPECIFIC, _CISCO.to_bytes(4) + bytes((kind, len(value) + 2 & 0xFF)) + value)


def _packet(code: int, attributes: bytes) -> bytes:
    length = _HEAD + len(attributes)
    if length > LONGEST_PACKET:
        raise ValueError(f"expected a packet of at most {LONGEST_PACKET} bytes, got {length}")
    return bytes((code, 0)) + length.to_bytes(2) + bytes(16) + attributes
