from __future__ import annotations

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.radiuspackets import AUTHENTICATOR, SECRET, attribute, packet

from identengine.model.attributes import DEFAULT_SOURCES, parse_source
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import CallRequest, Chap, ChapRequest, Digest, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.radius.mapping import Asked, AttributeMap, Origin, bare
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    Attribute,
    Cause,
    PacketError,
    decode,
    encode,
    encoded,
    vendor_key,
)

DEFAULT = AttributeMap()


def asked(*pairs: tuple[str, object], by: AttributeMap = DEFAULT) -> Request:
    """Return the request of an Access-Request with these attributes."""
    found = by.read(packet(*pairs), SECRET)
    assert found.method == "authorize"
    return found.request


def accounted(status: object, *pairs: tuple[str, object], by: AttributeMap = DEFAULT) -> Asked:
    return by.read(packet(("Acct-Status-Type", status), *pairs, code=ACCOUNTING_REQUEST), SECRET)


def mapped(**sources: list[object]) -> AttributeMap:
    return AttributeMap({name: [parse_source(name, one) for one in each] for name, each in sources.items()})


def test_an_access_request_of_a_class_4_switch() -> None:
    assert asked(
        ("User-Name", "192.0.2.10"),
        ("User-Password", "cisco"),
        ("Calling-Station-Id", ""),
        ("Called-Station-Id", "77#442079460123"),
        ("h323-conf-id", "h323-conf-id=1 2 3 4"),
        ("Cisco-AVPair", "call-id=1@host"),
        ("h323-remote-address", "h323-remote-address=192.0.2.11"),
        ("Cisco-AVPair", "h323-session-protocol=sipv2"),
    ) == UsualRequest(
        call_id="1 2 3 4",
        src_ip="192.0.2.11",
        protocol="sipv2",
        name="192.0.2.10",
        password="cisco",
        dst_number="77#442079460123",
    )


def test_an_empty_packet_is_a_request_without_fields() -> None:
    assert asked() == UsualRequest()


ROWS = [
    ("gateway", [("h323-gw-id", "a"), ("NAS-Identifier", "b")]),
    ("src_ip", [("h323-remote-address", "a"), ("Cisco-AVPair", "xpgk-source-ip=b"), ("User-Name", "10.0.0.1")]),
    ("src_port", [("Cisco-AVPair", "xpgk-source-port=5060")]),
    ("protocol", [("Cisco-AVPair", "h323-session-protocol=a"), ("session-protocol", "b")]),
    ("name", [("User-Name", "a")]),
    ("src_number", [("Cisco-AVPair", "xpgk-src-number-in=1"), ("Calling-Station-Id", "2")]),
    ("dst_number", [("Cisco-AVPair", "xpgk-dst-number-in=1"), ("Called-Station-Id", "2")]),
    ("call_id", [("h323-conf-id", "a"), ("Cisco-AVPair", "call-id=b"), ("Acct-Session-Id", "c")]),
    ("direction", [("h323-call-origin", "answer")]),
]
"""The table of interfaces.md 5: for each field its attributes, the best one first."""


@pytest.mark.parametrize(("field", "pairs"), ROWS, ids=[field for field, _ in ROWS])
def test_the_first_attribute_of_the_table_that_is_present_counts(field: str, pairs: list[tuple[str, str]]) -> None:
    for number, (name, value) in enumerate(pairs):
        expected = value.rpartition("=")[2].replace("answer", "origination")
        others = pairs[number:]
        assert getattr(asked(*others), field) == expected
        assert getattr(asked(*others[::-1]), field) == expected
        head, equals, _ = value.rpartition("=")
        empty = (name, head + equals)
        later = pairs[number + 1 :]
        assert getattr(asked(empty, *later), field) == getattr(asked(*later), field)
        assert getattr(asked((name, value), (name, head + equals + "9")), field) == expected


def test_the_table_is_complete() -> None:
    sources = {field: len(each) for field, each in DEFAULT_SOURCES.items() if each}
    assert sources == {field: len(pairs) for field, pairs in ROWS}


def test_an_attribute_of_cisco_may_carry_its_own_name_or_be_a_pair() -> None:
    for value in ("192.0.2.1", "h323-remote-address=192.0.2.1"):
        assert asked(("h323-remote-address", value)).src_ip == "192.0.2.1"
    assert asked(("Cisco-AVPair", "h323-remote-address=192.0.2.1")).src_ip == "192.0.2.1"
    assert asked(("Cisco-AVPair", "session-protocol=SIP")).protocol == "SIP"
    assert asked(("h323-conf-id", "other=1")).call_id == "other=1"


def test_a_user_name_is_the_address_only_if_it_is_one() -> None:
    for name, address in (
        ("192.0.2.10", "192.0.2.10"),
        (" 192.0.2.10", "192.0.2.10"),
        ("2001:DB8::5", "2001:db8::5"),
        ("442079460123", None),
        ("192.0.2.10:5060", None),
        ("acme", None),
        ("192.0.2.256", None),
    ):
        found = asked(("User-Name", name), ("NAS-IP-Address", b"\x0a\0\0\1"))
        assert (found.src_ip, found.name) == (address, name)


def test_values_that_are_not_utf_8_are_latin_1() -> None:
    found = asked(("User-Name", b"Gr\xf6\xdfe"), ("Cisco-AVPair", b"call-id=\xff"), ("Called-Station-Id", b"\xfe"))
    assert found == UsualRequest(name="Größe", call_id="ÿ", dst_number="þ")
    assert asked(("User-Name", b"Gr\xf6\xdfe"), ("User-Password", b"\xff")).password == "ÿ"


def test_the_direction_is_that_of_the_call_origin() -> None:
    for origin, direction in (
        ("answer", "origination"),
        ("originate", "termination"),
        ("h323-call-origin=originate", "termination"),
        ("termination", "termination"),
        ("callback", "callback"),
    ):
        assert asked(("h323-call-origin", origin)).direction == direction


def test_requests_of_another_shape_are_not_usual() -> None:
    long = "1" * 65
    for pairs in (
        [("Called-Station-Id", long)],
        [("Calling-Station-Id", long)],
        [("Cisco-AVPair", "xpgk-source-port=70000")],
        [("Cisco-AVPair", "xpgk-source-port=0")],
        [("Cisco-AVPair", "xpgk-source-port=05060")],
        [("Cisco-AVPair", "xpgk-source-port= 5060")],
        [("Cisco-AVPair", "xpgk-source-port=x")],
        [("Cisco-AVPair", "xpgk-source-port=²")],
    ):
        assert type(asked(*pairs)) is Request
        assert type(accounted(1, *pairs).request) is CallRequest
    usual = ("Called-Station-Id", long[1:]), ("Cisco-AVPair", "xpgk-source-port=65535")
    assert type(asked(*usual)) is UsualRequest
    assert type(accounted(1, *usual).request) is UsualCallRequest


# ---- credentials


def test_a_fixed_password_is_ignored() -> None:
    by = AttributeMap(ignore_password=b"cisco")
    assert asked(("User-Password", "cisco"), by=by).password is None
    assert asked(("User-Password", "other"), by=by).password == "other"
    assert asked(("User-Password", ""), by=by).password == ""
    assert asked(("User-Password", "cisco")).password == "cisco"
    response = b"\x01" + md5(b"\x01cisco" + AUTHENTICATOR).digest()
    assert type(asked(("CHAP-Password", response), by=by)) is UsualRequest
    assert type(asked(("CHAP-Password", b"\x02" + response[1:]), by=by)) is ChapRequest


def test_a_chap_response_is_part_of_the_request() -> None:
    response = b"\x01" + bytes(16)
    found = asked(("User-Name", "acme"), ("CHAP-Password", response), ("CHAP-Challenge", "abc"))
    assert found == ChapRequest(name="acme", chap=Chap(1, b"abc", bytes(16)))


def test_a_digest_is_part_of_an_access_request_alone() -> None:
    pairs = (
        ("Digest-Response", "x"),
        ("Digest-Realm", "y"),
        ("Digest-Nonce", "z"),
        ("Digest-Username", "acme"),
    )
    assert asked(*pairs).digest == Digest(response="x", realm="y", nonce="z", username="acme")
    assert accounted(1, *pairs).request == UsualCallRequest()
    both = asked(*pairs, ("User-Password", "secret"))
    assert both.password == "secret"
    assert both.digest is not None


def test_accounting_carries_no_credentials() -> None:
    pairs = ("User-Name", "acme"), ("User-Password", "secret"), ("CHAP-Password", bytes(17))
    assert accounted(1, *pairs).request == UsualCallRequest(name="acme")


# ---- accounting

IDENTITY = (
    ("User-Name", "192.0.2.10"),
    ("Acct-Session-Id", "1@host"),
    ("Called-Station-Id", "44"),
    ("Calling-Station-Id", "33"),
    ("NAS-Identifier", "gw"),
)


@pytest.mark.parametrize(
    ("status", "method"),
    [(1, "start"), (2, "stop"), (3, "update"), (7, "switch_up"), (8, "switch_down"), (15, "stop")],
)
def test_the_status_is_the_method(status: int, method: str) -> None:
    found = accounted(status, *IDENTITY, ("h323-call-origin", "answer"))
    assert found.method == method
    if method in ("start", "update"):
        assert found.request == UsualCallRequest(
            call_id="1@host",
            direction="origination",
            src_ip="192.0.2.10",
            name="192.0.2.10",
            gateway="gw",
            src_number="33",
            dst_number="44",
        )
        assert bare(found.request) == CallRequest(call_id="1@host", direction="origination")
    elif method == "stop":
        assert found.request == UsualCallRequest(call_id="1@host", direction="origination")


@pytest.mark.parametrize("status", [0, 4, 9, 14, 16, (1 << 32) - 1])
def test_another_status_changes_nothing(status: int) -> None:
    assert accounted(status, *IDENTITY).method is None


@pytest.mark.parametrize("status", [b"", b"\x01", bytes(3), bytes(5)])
def test_a_status_has_four_bytes(status: bytes) -> None:
    with pytest.raises(PacketError) as caught:
        accounted(status)
    assert caught.value.cause == Cause.NO_STATUS_TYPE
    with pytest.raises(PacketError):
        DEFAULT.read(packet(*IDENTITY, code=ACCOUNTING_REQUEST), SECRET)


def test_a_stop_may_carry_nothing_but_the_session() -> None:
    assert accounted(2, ("Acct-Session-Id", "x")).request == UsualCallRequest(call_id="x")
    assert accounted(2).request == UsualCallRequest()


def test_the_sides_of_a_call_are_legs_of_one_session() -> None:
    sides = [accounted(1, ("Acct-Session-Id", "x"), ("h323-call-origin", one)) for one in ("answer", "originate")]
    assert [each.request for each in sides] == [
        UsualCallRequest(call_id="x", direction="origination"),
        UsualCallRequest(call_id="x", direction="termination"),
    ]


def test_an_unknown_origin_of_accounting_names_no_direction() -> None:
    assert accounted(2, ("Acct-Session-Id", "x"), ("h323-call-origin", "proxy")).request == UsualCallRequest(
        call_id="x"
    )


# ---- the map of a switch


def test_a_map_replaces_the_sources_of_a_field() -> None:
    by = mapped(call_id=["Cisco-AVPair:call-id", 44], name=[])
    assert asked(("h323-conf-id", "a"), ("Acct-Session-Id", "b"), ("User-Name", "c"), by=by) == UsualRequest(
        call_id="b"
    )
    assert asked(("Acct-Session-Id", "b"), ("Cisco-AVPair", "call-id=c"), by=by).call_id == "c"


def test_a_map_can_name_the_account_the_leg_and_the_interval() -> None:
    by = mapped(account_id=["5000/7"], leg_id=["Sip-From-Tag"], interval=[85], gateway=["NAS-IP-Address"])
    attributes = [(vendor_key(5000, 7), b"17"), attribute("NAS-IP-Address", b"\x0a\0\0\1")]
    found = decode(encode(ACCESS_REQUEST, 1, AUTHENTICATOR, encoded(attributes)))
    assert by.read(found, SECRET).request == UsualRequest(account_id="17", gateway="10.0.0.1")
    nonce = asked(("Sip-From-Tag", "x"), by=by)  # the same number is a field of a digest in an Access-Request
    assert nonce == UsualRequest(digest=Digest(nonce="x"))
    update = accounted(3, ("Sip-From-Tag", "tag"), ("Acct-Interim-Interval", 60), by=by)
    assert update == ("update", UsualCallRequest(leg_id="tag", interval=60))


@pytest.mark.parametrize("value", [0, 604_801, 2**32 - 1, b"", b"x", b"-1", b"\xff" * 9, b"1" * 253])
def test_an_interval_that_cannot_be_used_is_ignored(value: int | bytes) -> None:
    by = mapped(interval=[85])
    ignored = accounted(3, ("Acct-Session-Id", "c"), ("Acct-Interim-Interval", value), by=by)
    assert ignored == ("update", UsualCallRequest(call_id="c"))


@pytest.mark.parametrize("account", ["0", "017", "x", "1" * 19])
def test_an_account_of_another_shape_is_the_engines_to_reject(account: str) -> None:
    by = mapped(account_id=["Cisco-AVPair:vendor"])
    assert asked(("Cisco-AVPair", f"vendor={account}"), by=by) == Request(account_id=account)


def test_a_map_can_use_the_whole_value_and_a_pair_of_one_attribute() -> None:
    by = mapped(call_id=["Cisco-AVPair:id"], gateway=["Cisco-AVPair"], name=["SIP-AVP:user"])
    found = asked(("Cisco-AVPair", "id=1"), ("Cisco-AVPair", "anything"), ("SIP-AVP", "user=bob"), by=by)
    assert found == UsualRequest(call_id="1", gateway="anything", name="bob")


def test_one_attribute_can_be_several_fields() -> None:
    by = mapped(name=["Calling-Station-Id"], gateway=["Calling-Station-Id"])
    assert asked(("Calling-Station-Id", "1"), by=by) == UsualRequest(name="1", gateway="1", src_number="1")


def test_the_origin_of_a_field_is_the_attribute_that_counted() -> None:
    pairs = ("User-Name", "192.0.2.10"), ("Acct-Session-Id", "a"), ("Cisco-AVPair", "call-id=b")
    assert DEFAULT.origins(packet(*pairs)) == {
        "name": Origin(1, "192.0.2.10"),
        "src_ip": Origin(1, "192.0.2.10"),
        "call_id": Origin(3, "b"),
    }


# ---- any packet

KEYS = st.sampled_from(
    (*range(1, 26), *range(27, 79), *range(81, 130), 206, 207, 225, *(vendor_key(9, kind) for kind in range(150)))
)
VALUE = st.binary(max_size=247) | st.sampled_from(
    (b"call-id=", b"xpgk-source-ip=10.0.0.1", b"=", b"\xff\xfe", b"answer", b"\x00\x00\x00\x01", b"10.0.0.1")
)


MAPS = DEFAULT, AttributeMap(ignore_password=b"cisco"), mapped(call_id=[1], src_port=[30], interval=[85], name=[])


@given(st.sampled_from((ACCESS_REQUEST, ACCOUNTING_REQUEST)), st.lists(st.tuples(KEYS, VALUE), max_size=12))
def test_every_packet_makes_a_request(code: int, attributes: list[Attribute]) -> None:
    if code == ACCOUNTING_REQUEST:
        attributes = [attribute("Acct-Status-Type", 1), *attributes]
    found = decode(encode(code, 1, AUTHENTICATOR, encoded(attributes)))
    for by in MAPS:
        request = by.read(found, SECRET).request
        for field, origin in by.origins(found).items():
            if field == "interval" and getattr(request, "interval", None) is None:
                continue  # an interval that cannot be used is ignored
            if field != "direction" and hasattr(request, field) and origin.value is not None:
                assert str(getattr(request, field)) == origin.value
        if type(request) in (UsualRequest, UsualCallRequest):
            # The usual way relies on this (identengine.model.usual).
            assert len(request.src_number or "") <= MAX_LENGTH
            assert len(request.dst_number or "") <= MAX_LENGTH
            assert request.src_port is None or 1 <= int(request.src_port) <= 65535
