"""The switch that a source address belongs to (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

import ipaddress
import random

import pytest

from identengine.config.schema import Switch
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.net.access import Peers


def switch(name: str, *networks: str) -> Switch:
    parsed = tuple(parse_network(text)[0] for text in networks)
    return Switch(name=name, scope=name, networks=parsed)


PEERS = Peers(
    [
        switch("all", "0.0.0.0/0"),
        switch("ten", "10.0.0.0/8", "2001:db8::/32"),
        switch("near", "10.1.0.0/16", "::1"),
        switch("one", "10.1.2.3", "fe80::/10"),
    ],
    IdentifyOptions(),
)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.1.2.3", "one"),
        ("10.1.2.4", "near"),
        ("10.2.0.1", "ten"),
        ("192.0.2.1", "all"),
        ("::ffff:10.1.2.3", "one"),
        ("::ffff:192.0.2.1", "all"),
        ("::1", "near"),
        ("2001:db8::5", "ten"),
        ("fe80::1%eth0", "one"),
        ("2001:db9::5", None),
    ],
)
def test_the_longest_network_wins(host: str, name: str | None) -> None:
    for _ in range(2):  # the second time from the cache
        found = PEERS.find(host)
        assert (found.peer.name if found and found.peer else None) == name


def test_against_a_linear_search() -> None:
    rng = random.Random(3)
    networks = {
        ipaddress.ip_network((rng.getrandbits(32) & 0x0F0F_FFFF, length), strict=False)
        for length in (4, 8, 9, 16, 24, 31, 32)
        for _ in range(20)
    }
    peers = Peers([switch(str(network), str(network)) for network in networks], IdentifyOptions())
    for _ in range(2000):
        address = ipaddress.IPv4Address(rng.getrandbits(32) & 0x0F0F_FFFF)
        covering = [network for network in networks if address in network]
        longest = max(covering, key=lambda network: network.prefixlen, default=None)
        found = peers.find(str(address))
        assert (found.peer.name if found and found.peer else None) == (str(longest) if longest else None)
