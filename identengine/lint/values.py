"""The ident values of an account in the form in which accounts are compared (engine.md 2.1 to 2.3).

A network of IPv4 is the number ``start << 8 | length``, so that sorted networks are in order, each before the
networks inside it. Other values are hashes with a bit set that no network of IPv4 has.
"""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET, inet_pton

from identengine.model.addresses import Network, parse_network
from identengine.model.numbers import national
from identengine.model.records import Account, Direction, IdentBy, Request

_OTHER = 1 << 62
_MASK = _OTHER - 1
LENGTH_BITS = 8
"""Bits of a network's number that hold its length."""


def network_key(network: Network) -> int:
    """Return the key of a network."""
    number = int.from_bytes(network.address, "big") << LENGTH_BITS | network.length
    return number if len(network.address) == 4 else hash(("ipv6", number)) & _MASK | _OTHER


def text_key(kind: IdentBy, text: str) -> int:
    """Return the key of a name or of a number in national form."""
    return hash((kind.value, text)) & _MASK | _OTHER


def network_of(item: str) -> Network:
    """Return the network of an ident item of the book."""
    if ":" not in item and "/" not in item:
        try:
            return Network(inet_pton(AF_INET, item), 32)
        except (OSError, ValueError):
            pass
    return parse_network(item)[0]


def values_of(account: Account, prefixes: tuple[str, ...]) -> Iterator[tuple[int, str, Network | None]]:
    """Yield key, text and network of each ident value. A number that is only a prefix is absent."""
    if account.ident_by is IdentBy.IP:
        for item in account.ident:
            network = network_of(item)
            yield network_key(network), item, network
    elif account.ident_by is IdentBy.NAME:
        for item in account.ident:
            yield text_key(IdentBy.NAME, item), item, None
    else:
        for item in account.ident:
            if number := national(item, prefixes):
                yield text_key(IdentBy.ANI, number), number, None


def request_of(account: Account, item: str, direction: Direction = Direction.ORIGINATION) -> Request:
    """Return a request with an ident value of an account, and with all that its constraints require.

    For a network, the address is left out.
    """
    return Request(
        direction=None if direction is Direction.ORIGINATION else direction.value,
        name=item if account.ident_by is IdentBy.NAME else None,
        src_number=item if account.ident_by is IdentBy.ANI and direction is Direction.ORIGINATION else None,
        gateway=account.gateways[0] if account.gateways else None,
        src_port=account.term_port,
        protocol=account.term_protocol,
    )
