"""The excerpt of a version that decides a few requests: the accounts that they touch, with clients and DIDs.

A whole index of 100,000 accounts takes seconds to build. The matching of a request reads only the accounts with an
ident that the request hits. Rule: on an excerpt, the matching code decides and explains each of its requests as on
the whole version. Other requests need an excerpt of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from identengine.identify.builder import BookBuilder
from identengine.identify.dids import DidTable, Owned, pack
from identengine.identify.index import Book
from identengine.identify.query import Query, read
from identengine.model.addresses import Network, format_network, parse_address, parse_network
from identengine.model.numbers import national
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, DidStatus, IdentBy, Request
from identengine.provisioning.listing import Clients
from identengine.store.snapshot import Snapshot

_STEP = 10_000
"""Number of accounts after which the progress is reported."""
_ACTIVE = DidStatus.ACTIVE

Tell = Callable[[int, int | None], None]
"""A function that receives the number of accounts that were read, and of all accounts."""


def excerpt(
    snapshot: Snapshot, requests: Iterable[Request], options: IdentifyOptions, tell: Tell | None = None
) -> Book:
    """Return the part of a version that decides these requests.

    It may be used while the snapshot is open, since the DIDs of an account are read when a decision needs them.
    Raise DamagedError or StoreError if the version cannot be read.
    """
    builder = BookBuilder(options, snapshot.version, snapshot.hash_key)
    book = Book(options, snapshot.version, snapshot.hash_key)
    asked = [query for request in requests if isinstance(query := read(request, book), Query)]
    clients, added = Clients(snapshot), set[int]()
    for account in _touched(snapshot, asked, book.prefixes, tell or _ignore):
        for client in clients.chain(account.client_id):
            if client.id not in added:
                added.add(client.id)
                builder.add_client(client)
        builder.add_account(account)
    book = builder.complete()
    book.dids = _StoredDids(snapshot, book.prefixes)
    return book


class _StoredDids(DidTable):
    """The DIDs of a version, read from the store for one account at a time."""

    def __init__(self, snapshot: Snapshot, international_prefixes: tuple[str, ...]) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._prefixes = international_prefixes
        self._read: set[int] = set()

    def of(self, account_id: int) -> Owned:
        if account_id not in self._read:
            self._read.add(account_id)
            numbers = (did.number for did in self._snapshot.account_dids(account_id) if did.status is _ACTIVE)
            self.add(account_id, pack(numbers, self._prefixes))
            self.seal()
        return super().of(account_id)


def _ignore(done: int, total: int | None) -> None:
    """Ignore the progress."""


def _touched(
    snapshot: Snapshot, asked: Iterable[Query], prefixes: tuple[str, ...], tell: Tell
) -> Iterator[Account]:
    """Yield the accounts with an ident that a request hits, in either direction, enabled or disabled."""
    searched = [query for query in asked if query.account_id is None]
    found = set[int]()
    if searched:
        hit, total = _tests(searched, prefixes), snapshot.counts.accounts
        for done, account in enumerate(snapshot.accounts(), 1):
            if hit[account.ident_by](account.ident):
                found.add(account.id)
                yield account
            if done % _STEP == 0:
                tell(done, total)
    for account_id in {query.account_id for query in asked if query.account_id is not None} - found:
        named = snapshot.account(account_id)
        if named is not None:
            yield named


Test = Callable[[tuple[str, ...]], bool]
"""A function that returns True if a request hits one of the idents."""


def _tests(asked: Iterable[Query], prefixes: tuple[str, ...]) -> dict[IdentBy, Test]:
    """Return the test for each kind of ident."""
    misses_names = {query.name for query in asked if query.name is not None}.isdisjoint
    misses_anis = {query.ani for query in asked if query.ani is not None}.isdisjoint
    return {
        IdentBy.IP: _covering({query.src_ip for query in asked if query.src_ip is not None}),
        IdentBy.NAME: lambda ident: not misses_names(ident),
        IdentBy.ANI: lambda ident: (
            not misses_anis(ident if not prefixes else [national(item, prefixes) for item in ident])
        ),
    }


def _covering(addresses: set[str]) -> Test:
    """Return the test for networks of which one contains one of the addresses."""
    networks = {
        network
        for packed in map(parse_address, addresses)
        for network in (network_of(packed, length) for length in range(len(packed) * 8 + 1))
    }
    singles = {format_network(network) for network in networks if network.single}

    def test(ident: tuple[str, ...]) -> bool:
        for item in ident:
            # A single IPv4 address has one spelling (engine.md 2.2), so that few idents have to be parsed.
            if item in singles or (("/" in item or ":" in item) and parse_network(item)[0] in networks):
                return True
        return False

    return test


def network_of(packed: bytes, length: int) -> Network:
    """Return the network of this length that contains an address."""
    host_bits = len(packed) * 8 - length
    number = int.from_bytes(packed, "big") >> host_bits << host_bits
    return Network(number.to_bytes(len(packed), "big"), length)
