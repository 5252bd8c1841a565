"""The ident values of a whole book, sorted, in 16 bytes each: shared values, and networks that nest.

Rule: memory holds keys and ids only, never the accounts, so that a book of a million accounts fits.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from identengine.lint.values import LENGTH_BITS, network_key
from identengine.model.addresses import Network

_LENGTH = (1 << LENGTH_BITS) - 1
_OTHER = 1 << 62
_STEPS = 10_000
"""Largest number of networks that a search for a free address looks at."""


class Places:
    """Ident values with the ids of their accounts. Call :meth:`add` for each value, then :meth:`sort`."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._ids = array("Q")
        self._ipv6: set[int] = set()
        """Networks of IPv6 as ``start << 8 | length``."""
        self._six: list[int] = []

    def add(self, key: int, network: Network | None, account_id: int) -> None:
        """Add a value of an account."""
        self._keys.append(key)
        self._ids.append(account_id)
        if network is not None and len(network.address) == 16:
            self._ipv6.add(int.from_bytes(network.address, "big") << LENGTH_BITS | network.length)

    def sort(self) -> None:
        """Sort the values."""
        keys, ids = self._keys, self._ids
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = array("Q", map(keys.__getitem__, order))
        self._ids = array("Q", map(ids.__getitem__, order))
        self._six = sorted(self._ipv6)

    def accounts(self, key: int) -> tuple[int, ...]:
        """Return the ids of the accounts with a value, without repeats."""
        first = last = bisect_left(self._keys, key)
        while last < len(self._keys) and self._keys[last] == key:
            last += 1
        return tuple(dict.fromkeys(self._ids[first:last]))

    def covering(self, address: bytes) -> Iterator[int]:
        """Yield the keys of all networks that contain an address."""
        bits = len(address) * 8
        number = int.from_bytes(address, "big")
        for length in range(bits, -1, -1):
            yield network_key(
                Network((number >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big"), length)
            )

    def shared(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield each key of several accounts, with their ids."""
        keys, ids = self._keys, self._ids
        place, total = 0, len(keys)
        while place < total:
            key, first = keys[place], place
            place += 1
            while place < total and keys[place] == key:
                place += 1
            if place - first > 1 and len(found := dict.fromkeys(ids[first:place])) > 1:
                yield key, tuple(found)

    def tiled(self) -> list[Network]:
        """Return the networks whose addresses are all in narrower networks of the book."""
        four = _tiled(self._ipv4(), 32)
        six = _tiled(iter(self._six), 128)
        return [_network(number, 4) for number in four] + [_network(number, 16) for number in six]

    def free_address(self, network: Network) -> bytes:
        """Return an address of a network that no narrower network of the book contains.

        Return the first address if the search finds none.
        """
        size = len(network.address)
        start = int.from_bytes(network.address, "big")
        end = start + (1 << (size * 8 - network.length))
        free = start
        for number in self._inside(network):
            begin, length = number >> LENGTH_BITS, number & _LENGTH
            if begin > free:
                break
            free = max(free, begin + (1 << (size * 8 - length)))
        if free >= end:
            free = start
        return free.to_bytes(size, "big")

    def next_inside(self, network: Network, around: Network, start: int) -> Network | None:
        """Return the widest network inside ``network`` that begins exactly at ``start``, or None.

        If ``around`` begins at ``start`` too, only networks that are narrower than ``around`` count.
        """
        size = len(network.address)
        same = int.from_bytes(around.address, "big") == start
        least = start << LENGTH_BITS | (around.length + 1 if same else 0)
        networks = self._networks(size)
        place = bisect_left(networks, max(least, start << LENGTH_BITS | network.length + 1))
        if (
            place == len(networks)
            or (networks[place] >= _OTHER and size == 4)
            or networks[place] >> LENGTH_BITS != start
        ):
            return None
        return _network(networks[place], size)

    def _inside(self, network: Network) -> Iterator[int]:
        """Yield the networks that follow a network, in order, up to a limit."""
        number = int.from_bytes(network.address, "big") << LENGTH_BITS | network.length
        networks = self._networks(len(network.address))
        place = bisect_left(networks, number + 1)
        for each in networks[place : place + _STEPS]:
            if len(network.address) == 4 and each >= _OTHER:
                return
            if each > number:
                yield each

    def _networks(self, size: int) -> Sequence[int]:
        """Return the sorted networks of IPv4 or IPv6. Those of IPv4 precede the other keys."""
        return self._keys if size == 4 else self._six

    def _ipv4(self) -> Iterator[int]:
        """Yield each network of IPv4 once, in order."""
        last = -1
        for key in self._keys:
            if key >= _OTHER:
                return
            if key != last:
                yield key
                last = key


def _tiled(networks: Iterator[int], bits: int) -> list[int]:
    """Return the networks, of a sorted run, that narrower ones fill."""
    found: list[int] = []
    open_: list[list[int]] = []
    """Number, end, size, and addresses in narrower networks, of each network around the current one."""

    def close() -> None:
        number, _, size, filled = open_.pop()
        if filled == size:
            found.append(number)

    for number in networks:
        start, length = number >> LENGTH_BITS, number & _LENGTH
        while open_ and start >= open_[-1][1]:
            close()
        size = 1 << (bits - length)
        if open_:
            open_[-1][3] += size
        if length < bits:
            open_.append([number, start + size, size, 0])
    while open_:
        close()
    return found


def _network(number: int, size: int) -> Network:
    return Network((number >> LENGTH_BITS).to_bytes(size, "big"), number & _LENGTH)
