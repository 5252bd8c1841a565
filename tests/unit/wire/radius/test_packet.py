from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.radiuspackets import AUTHENTICATOR, attribute, key

from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    LONGEST_PACKET,
    LONGEST_VALUE,
    LONGEST_VENDOR_VALUE,
    MEANINGS,
    MOST_ATTRIBUTES,
    STATUS_SERVER,
    Attribute,
    Cause,
    PacketError,
    decode,
    encode,
    encoded,
    values,
    vendor_key,
)

USER_NAME = b"\x01\x05bob"
SIGNATURE = b"\x50\x12" + bytes(16)


def packet(attributes: bytes, code: int = ACCESS_REQUEST) -> bytes:
    return encode(code, 7, AUTHENTICATOR, attributes)


def vendor(inner: bytes, number: int = 9) -> bytes:
    """Return a Vendor-Specific with any bytes inside."""
    return bytes((26, len(inner) + 6)) + number.to_bytes(4, "big") + inner


def cause_of(datagram: bytes) -> Cause:
    with pytest.raises(PacketError) as caught:
        decode(datagram)
    return caught.value.cause


def test_a_packet_has_its_header_and_its_attributes_in_order() -> None:
    avpair = attribute("Cisco-AVPair", "call-id=x")
    found = decode(packet(USER_NAME + encoded([avpair]) + SIGNATURE + USER_NAME))
    assert (found.code, found.identifier, found.authenticator) == (1, 7, AUTHENTICATOR)
    assert found.attributes == [(1, b"bob"), avpair, (80, bytes(16)), (1, b"bob")]
    assert found.data[found.signature_at :][:16] == bytes(16)
    assert values(found, 1) == [b"bob", b"bob"]


def test_bytes_behind_the_length_are_padding() -> None:
    data = packet(USER_NAME)
    assert decode(data + b"\x00\x01padding") == decode(data)
    assert decode(data + b"\x00\x01padding").data == data
    assert decode(data + bytes(LONGEST_PACKET)) == decode(data)


@pytest.mark.parametrize("size", range(20))
def test_a_datagram_below_a_header_is_too_short(size: int) -> None:
    assert cause_of(packet(b"")[:size]) == Cause.TOO_SHORT


def test_the_length_field_counts_the_header_and_what_arrived() -> None:
    data = packet(USER_NAME)
    assert cause_of(data[:-1]) == Cause.TRUNCATED
    for length in (0, 1, 19):
        assert cause_of(data[:2] + length.to_bytes(2, "big") + data[4:]) == Cause.LENGTH
    assert cause_of(data[:2] + b"\xff\xff" + data[4:]) == Cause.TOO_LONG


def test_a_packet_has_at_most_4096_bytes() -> None:
    filled = b"\x01\xff" + bytes(253)
    attributes = filled * 15 + b"\x01\xfb" + bytes(249)
    assert len(packet(attributes)) == LONGEST_PACKET
    assert len(decode(packet(attributes)).attributes) == 16
    assert cause_of(packet(filled * 16)) == Cause.TOO_LONG
    assert cause_of(packet(filled * 16)[:4000]) == Cause.TOO_LONG


@pytest.mark.parametrize("code", [0, 14, 20, 53, 255])
def test_a_code_that_is_not_assigned_is_malformed(code: int) -> None:
    assert cause_of(packet(b"", code)) == Cause.CODE


@pytest.mark.parametrize(
    "attributes",
    [b"\x01", b"\x01\x00", b"\x01\x01", b"\x01\x06bob", b"\x00\x02", USER_NAME + b"\x02\x00", USER_NAME + b"\x1f"],
)
def test_an_attribute_that_does_not_fit_is_malformed(attributes: bytes) -> None:
    assert cause_of(packet(attributes)) == Cause.ATTRIBUTE
    assert cause_of(packet(attributes) + bytes(100)) == Cause.ATTRIBUTE


@pytest.mark.parametrize(
    "value",
    [
        b"\x1a\x02",
        b"\x1a\x05\x00\x00\x00",
        b"\x1a\x06\x00\x00\x00\x09",
        vendor(b"\x01"),
        vendor(b"\x01\x00"),
        vendor(b"\x01\x01"),
        vendor(b"\x01\x06bob"),
        vendor(b"\x01\x05bob\x02"),
        vendor(b"\x01\x05bob\x02\x09x"),
        vendor(b"\x01\x05bob", number=0),
    ],
)
def test_an_attribute_of_a_vendor_that_does_not_fit_is_malformed(value: bytes) -> None:
    assert cause_of(packet(value)) == Cause.VENDOR_ATTRIBUTE
    assert cause_of(packet(value + USER_NAME)) == Cause.VENDOR_ATTRIBUTE


def test_a_vendor_specific_may_hold_several_attributes() -> None:
    found = decode(packet(vendor(b"\x18\x04ab\x01\x02\x02\x05bob") + vendor(b"\x01\x03x", number=311)))
    assert found.attributes == [
        (vendor_key(9, 24), b"ab"),
        (vendor_key(9, 1), b""),
        (vendor_key(9, 2), b"bob"),
        (vendor_key(311, 1), b"x"),
    ]


def test_attributes_of_vendors_with_another_format_are_not_opened() -> None:
    assert decode(packet(vendor(b"\x00\x00\x01\x02x", number=429))).attributes == [
        (vendor_key(429, 0), b"\x00\x00\x01\x02x")
    ]


def test_no_vendor_can_imitate_a_plain_attribute() -> None:
    keys = {vendor_key(number, kind) for number in (1, 9, (1 << 32) - 1) for kind in (0, 255)}
    assert min(keys) > 255


def test_the_message_authenticator_has_16_bytes_and_appears_once() -> None:
    for size in (0, 15, 17, 253):
        assert cause_of(packet(bytes((80, size + 2)) + bytes(size))) == Cause.MESSAGE_AUTHENTICATOR
    assert cause_of(packet(SIGNATURE + USER_NAME + SIGNATURE)) == Cause.MESSAGE_AUTHENTICATOR


def test_status_server_and_eap_need_a_message_authenticator() -> None:
    assert cause_of(packet(USER_NAME, STATUS_SERVER)) == Cause.NO_MESSAGE_AUTHENTICATOR
    assert cause_of(packet(b"\x4f\x03x")) == Cause.NO_MESSAGE_AUTHENTICATOR
    assert decode(packet(SIGNATURE, STATUS_SERVER)).signature_at == 22
    assert decode(packet(b"\x4f\x03x" + SIGNATURE)).signature_at == 25


@pytest.mark.parametrize("one", [b"\x21\x02", b"\x01\x02", vendor(b"\x01\x02")], ids=["proxy", "empty", "vendor"])
def test_a_mass_of_attributes_is_malformed(one: bytes) -> None:
    assert len(decode(packet(one * MOST_ATTRIBUTES)).attributes) == MOST_ATTRIBUTES
    assert cause_of(packet(one * (MOST_ATTRIBUTES + 1))) == Cause.TOO_MANY_ATTRIBUTES
    assert cause_of(packet(one * ((LONGEST_PACKET - 20) // len(one)))) == Cause.TOO_MANY_ATTRIBUTES


def test_a_mass_of_attributes_inside_those_of_vendors_is_malformed() -> None:
    inside, beside = vendor(b"\x01\x02" * 120), b"\x01\x02"
    for mass in (inside * 2, inside + beside * 81, beside * 81 + inside):
        assert cause_of(packet(mass)) == Cause.TOO_MANY_ATTRIBUTES
    assert len(decode(packet(inside + beside * 80)).attributes) == MOST_ATTRIBUTES


def test_proxy_state_must_leave_room_for_a_reply() -> None:
    most = LONGEST_PACKET - 20 - 18
    proxy = b"\x21\xff" + bytes(253)
    count, rest = divmod(most, 255)
    fits = proxy * count + bytes((33, rest)) + bytes(rest - 2)
    assert decode(packet(fits)).proxy_state == fits
    assert cause_of(packet(fits + b"\x21\x02")) == Cause.PROXY_STATE


def test_values_that_are_too_long_are_not_encoded() -> None:
    assert len(encoded([(1, bytes(LONGEST_VALUE)), (vendor_key(9, 1), bytes(LONGEST_VENDOR_VALUE))])) == 2 * 255
    for kind, longest in ((1, LONGEST_VALUE), (vendor_key(9, 1), LONGEST_VENDOR_VALUE)):
        with pytest.raises(ValueError, match="byte"):
            encoded([(kind, bytes(longest + 1))])


PLAIN = st.tuples(
    st.integers(1, 255).filter(lambda kind: kind not in (26, 79, 80)), st.binary(max_size=LONGEST_VALUE)
)
OF_VENDORS = st.tuples(
    st.builds(vendor_key, st.sampled_from((1, 9, 311, (1 << 32) - 1)), st.integers(0, 255)),
    st.binary(max_size=LONGEST_VENDOR_VALUE),
)


@given(st.sampled_from((1, 2, 3, 4, 5, 11)), st.lists(PLAIN | OF_VENDORS, max_size=15))
def test_packets_are_the_same_after_encoding_and_decoding(code: int, attributes: list[Attribute]) -> None:
    data = packet(encoded(attributes), code)
    found = decode(data)
    assert (found.code, found.attributes, found.data) == (code, attributes, data)
    assert found.proxy_state == encoded([one for one in attributes if one[0] == 33])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_one_error(data: bytes) -> None:
    for datagram in (data, packet(data)):
        attributes: list[Attribute] = []
        with suppress(PacketError):
            attributes = decode(datagram).attributes
        assert sum(len(value) for _, value in attributes) <= len(data)


def test_each_cause_has_a_word_that_can_be_counted() -> None:
    assert all(cause.isidentifier() and cause == cause.name.lower() for cause in Cause)
    assert MEANINGS.keys() == set(Cause)
    assert key("Proxy-State") == 33
