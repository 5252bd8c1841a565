"""Networks that nest: which are filled by narrower ones, and which addresses are free."""

from __future__ import annotations

import pytest

from identengine.lint.places import Places
from identengine.lint.values import network_key
from identengine.model.addresses import format_address, format_network, parse_network


def places(*networks: str) -> Places:
    made = Places()
    for number, text in enumerate(networks, 1):
        network = parse_network(text)[0]
        made.add(network_key(network), network, number)
    made.sort()
    return made


@pytest.mark.parametrize(
    ("networks", "filled"),
    [
        (("10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31"), ["10.0.0.0/30"]),
        (("10.0.0.0/30", "10.0.0.0/31", "10.0.0.2", "10.0.0.3"), ["10.0.0.0/30"]),
        (("10.0.0.0/30", "10.0.0.0/31", "10.0.0.2"), []),
        (("10.0.0.0/30", "10.0.0.0/31", "10.0.0.0", "10.0.0.1"), ["10.0.0.0/31"]),
        (("10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/31", "10.0.0.0/31"), []),
        (("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"), ["0.0.0.0/0"]),
        (("::/0", "::/1", "8000::/1"), ["::/0"]),
        (("0.0.0.0/0", "::/1", "8000::/1"), []),
    ],
)
def test_a_network_is_filled_if_narrower_ones_have_all_its_addresses(
    networks: tuple[str, ...], filled: list[str]
) -> None:
    assert [format_network(one) for one in places(*networks).tiled()] == filled


@pytest.mark.parametrize(
    ("networks", "wanted", "free"),
    [
        (("10.0.0.0/24",), "10.0.0.0/24", "10.0.0.0"),
        (("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128"), "10.0.0.0/24", "10.0.0.129"),
        (("10.0.0.0/31", "10.0.0.0", "10.0.0.1"), "10.0.0.0/31", "10.0.0.0"),
        (("0.0.0.0/0", "0.0.0.0/1", "255.255.255.255"), "0.0.0.0/0", "128.0.0.0"),
        (("2001:db8::/32", "2001:db8::/33"), "2001:db8::/32", "2001:db8:8000::"),
    ],
)
def test_an_address_is_free_if_only_wider_networks_have_it(
    networks: tuple[str, ...], wanted: str, free: str
) -> None:
    found = places(*networks).free_address(parse_network(wanted)[0])
    assert format_address(found) == free


def test_accounts_of_a_value_are_found_in_order_and_once() -> None:
    made = places("10.0.0.5", "10.0.0.4", "10.0.0.5", "2001:db8::5", "10.0.0.5/32")
    assert made.accounts(network_key(parse_network("10.0.0.5")[0])) == (1, 3, 5)
    assert made.accounts(network_key(parse_network("2001:db8::5")[0])) == (4,)
    assert made.accounts(network_key(parse_network("10.0.0.6")[0])) == ()
    assert [ids for _, ids in made.shared()] == [(1, 3, 5)]
