from __future__ import annotations

import pytest

from identengine.model.attributes import (
    ATTRIBUTES,
    CISCO,
    DEFAULT_SOURCES,
    VALUES,
    NamedAttribute,
    attribute_named,
    attribute_numbered,
    parse_attribute,
    parse_source,
)
from identengine.model.records import CallRequest


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (44, NamedAttribute(0, 44, "text", "Acct-Session-Id")),
        ("44", NamedAttribute(0, 44, "text", "Acct-Session-Id")),
        ("Acct-Session-Id", NamedAttribute(0, 44, "text", "Acct-Session-Id")),
        ("acct-session-id", NamedAttribute(0, 44, "text", "Acct-Session-Id")),
        ("9/24", NamedAttribute(CISCO, 24, "text", "h323-conf-id")),
        ("Cisco/24", NamedAttribute(CISCO, 24, "text", "h323-conf-id")),
        ("h323-conf-id", NamedAttribute(CISCO, 24, "text", "h323-conf-id")),
        ("Cisco-AVPair:call-id", NamedAttribute(CISCO, 1, "text", "Cisco-AVPair", pair="call-id")),
        ("9/1:a:b", NamedAttribute(CISCO, 1, "text", "Cisco-AVPair", pair="a:b")),
        ("225:call-id", NamedAttribute(0, 225, "text", "SIP-AVP", pair="call-id")),
        ("16777215/255", NamedAttribute(16777215, 255)),
        (200, NamedAttribute(0, 200)),
        ("NAS-Port", NamedAttribute(0, 5, "integer", "NAS-Port")),
        ("NAS-IP-Address", NamedAttribute(0, 4, "address", "NAS-IP-Address")),
    ],
)
def test_an_attribute_has_a_name_or_a_number(written: object, found: NamedAttribute) -> None:
    assert parse_attribute(written) == found
    assert parse_attribute(str(found)) == found


def test_numbers_of_digests_are_fields_of_accounting() -> None:
    assert parse_attribute(104) == NamedAttribute(0, 104, "text", "Sip-To-Tag", "accounting")
    assert parse_attribute("Digest-Realm") == NamedAttribute(0, 104, "text", "Digest-Realm", "access")
    assert attribute_numbered(0, 104, "access").name == "Digest-Realm"
    assert attribute_numbered(0, 104, "accounting").name == "Sip-To-Tag"
    assert attribute_numbered(0, 108, "access").name == "Digest-Method"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("User-Nmae", 'got "User-Nmae"; did you mean "User-Name"?'),
        ("Cisco-AVPiar:call-id", 'got "Cisco-AVPiar:call-id"; did you mean "Cisco-AVPair"?'),
        ("h323-confid", 'got "h323-confid"; did you mean "h323-conf-id"?'),
        ("", 'got ""'),
        (0, "got 0"),
        (256, "got 256"),
        (26, "got 26"),
        (-1, "got -1"),
        ("9/0", 'got "9/0"'),
        ("9/256", 'got "9/256"'),
        ("0/1", 'got "0/1"'),
        ("16777216/1", 'got "16777216/1"'),
        ("Cisco:call-id", 'got "Cisco:call-id"'),
        ("²", 'got "²"'),
        (True, "got true"),
        (4.4, "got 4.4"),
        (None, "got null"),
        ([44], "got [44]"),
        ("Cisco-AVPair:", 'expected the name of a pair after the colon, got "Cisco-AVPair:"'),
        ("User-Password", "holds text, a number or an address, and no secret"),
        (2, "and no secret, got 2"),
        ("CHAP-Password", "and no secret"),
        ("Digest-Response", "and no secret"),
        ("Message-Authenticator", "and no secret"),
    ],
)
def test_a_mistake_names_the_nearest_attribute(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        parse_attribute(written)
    assert message in str(caught.value)


def test_the_switch_is_never_the_address_of_the_caller() -> None:
    for written in (4, "NAS-IP-Address", "NAS-IPv6-Address"):
        with pytest.raises(ValueError, match="not the address of the switch"):
            parse_source("src_ip", written)
        assert parse_source("gateway", written).name is not None
    assert parse_source("src_ip", "Framed-IP-Address").type == 8


def test_names_and_numbers_are_distinct() -> None:
    seen: dict[tuple[int, int, str], str] = {}
    for name, one in ATTRIBUTES.items():
        assert one.name == name
        assert attribute_named(name.upper()) is one
        for packets in ("access", "accounting"):
            if one.packets in ("any", packets):
                assert seen.setdefault((one.vendor, one.type, packets), name) == name
    assert set(VALUES) <= set(ATTRIBUTES)


def test_the_sources_are_of_fields_of_a_request() -> None:
    assert set(DEFAULT_SOURCES) <= set(CallRequest.__struct_fields__)
    for field, sources in DEFAULT_SOURCES.items():
        for source in sources:
            parse_source(field, source)
