"""The excerpt of a version that decides one request: the accounts that it touches, their clients and their DIDs.

A whole index of 100,000 accounts takes seconds to build. The matching of one request reads only the accounts with
an ident that the request hits. Rule: on an excerpt, the matching code decides and explains that request exactly as
on the whole version. Other requests need an excerpt of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from identengine.identify.builder import BookBuilder
from identengine.identify.dids import DidTable, Owned, pack
from identengine.identify.index import Book
from identengine.identify.query import Query, read
from identengine.model.addresses import format_address, parse_address, parse_network
from identengine.model.numbers import national
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, DidStatus, IdentBy, Request
from identengine.provisioning.listing import Clients
from identengine.store.snapshot import Snapshot

_STEP = 10_000
"""Number of accounts after which the progress is reported."""

Tell = Callable[[int, int | None], None]
"""A function that receives the number of accounts that were read, and of all accounts."""


def excerpt(snapshot: Snapshot, request: Request, options: IdentifyOptions, tell: Tell | None = None) -> Book:
    """Return the part of a version that decides ``request``.

    It may be used while the snapshot is open, since the DIDs of an account are read when a decision needs them.
    Raise DamagedError or StoreError if the version cannot be read.
    """
    builder = BookBuilder(options, snapshot.version, snapshot.hash_key)
    empty = Book(options, snapshot.version, snapshot.hash_key)
    query = read(request, empty)
    if isinstance(query, Query):
        clients = Clients(snapshot)
        added: set[int] = set()
        for account in _touched(snapshot, query, empty.prefixes, tell or _ignore):
            for client in clients.chain(account.client_id):
                if client.id not in added:
                    added.add(client.id)
                    builder.add_client(client)
            builder.add_account(account)
    book = builder.complete()
    book.dids = _StoredDids(snapshot, empty.prefixes)
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


_ACTIVE = DidStatus.ACTIVE


def _ignore(done: int, total: int | None) -> None:
    """Ignore the progress."""


def _touched(snapshot: Snapshot, query: Query, prefixes: tuple[str, ...], tell: Tell) -> list[Account]:
    """Return the accounts with an ident that a request hits, in either direction, enabled or disabled."""
    if query.account_id is not None:
        account = snapshot.account(query.account_id)
        return [] if account is None else [account]
    hit = _hits(query, prefixes)
    total = snapshot.counts.accounts
    found = []
    for done, account in enumerate(snapshot.accounts(), 1):
        if hit[account.ident_by](account.ident):
            found.append(account)
        if done % _STEP == 0:
            tell(done, total)
    return found


def _hits(query: Query, prefixes: tuple[str, ...]) -> dict[IdentBy, Callable[[tuple[str, ...]], bool]]:
    """Return a test of the idents of an account for each kind of ident."""
    name, ani = query.name, query.ani

    def has_ani(ident: tuple[str, ...]) -> bool:
        return ani in (ident if not prefixes else [national(item, prefixes) for item in ident])

    return {
        IdentBy.IP: _covers(query.src_ip),
        IdentBy.NAME: lambda ident: name in ident,
        IdentBy.ANI: has_ani,
    }


def _covers(src_ip: str | None) -> Callable[[tuple[str, ...]], bool]:
    """Return a test that is true for networks of which one contains the address."""
    if src_ip is None:
        return lambda ident: False
    packed = parse_address(src_ip)
    text = format_address(packed)

    def test(ident: tuple[str, ...]) -> bool:
        for item in ident:
            # A single IPv4 address has one spelling (engine.md 2.2), so that few idents have to be parsed.
            if item == text or (("/" in item or ":" in item) and parse_network(item)[0].covers(packed)):
                return True
        return False

    return test
