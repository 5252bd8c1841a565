from __future__ import annotations

import hmac
from hashlib import md5

import pytest
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket
from support.radiuspackets import AUTHENTICATOR, SECRET, packet, request

from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import (
    ACCESS_ACCEPT,
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    STATUS_SERVER,
    decode,
)

OTHER = SharedSecret(b"another secret")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
def test_the_prepared_hmac_is_that_of_the_library(size: int) -> None:
    secret = b"\x5c6" * (size // 2) + b"x" * (size % 2)
    for data in (b"", b"data", bytes(4096)):
        assert SharedSecret(secret).hmac(data) == hmac.digest(secret, data, "md5")


@pytest.mark.parametrize("code", [ACCESS_REQUEST, ACCOUNTING_REQUEST, STATUS_SERVER])
def test_a_message_authenticator_covers_every_bit(code: int) -> None:
    data = request(("User-Name", "bob"), code=code)
    assert SECRET.signs(decode(data))
    assert not OTHER.signs(decode(data))
    # In accounting the authenticator is not covered. It has a check of its own.
    first = 20 if code == ACCOUNTING_REQUEST else 4
    for at in (1, *range(first, 20), *range(22, 38), *range(40, len(data))):
        changed = bytearray(data)
        changed[at] ^= 1
        assert not SECRET.signs(decode(bytes(changed)))


def test_a_packet_without_message_authenticator_is_not_signed() -> None:
    data = request(("User-Name", "bob"))
    assert not SECRET.signs(decode(data[:2] + b"\x00\x14" + data[4:20]))


def test_the_authenticator_of_accounting_covers_every_bit() -> None:
    data = request(("User-Name", "bob"), ("Acct-Status-Type", 1), code=ACCOUNTING_REQUEST)
    assert SECRET.authenticates(decode(data))
    assert not OTHER.authenticates(decode(data))
    for at in (1, *range(4, 20), *range(22, 38), *range(40, 43), *range(45, 49)):
        changed = bytearray(data)
        changed[at] ^= 1
        assert not SECRET.authenticates(decode(bytes(changed)))


def test_pyrad_signs_what_is_read_here() -> None:
    sent = AuthPacket(id=7, secret=SECRET.secret, dict=EMPTY, message_authenticator=True)
    sent[1] = [b"bob"]
    assert SECRET.signs(decode(sent.RequestPacket()))
    for signed in (False, True):
        accounting = AcctPacket(id=7, secret=SECRET.secret, dict=EMPTY, message_authenticator=signed)
        accounting[40] = [b"\x00\x00\x00\x01"]
        found = decode(accounting.RequestPacket())
        assert SECRET.authenticates(found)
        assert SECRET.signs(found) == signed


def test_pyrad_accepts_what_is_signed_here() -> None:
    data = request(("User-Name", "bob"))
    asked = AuthPacket(packet=data, secret=SECRET.secret, dict=EMPTY)
    assert asked.verify_message_authenticator()
    reply = SECRET.reply(ACCESS_ACCEPT, decode(data), b"\x01\x05bob")
    assert asked.VerifyReply(asked.CreateReply(packet=reply), reply)
    received = AuthPacket(packet=reply, secret=SECRET.secret, dict=EMPTY)
    assert received.verify_message_authenticator(original_authenticator=AUTHENTICATOR)
    accounting = request(("Acct-Status-Type", 1), code=ACCOUNTING_REQUEST)
    assert AcctPacket(packet=accounting, secret=SECRET.secret, dict=EMPTY).VerifyAcctRequest()


EMPTY = Dictionary()


def test_a_reply_begins_with_its_message_authenticator_and_is_authentic() -> None:
    asked = packet(("User-Name", "bob"))
    for code in (ACCESS_ACCEPT, ACCOUNTING_RESPONSE):
        reply = SECRET.reply(code, asked, b"\x12\x04hi")
        assert (reply[0], reply[1], int.from_bytes(reply[2:4], "big")) == (code, 7, len(reply))
        assert reply[20:22] == b"\x50\x12"
        found = decode(reply)
        assert found.attributes[1:] == [(18, b"hi")]
        assert SECRET.answers(found, AUTHENTICATOR)
        assert not OTHER.answers(found, AUTHENTICATOR)
        assert not SECRET.answers(found, bytes(16))
        assert found.authenticator == md5(reply[:4] + AUTHENTICATOR + reply[20:] + SECRET.secret).digest()
    broken = bytearray(SECRET.reply(ACCESS_ACCEPT, asked, b""))
    broken[25] ^= 1
    broken[4:20] = md5(broken[:4] + AUTHENTICATOR + broken[20:] + SECRET.secret).digest()
    assert not SECRET.answers(decode(bytes(broken)), AUTHENTICATOR)
