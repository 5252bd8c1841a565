"""Normal forms (engine.md 2) of numbers and addresses, compared with those of the oracle.

The oracle reads addresses with the standard library, and numbers one character at a time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from property import oracle_forms
from property.books import Seeded, random_case
from property.requests import random_request
from property.subject import engine_of, fields

from identengine.model.addresses import format_address, format_network, parse_address, parse_network
from identengine.model.numbers import longest_first, national, normal_number, requested_number
from identengine.model.records import Request

number_texts = st.one_of(st.text("+-.() 0123456789*#aZ", max_size=70), st.text(max_size=8))
address_texts = st.one_of(
    st.text("0123456789abcdefABCDEF:./ %", max_size=24),
    st.text(max_size=6),
    st.ip_addresses().map(str),
    st.ip_addresses().map(lambda address: address.exploded.upper()),
    st.ip_addresses(v=4).map(lambda address: f" ::ffff:{address}"),
    st.tuples(st.ip_addresses(), st.sampled_from((":5060", "/24", "%eth0", ".1", " 1", "]", "\n", "\x00"))).map(
        lambda parts: f"{parts[0]}{parts[1]}"
    ),
    st.lists(st.sampled_from(("0", "1", "01", "255", "256", "", "0x1", "+1")), min_size=3, max_size=5).map(
        ".".join
    ),
)
networks = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 128)),
    st.tuples(st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"), st.integers(0, 128)),
    st.tuples(st.sampled_from(("::", "::fffe:0:0", "::1", "64:ff9b::")), st.integers(80, 128)),
)


def outcome(read: Callable[[str], str], text: str) -> str | None:
    try:
        return read(text)
    except ValueError:
        return None


@given(number_texts)
def test_numbers(text: str) -> None:
    assert outcome(normal_number, text) == outcome(oracle_forms.normal_form, text)


URI_PARTS = (
    *(
        "44",
        "sip:",
        "SIPS:",
        "tel:",
        "%23",
        "%2a",
        "%2B",
        "%20",
        "user=phone",
        "sbc.example",
        "<sip:",
        "@h>",
        '"A"',
    ),
    *(";phone-context=", ";Phone-Context=+44", "\N{LATIN SMALL LETTER E WITH ACUTE}", *"+- 0147#*;:@?<>%=\tx"),
)
uri_texts = st.lists(st.sampled_from(URI_PARTS), max_size=9).map("".join)


@given(st.one_of(number_texts, uri_texts))
def test_numbers_that_may_be_uris(text: str) -> None:
    assert outcome(requested_number, text) == outcome(oracle_forms.number_of_request, text)


@given(st.text("0123+", max_size=8), st.lists(st.text("0123", min_size=1, max_size=3), max_size=4))
def test_the_longest_matching_international_prefix_is_removed(number: str, prefixes: list[str]) -> None:
    expected = oracle_forms.without_international(number, prefixes)
    assert national(number, longest_first(prefixes)) == expected
    assert national(number, longest_first(reversed(prefixes))) == expected


@given(address_texts)
def test_addresses(text: str) -> None:
    ours = outcome(lambda text: format_address(parse_address(text)), text)
    assert ours == outcome(lambda text: str(oracle_forms.address(text)), text)
    if ours is not None:
        packed = parse_address(text)
        assert packed == ipaddress.ip_address(ours).packed
        assert parse_network(text) == ((packed, len(packed) * 8), False)


@given(networks)
def test_networks(parts: tuple[str, int]) -> None:
    text, length = parts
    network, cleared = parse_network(f"{text}/{length}")
    expected = oracle_forms.network(f"{text}/{length}")
    assert (network.address, network.length) == (expected.network_address.packed, expected.prefixlen)
    assert format_network(network) == oracle_forms.network_text(expected)
    assert parse_network(format_network(network)) == (network, False), (
        "the answer's text is read as the same network"
    )
    exact = ipaddress.ip_network(f"{text}/{length}", strict=False).network_address == ipaddress.ip_address(text)
    assert cleared is not exact


@given(networks, st.ip_addresses())
def test_a_network_contains_the_addresses_of_the_standard_library(
    parts: tuple[str, int], address: ipaddress.IPv4Address
) -> None:
    network, _ = parse_network(f"{parts[0]}/{parts[1]}")
    packed = parse_address(str(address))
    bits = len(packed) * 8
    inside = len(network.address) * 8 == bits and (
        int.from_bytes(packed, "big") >> (bits - network.length)
        == int.from_bytes(network.address, "big") >> (bits - network.length)
    )
    assert inside == (oracle_forms.address(str(address)) in oracle_forms.network(f"{parts[0]}/{parts[1]}"))


def test_the_notation_of_a_value_changes_no_decision() -> None:
    """Test engine.md 2.1, 2.2, 2.3: separators, spaces, case, and mapped or exploded addresses do not matter."""
    for number in range(80):
        source = Seeded(f"written {number}")
        case = random_case(source)
        engine = engine_of(case)
        for _ in range(20):
            request = replace(random_request(source, case), call_id="one call")
            first = fields(engine.authorize(request, case.options))
            if first.get("reason") != "invalid_request":
                assert fields(engine.authorize(otherwise(request), case.options)) == first


def otherwise(request: Request) -> Request:
    """Return the same request in another notation."""

    def spaced(number: str | None) -> str | None:
        if number is None or set(number) & set("<:;@%"):  # nothing may be put into a URI
            return number
        return "-".join(f"({number})") + " "

    def shouted(word: str | None) -> str | None:
        return None if word is None else f" {word.upper()}\t"

    def dressed(text: str | None) -> str | None:
        try:
            address = oracle_forms.address(text or "")
        except ValueError:  # the field is absent, or an earlier reject decides
            return text
        return f" ::FFFF:{address}" if address.version == 4 else f"{address.exploded.upper()}\t"

    return replace(
        request,
        src_number=spaced(request.src_number),
        dst_number=spaced(request.dst_number),
        gateway=shouted(request.gateway),
        protocol=shouted(request.protocol),
        src_ip=dressed(request.src_ip),
        name=None if request.name is None else f"\t{request.name} ",
        src_port=None if request.src_port is None else f" {request.src_port} ",
    )
