"""Packets as people write them for radclient."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.radiuspackets import key

from identengine.identify.credentials import chap_verifies
from identengine.model.attributes import ATTRIBUTES
from identengine.wire.radius.authenticators import ZEROS
from identengine.wire.radius.mapping import AttributeMap
from identengine.wire.radius.notation import SECRET, NotationError, parse
from identengine.wire.radius.packet import ACCESS_REQUEST, ACCOUNTING_REQUEST, LONGEST_PACKET, vendor_key
from identengine.wire.radius.passwords import chap_of, chap_response, revealed


def attributes(text: str) -> list[tuple[int, bytes]]:
    """Return the attributes of a written packet as they are in its packet."""
    packet, written = parse(text)
    assert len(packet.attributes) == len(written) + 1
    assert SECRET.signs(packet)
    return packet.attributes[1:]


def value(text: str) -> bytes:
    (found,) = attributes(text)
    return found[1]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("bob", b"bob"),
        ('"bob"', b"bob"),
        ("'bob'", b"bob"),
        ('"a, b # c"', b"a, b # c"),
        ("a#b", b"a"),
        ("a # b", b"a"),
        ("a,", b"a"),
        ('"\\"\\\\\\n\\t\\101\\377"', b'"\\\n\tA\xff'),
        ("'it\\'s'", b"it's"),
        ('"\\q\\x41"', b"\\q\\x41"),
        ('"Größe"', "Größe".encode()),
        ('"\udcff"', b"\xff"),
        ("0x616263", b"0x616263"),
        ('""', b""),
    ],
)
def test_texts(written: str, read: bytes) -> None:
    assert value(f"User-Name = {written}") == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("NAS-Port = 16", b"\0\0\0\x10"),
        ("NAS-Port = 0x10", b"\0\0\0\x10"),
        ('NAS-Port = "4294967295"', b"\xff" * 4),
        ("NAS-Port-Type = virtual", b"\0\0\0\x05"),
        ("Acct-Status-Type = Interim-Update", b"\0\0\0\x03"),
        ("Event-Timestamp = 12", b"\0\0\0\x0c"),
        ('Event-Timestamp = "Jan  1 1970 00:00:12 UTC"', b"\0\0\0\x0c"),
        ("NAS-IP-Address = 10.0.0.1", b"\x0a\0\0\x01"),
        ("NAS-IPv6-Address = 2001:db8::1", bytes.fromhex("20010db8000000000000000000000001")),
        ("Class = 0x6162", b"ab"),
        ('Class = "ab"', b"ab"),
        ("Attr-1 = 0x6162", b"ab"),
        ("Attr-200 = 0x", b""),
        ("user-name := bob", b"bob"),
        ("User-Name += bob", b"bob"),
        ("User-Name == bob", b"bob"),
        ("\tUser-Name=bob\r", b"bob"),
    ],
)
def test_values_of_each_kind(written: str, read: bytes) -> None:
    assert value(written) == read


def test_attributes_of_vendors_and_by_number() -> None:
    assert attributes(
        """
        # a comment

        Cisco-AVPair = "call-id=1", Attr-26.9.24 = 0x61
        # another one
        Attr-26.311.1 = 0x62,
        Attr-44 = 0x63
        Digest-User-Name = "bob"
        """
    ) == [
        (vendor_key(9, 1), b"call-id=1"),
        (vendor_key(9, 24), b"a"),
        (vendor_key(311, 1), b"b"),
        (44, b"c"),
        (key("Digest-Username"), b"bob"),
    ]


def test_lines_of_debug_output() -> None:
    """FreeRADIUS prints the number of the request first, and radclient a tab."""
    freeradius = '(12)   User-Name = "bob"\n(12)   NAS-Port = 1\n'
    radclient = '\tUser-Name = "bob"\n\tNAS-Port = 1\n'
    assert attributes(freeradius) == attributes(radclient) == [(1, b"bob"), (5, b"\0\0\0\x01")]


def test_the_lines_and_names_of_attributes() -> None:
    _, written = parse('\n\nuser-name = "a", NAS-Port = 1\nAttr-9 = 0x00000000\nAttr-200 = 0x61\n')
    assert [(one.line, one.name) for one in written] == [
        (3, "User-Name"),
        (3, "NAS-Port"),
        (4, "Framed-IP-Netmask"),
        (5, "Attr-200"),
    ]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("User-Name = a", ACCESS_REQUEST),
        ("Acct-Status-Type = Start", ACCOUNTING_REQUEST),
        ("User-Name = a\nPacket-Type = Accounting-Request", ACCOUNTING_REQUEST),
        ("Acct-Status-Type = Start\npacket-type = Access-Request", ACCESS_REQUEST),
    ],
)
def test_the_kind_of_the_packet(lines: str, code: int) -> None:
    assert parse(lines).packet.code == code


def test_attributes_that_radclient_does_not_send() -> None:
    text = (
        "Message-Authenticator = 0x00, Packet-Dst-Port = 1812, Response-Packet-Type = Access-Accept\n"
        'Cleartext-Password = "x", Radclient-Test-Name = "y", Attr-80 = 0x00\nUser-Name = "bob"'
    )
    assert attributes(text) == [(1, b"bob")]


def test_passwords_are_sent_as_a_switch_sends_them() -> None:
    hidden = value('User-Password = "0xhush"')
    assert revealed(hidden, SECRET, ZEROS) == b"0xhush"
    for challenge in ("", "CHAP-Challenge = 0x0102\n"):
        packet, _ = parse(f'{challenge}CHAP-Password = "hush"')
        chap = chap_of(packet)
        assert chap is not None
        assert chap_verifies("hush", chap)
    seventeen = "17 characters, so"
    chap = chap_of(parse(f'CHAP-Password = "{seventeen}"').packet)
    assert chap is not None
    assert chap_verifies(seventeen, chap)
    response = chap_response(7, b"hush", b"\x01\x02")
    packet, _ = parse(f"CHAP-Password = 0x{response.hex()}\nCHAP-Challenge = 0x0102")
    chap = chap_of(packet)
    assert chap is not None
    assert chap.identifier == 7
    assert chap_verifies("hush", chap)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected an attribute, got none"),
        ("# only a comment", "line 1: expected an attribute, got none"),
        (
            "\nUser-Nmae = x",
            'line 2: expected the name of an attribute, got "User-Nmae"; did you mean "User-Name"?',
        ),
        ("Xyzzy = x", 'line 1: expected the name of an attribute, Attr-N or Attr-26.VENDOR.N, got "Xyzzy"'),
        ("User-Name", 'line 1: expected Name = value, got "User-Name"'),
        ("User-Name = ", 'line 1: expected Name = value, got "User-Name ="'),
        ("User-Name = a b", 'line 1: expected Name = value, got "User-Name = a b"'),
        ('User-Name = "a', 'line 1: expected Name = value, got "User-Name = \\"a"'),
        ("NAS-Port = 1 User-Name = a", 'line 1: expected Name = value, got "NAS-Port = 1 User-Name = a"'),
        ("NAS-Port = 1, oh", 'line 1: expected Name = value, got "oh"'),
        ("Sent Access-Request Id 7", 'line 1: expected Name = value, got "Sent Access-Request Id 7"'),
        ("User-Name = a\n\nUser-Name = b", "line 3: expected one packet, got a second one after the blank line 2"),
        ("NAS-Port = x", 'line 1: NAS-Port: expected an integer of at most 32 bits, got "x"'),
        ("NAS-Port = -1", 'line 1: NAS-Port: expected an integer of at most 32 bits, got "-1"'),
        ("NAS-Port = 4294967296", "line 1: NAS-Port: expected an integer of at most 32 bits"),
        ("NAS-Port = ²", 'line 1: NAS-Port: expected an integer of at most 32 bits, got "²"'),
        ("Acct-Status-Type = Strat", 'or "Failed", or an integer, got "Strat"; did you mean "Start"?'),
        ("NAS-IP-Address = 10.0.0.256", 'line 1: NAS-IP-Address: expected an IPv4 address, got "10.0.0.256"'),
        ("NAS-IP-Address = ::1", 'line 1: NAS-IP-Address: expected an IPv4 address, got "::1"'),
        ("NAS-IPv6-Address = 10.0.0.1", "line 1: NAS-IPv6-Address: expected an IPv6 address"),
        ("Class = 0x6", 'line 1: Class: expected bytes in hex (0x…), got "0x6"'),
        ("Attr-200 = abc", 'line 1: Attr-200: expected bytes in hex (0x…), got "abc"'),
        ("Attr-0 = 0x00", 'line 1: expected Attr-N or Attr-26.VENDOR.N with N from 1 to 255, got "Attr-0"'),
        ("Attr-256 = 0x00", "with N from 1 to 255"),
        ("Attr-26 = 0x00", "with N from 1 to 255"),
        ("Attr-26.0.1 = 0x00", "with N from 1 to 255"),
        ("Attr-26.99999999.1 = 0x00", "with N from 1 to 255"),
        ("Packet-Type = Access-Accept", 'expected "Access-Request" or "Accounting-Request", got "Access-Accept"'),
        (f"User-Name = {'a' * 254}", "line 1: User-Name: expected at most 253 bytes, got 254"),
        (f"h323-conf-id = {'a' * 248}", "line 1: h323-conf-id: expected at most 247 bytes, got 248"),
        (f"User-Password = {'a' * 129}", "line 1: User-Password: expected at most 128 bytes, got 129"),
        (f"CHAP-Password = 0x00{'ff' * 16}", "line 1: CHAP-Password: expected a CHAP-Challenge with a response"),
        (f"Filter-Id = {'a' * 253}\n" * 16, f"line 16: expected a packet of at most {LONGEST_PACKET:,} bytes"),
        ("NAS-Port = 1\n" * 200, "line 200: expected at most 199 attributes, got more"),
    ],
)
def test_a_mistake_names_its_line(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"line {caught.value.line}: ")


def test_a_message_does_not_quote_a_password() -> None:
    for text in (
        f'User-Password = "{"hush" * 40}"',
        "CHAP-Password = 0xhush",
        "Digest-Response = hush hush",
        "user-password:=hush hush",
        "User-Password hush",
        "User-Password: hush",
        '"User-Password" = "hush"',
        'Cleartext-Password = "hush" x',
        "Attr-2 = hush x",
        'User-Name = a b, User-Password = "hush"',
        'User-Name = "a", CHAP-Password "hush"',
        "Digest-HA1 hush",
    ):
        with pytest.raises(NotationError) as caught:
            parse(text)
        assert "hush" not in str(caught.value)


LINES = st.lists(
    st.tuples(
        st.sampled_from([*ATTRIBUTES, "Attr-200", "Attr-26.9.1", "Packet-Type", "x"]),
        st.sampled_from(["=", " = ", " := ", " ", ""]),
        st.sampled_from(["1", "0x", "0x00", "a", '"a"', '"\\', "10.0.0.1", "::1", "Start", ""])
        | st.text(max_size=9),
    )
)


@given(LINES, st.sampled_from(["\n", ", ", "\n\n", "\r\n", "#"]))
def test_any_lines_are_a_packet_or_one_error(lines: list[tuple[str, str, str]], between: str) -> None:
    text = between.join("".join(line) for line in lines)
    with suppress(NotationError):
        packet, written = parse(text)
        assert len(packet.attributes) == len(written) + 1
        assert all(1 <= one.line <= text.count("\n") + 1 for one in written)
        AttributeMap().origins(packet)
