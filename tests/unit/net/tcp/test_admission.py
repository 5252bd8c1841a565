"""Shares of the sources of new connections."""

from __future__ import annotations

import random

import pytest

from identengine.net.tcp.admission import Arrivals, source_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%lo", True),
    ],
)
def test_the_source_of_ipv6_is_a_network(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


def test_a_source_with_fewer_connections_displaces_the_oldest_of_the_fullest() -> None:
    arrivals: Arrivals[str] = Arrivals()
    assert arrivals.to_displace(b"good") is None
    for number in range(5):
        arrivals.add(f"bad {number}", b"bad")
    arrivals.add("other 0", b"other")
    assert arrivals.to_displace(b"good") == "bad 0"
    assert arrivals.to_displace(b"other") == "bad 0"
    assert arrivals.to_displace(b"bad") is None, "it has the most itself"
    arrivals.remove("bad 0")
    assert "bad 0" not in arrivals
    assert arrivals.to_displace(b"good") == "bad 1"
    assert len(arrivals) == len(arrivals.all()) == 5


def test_sources_without_connections_leave_nothing() -> None:
    arrivals: Arrivals[int] = Arrivals()
    numbers = list(range(1000))
    for number in numbers:
        arrivals.add(number, bytes([number % 7]))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        arrivals.remove(number)
    assert not len(arrivals)
    assert arrivals.to_displace(b"") is None
