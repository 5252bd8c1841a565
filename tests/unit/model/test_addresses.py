"""Addresses and networks (engine.md 2.2), case by case, and the errors for other texts."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from identengine.errors import quoted
from identengine.model.addresses import format_address, format_network, parse_address, parse_network


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.5", "10.0.0.5"),
        (" 10.0.0.5\t", "10.0.0.5"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:DB8::5", "2001:db8::5"),
        ("2001:0db8:0:0:0:0:0:5", "2001:db8::5"),
        ("::", "::"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("::FFFF:0A00:0005", "10.0.0.5"),
        ("0:0:0:0:0:ffff:10.0.0.5", "10.0.0.5"),
        ("::10.0.0.5", "::a00:5"),  # compatible, not mapped: IPv6
        ("64:ff9b::10.0.0.5", "64:ff9b::a00:5"),
        ("::fffe:10.0.0.5", "::fffe:a00:5"),
    ],
)
def test_address(text: str, expected: str) -> None:
    packed = parse_address(text)
    assert packed == ip_address(expected).packed
    assert format_address(packed) == expected


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "IPv4 or IPv6"),
        ("   ", "IPv4 or IPv6"),
        ("10.0.0.05", "leading zeros"),
        ("010.0.0.5", "leading zeros"),
        ("00.0.0.0", "leading zeros"),
        ("10.1", "four parts"),
        ("10", "four parts"),
        ("167772165", "four parts"),
        ("10.0.0.5.6", "four parts"),
        ("10.0.0.256", "255"),
        ("10.0.0.5:5060", "port"),
        ("[2001:db8::5]:5060", "port"),
        ("[2001:db8::5]", "brackets"),
        ("fe80::1%eth0", "zone"),
        ("10.0.0.5%eth0", "zone"),
        ("10.0.0.0/24", "without a /length"),
        ("0x0a.0.0.5", "IPv4 or IPv6"),
        ("1:2:3:4:5:6:7", "IPv4 or IPv6"),
        ("1::2::3", "IPv4 or IPv6"),
        ("::fffff", "IPv4 or IPv6"),
        (":::", "IPv4 or IPv6"),
        ("::ffff:10.0.0.05", "IPv4 or IPv6"),
        ("acme", "IPv4 or IPv6"),
        ("10.0.0.5\x00", "IPv4 or IPv6"),
        ("10.0.0 .5", "IPv4 or IPv6"),
        ("\N{FULLWIDTH DIGIT ONE}0.0.0.5", "IPv4 or IPv6"),
        ("10.0.0.\ud800", "IPv4 or IPv6"),
    ],
)
def test_an_invalid_address_is_an_error_with_the_expected_form(text: str, form: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an?.* address.*, got ") as error:
        parse_address(text)
    assert form in str(error.value)
    assert str(error.value).endswith(f", got {quoted(text)}")


@pytest.mark.parametrize(
    ("text", "expected", "host_bits"),
    [
        ("10.0.0.5", "10.0.0.5", False),
        ("10.0.0.5/32", "10.0.0.5", False),
        ("10.0.0.0/24", "10.0.0.0/24", False),
        ("10.0.0.5/24", "10.0.0.0/24", True),
        ("0.0.0.0/0", "0.0.0.0/0", False),
        ("10.0.0.5/0", "0.0.0.0/0", True),
        (" 10.0.0.0/8 ", "10.0.0.0/8", False),
        ("2001:DB8::5/128", "2001:db8::5", False),
        ("2001:db8::5/64", "2001:db8::/64", True),
        ("::/0", "::/0", False),
        ("::ffff:10.0.0.5", "10.0.0.5", False),
        ("::ffff:10.0.0.5/128", "10.0.0.5", False),
        ("::ffff:10.0.0.0/120", "10.0.0.0/24", False),
        ("::ffff:10.0.0.5/120", "10.0.0.0/24", True),
        ("::ffff:0:0/96", "0.0.0.0/0", False),
        ("::ffff:10.0.0.5/96", "0.0.0.0/0", True),
        ("::ffff:10.0.0.5/95", "::fffe:0:0/95", True),  # a shorter mask than /96 stays IPv6
        ("::ffff:0:0/80", "::/80", True),
        ("::/96", "::/96", False),  # compatible, not mapped
    ],
)
def test_network(text: str, expected: str, host_bits: bool) -> None:
    network, cleared = parse_network(text)
    assert format_network(network) == expected
    assert cleared is host_bits
    assert network.single == ("/" not in expected)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("10.0.0.0/33", "0 to 32"),
        ("2001:db8::/129", "0 to 128"),
        ("10.0.0.0/", "0 to 32"),
        ("10.0.0.0/-1", "0 to 32"),
        ("10.0.0.0/+8", "0 to 32"),
        ("10.0.0.0/08", "leading zeros"),
        ("10.0.0.0/ 8", "0 to 32"),
        ("10.0.0.0/2\N{SUPERSCRIPT TWO}", "0 to 32"),
        ("10.0.0.0/24/24", "0 to 32"),
        ("10.0.0.0/" + "9" * 5000, "0 to 32"),
        ("10.0.0.0/255.255.255.0", "not as an address"),
        ("10.0.0.0/0.0.0.255", "not as an address"),
        ("10.0.0.0 /8", "space"),
        ("10.1/16", "four parts"),
        ("10.0.0.05/24", "leading zeros"),
        ("fe80::1%eth0/64", "zone"),
        ("10.0.0.5:5060/24", "port"),
        ("/24", "IPv4 or IPv6"),
        ("", "IPv4 or IPv6"),
        ("any", "IPv4 or IPv6"),
    ],
)
def test_an_invalid_network_is_an_error_with_the_expected_form(text: str, form: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as error:
        parse_network(text)
    assert form in str(error.value)
    assert str(error.value).endswith(f", got {quoted(text)}")
