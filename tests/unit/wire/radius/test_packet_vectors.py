"""Packets that other projects wrote: FreeRADIUS' vectors, and the examples of RFC 2865."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from support.radiuspackets import AUTHENTICATOR, attribute, key, vectors

from identengine.identify.credentials import chap_verifies
from identengine.model.attributes import ATTRIBUTES, VALUES
from identengine.model.records import Digest
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.digest import digest_of
from identengine.wire.radius.packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    HEADER_BYTES,
    Attribute,
    Cause,
    Packet,
    PacketError,
    decode,
    encode,
    encoded,
    values,
)
from identengine.wire.radius.passwords import USER_PASSWORD, chap_of, hidden, revealed

SECRET = SharedSecret(b"testing123")
"""The secret of FreeRADIUS' vectors."""
CODES = {
    "Access-Request": ACCESS_REQUEST,
    "Access-Accept": ACCESS_ACCEPT,
    "Access-Reject": ACCESS_REJECT,
    "Access-Challenge": 11,
}
CAUSES = {
    "is smaller than the minimum packet length": Cause.TOO_SHORT,
    "unknown packet code": Cause.CODE,
    "has a value smaller than the minimum packet length": Cause.LENGTH,
    "has a value larger than the received data": Cause.TRUNCATED,
    "attribute header overflows the packet": Cause.ATTRIBUTE,
    "attribute number 0 is invalid": Cause.ATTRIBUTE,
    "contains invalid value": Cause.ATTRIBUTE,
    "overflows the packet": Cause.ATTRIBUTE,
    "Message-Authenticator has invalid length": Cause.MESSAGE_AUTHENTICATOR,
    "but it is missing": Cause.NO_MESSAGE_AUTHENTICATOR,
    "Insufficient data": Cause.ATTRIBUTE,
}
"""The cause of each error in the file, by the end of its message."""


def cases(name: str) -> list[tuple[str, bytes, str]]:
    """Return the decoded vectors of a file: their kind, the bytes, and the line of the result."""
    found = re.findall(r"^decode-(proto|pair) ([0-9a-f ]+)\nmatch (.*)$", vectors(name), re.MULTILINE)
    return [(kind, bytes.fromhex(data), result) for kind, data, result in found]


def packet_of(kind: str, data: bytes) -> bytes:
    """Return a datagram with the bytes of a case."""
    return data if kind == "proto" else encode(ACCESS_REQUEST, 0, bytes(16), data)


@pytest.mark.parametrize(
    ("name", "count"), [("packet_radius.txt", 4), ("packet_rfc3162.txt", 6), ("packet_wireshark01.txt", 19)]
)
def test_the_packets_have_the_values_that_freeradius_reads(name: str, count: int) -> None:
    found = cases(name)
    assert len(found) == count
    for kind, data, result in found:
        packet = decode(packet_of(kind, data))
        pairs = re.findall(r'([\w.-]+) = ("(?:[^"\\]|\\.)*"|[^,]+)', result)
        if kind == "proto":
            (_, code), (_, authenticator), *pairs = pairs
            assert packet.code == CODES[code.removeprefix("::")]
            assert packet.authenticator.hex() == authenticator.removeprefix("0x")
        assert len(packet.attributes) == len(pairs)
        for each, (named, value) in zip(packet.attributes, pairs, strict=True):
            assert_value(each, named.removeprefix("raw."), value)


def assert_value(read: Attribute, name: str, value: str) -> None:
    kind, data = read
    assert kind == key(name)
    if name == "User-Password":
        # FreeRADIUS' vectors are decoded with this authenticator instead of that of the packet.
        assert printed(revealed(data, SECRET, AUTHENTICATOR)) == value
    elif value.startswith('"'):
        assert printed(data) == value
    elif value.startswith("0x"):
        assert data.hex()[: len(value) - 2] == value[2:]  # one vector has half a byte at its end
    elif value.startswith("::") and "/" not in value:
        assert len(data) == 4
        if name in VALUES:
            assert int.from_bytes(data, "big") == VALUES[name].get(value[2:], int.from_bytes(data, "big"))
    elif "/" in value:
        assert IPv6Network((data[2:].ljust(16, b"\0")[:16], data[1]), strict=False) == IPv6Network(value)
    elif ATTRIBUTES[name].kind == "address":
        assert IPv4Address(data) == IPv4Address(value)
    elif ATTRIBUTES[name].kind == "address6":
        assert IPv6Address(data) == IPv6Address(value)
    else:
        assert int.from_bytes(data, "big") == int(value)


def printed(data: bytes) -> str:
    """Return bytes as FreeRADIUS prints text: valid UTF-8 as it is, and other bytes in octal."""
    text = data.decode("utf-8", "surrogateescape")
    shown = ""
    for each in text:
        if each in '"\\%':
            shown += "\\" + each
        elif "\udc80" <= each <= "\udcff":
            shown += f"\\{ord(each) - 0xDC00:03o}"
        elif not each.isprintable():
            shown += {"\r": "\\r", "\n": "\\n", "\t": "\\t"}.get(each) or "".join(
                f"\\{b:03o}" for b in each.encode()
            )
        else:
            shown += each
    return f'"{shown}"'


def test_requests_of_wireshark_verify_and_so_do_their_replies() -> None:
    requests: dict[int, Packet] = {}
    signed, passwords = 0, set()
    for _, data, _ in cases("packet_wireshark01.txt"):
        packet = decode(data)
        if packet.code == ACCESS_REQUEST:
            requests[packet.identifier] = packet
            signed += SECRET.signs(packet)
            passwords |= {
                revealed(hidden, SECRET, packet.authenticator) for hidden in values(packet, USER_PASSWORD)
            }
        elif SECRET.signs(requests[packet.identifier]):
            assert SECRET.answers(packet, requests[packet.identifier].authenticator)
    assert signed == 7
    assert b"bad" in passwords


def test_malformed_packets_are_dropped_by_cause() -> None:
    found = cases("errors.txt")
    assert len(found) == 23
    for kind, data, result in found:
        with pytest.raises(PacketError) as caught:
            decode(packet_of(kind, data))
        assert caught.value.cause == next(cause for end, cause in CAUSES.items() if result.endswith(end))


def test_digest_attributes_have_the_values_that_freeradius_reads() -> None:
    text = vectors("digest.txt")
    whole = bytes.fromhex(re.findall(r"^match (cf .*)$", text, re.MULTILINE)[0])
    assert digest_of(decode(encode(ACCESS_REQUEST, 0, bytes(16), whole))) == Digest(
        realm="biloxi.com",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        method="INVITE",
        uri="sip:bob@biloxi.com",
        username="bob",
        qop="auth",
        algorithm="MD5",
        nc="00000001",
        cnonce="0a4f113b",
    )
    (apart,) = re.findall(r"^decode-pair (cf .*)$", text, re.MULTILINE)
    split = decode(encode(ACCESS_REQUEST, 0, bytes(16), bytes.fromhex(apart)))
    assert digest_of(split) == Digest(realm="biloxi.com", username="bob")


def test_the_example_of_rfc_2865_7_1_byte_for_byte() -> None:
    examples = json.loads(vectors("rfc2865-examples.json"))
    example, secret = examples["7.1"], SharedSecret(examples["secret"].encode())
    sent = bytes.fromhex(example["request"])
    request = decode(sent)
    password = example["password"].encode()
    assert revealed(dict(request.attributes)[2], secret, request.authenticator) == password
    plain = [(k, hidden(password, secret, request.authenticator) if k == 2 else v) for k, v in request.attributes]
    assert encode(1, request.identifier, request.authenticator, encoded(plain)) == sent
    assert dict(request.attributes)[1] == example["user"].encode()
    assert_reply(bytes.fromhex(example["response"]), request, secret)


def test_the_example_of_rfc_2865_7_2_byte_for_byte() -> None:
    examples = json.loads(vectors("rfc2865-examples.json"))
    example, secret = examples["7.2"], SharedSecret(examples["secret"].encode())
    sent = bytes.fromhex(example["request"])
    request = decode(sent)
    assert encode(1, request.identifier, request.authenticator, encoded(request.attributes)) == sent
    chap = chap_of(request)
    assert chap is not None
    assert chap.challenge == request.authenticator
    assert chap_verifies(example["chap_password"], chap)
    assert not chap_verifies(example["chap_password"] + "x", chap)
    # The authenticator in the RFC is that of Framed-Routing 2, and its text has 0.
    routing = attribute("Framed-Routing", 0), attribute("Framed-Routing", 2)
    shown, signed = (encoded([one]) for one in routing)
    response = bytes.fromhex(example["response"])
    assert not secret.answers(decode(response), request.authenticator)
    assert_reply(response.replace(shown, signed), request, secret)


def assert_reply(response: bytes, request: Packet, secret: SharedSecret) -> None:
    reply = decode(response)
    assert (reply.code, reply.identifier) == (ACCESS_ACCEPT, request.identifier)
    assert secret.answers(reply, request.authenticator)
    assert not SECRET.answers(reply, request.authenticator)
    assert encode(2, reply.identifier, reply.authenticator, encoded(reply.attributes)) == response
    assert response[HEADER_BYTES:] == encoded(reply.attributes)
