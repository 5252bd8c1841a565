"""Finds the accounts whose idents overlap with some values, among 100,000 accounts in a tenth of a second.

Rule: most rows are ruled out by their bytes. Only those that may overlap are decoded and compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from identengine.lint.values import network_key, network_of, text_key, values_of
from identengine.model.addresses import Network
from identengine.model.numbers import national
from identengine.model.records import Account, IdentBy

_FEW = 4
"""Largest number of values whose texts are searched in each row. For more, all rows are decoded."""
_NEAR = {4: 24, 16: 48}
"""Length of the network around a value whose accounts overlap with it, by the size of the address.

A change may complete the networks that fill another one. Wider networks are rarely filled, and left to lint.
"""
_ANY_ADDRESS = b"\xa2ip"
"""The kind of ident of an account that is identified by address, as it is stored."""


class Overlap:
    """Values of idents, and the test for idents that overlap with them."""

    def __init__(self, idents: Iterable[tuple[IdentBy, str]], prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._idents = tuple(idents)
        self._wider: set[int] = set()
        """The values, and all networks that contain them."""
        self._networks: set[int] = set()
        self._lengths: set[tuple[int, int]] = set()
        """Size of the address and length of each network."""
        for kind, item in self._idents:
            if kind is IdentBy.IP:
                network = _neighbourhood(network_of(item))
                self._networks.add(network_key(network))
                self._lengths.add((len(network.address), network.length))
                self._wider.update(network_key(each) for each in _around(network))
            else:
                self._wider.add(text_key(kind, item if kind is IdentBy.NAME else national(item, prefixes)))

    def __bool__(self) -> bool:
        return bool(self._idents)

    def has(self, account: Account) -> bool:
        """Return True if an ident of the account overlaps with a value."""
        for key, _, network in values_of(account, self._prefixes):
            if key in self._wider:
                return True
            if network is not None and any(
                network_key(_shortened(network, length)) in self._networks
                for size, length in self._lengths
                if size == len(network.address) and length < network.length
            ):
                return True
        return False

    def may_have(self) -> Callable[[bytes], bool]:
        """Return the test of a stored row: False if its account certainly does not overlap."""
        if len(self._idents) > _FEW:
            return lambda _: True
        tests = [_test(kind, item, self._prefixes) for kind, item in self._idents]
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)


def _test(kind: IdentBy, item: str, prefixes: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return the test of a stored row for one value."""
    if kind is not IdentBy.IP:
        text = (item if kind is IdentBy.NAME else national(item, prefixes)).encode()
        return lambda row: text in row
    network = _neighbourhood(network_of(item))
    if len(network.address) == 16:
        return lambda row: b":" in row and _ANY_ADDRESS in row
    shared = network.length // 8
    if shared == 0:
        return lambda row: _ANY_ADDRESS in row
    inside = ".".join(map(str, network.address[:shared])).encode() + (b"." if shared < 4 else b"")
    wider = re.compile(rb"%d\.[0-9.]+/" % network.address[0]).search  # down to /8

    def test(row: bytes) -> bool:
        if inside in row or b".0.0.0/" in row or wider(row):
            return True
        return b"::" in row  # a mapped address may have IPv4 in hexadecimal digits

    return test


def _neighbourhood(network: Network) -> Network:
    """Return the network in which narrower networks may fill another one together with ``network``."""
    return _shortened(network, min(network.length, _NEAR[len(network.address)]))


def _around(network: Network) -> Iterator[Network]:
    """Yield a network and all networks that contain it."""
    for length in range(network.length, -1, -1):
        yield _shortened(network, length)


def _shortened(network: Network, length: int) -> Network:
    """Return the network of a length that contains a network."""
    bits = len(network.address) * 8
    number = int.from_bytes(network.address, "big") >> (bits - length) << (bits - length)
    return Network(number.to_bytes(bits // 8, "big"), length)
