"""One version of the book as matching looks at it: dicts and tries, immutable once built. Only here is pytricia.

An ident value (address, network, name or number) leads to a :class:`Bucket`: the accounts that bear it,
grouped by tech prefix, longest first, so that the first group that begins the dialled number and holds a
candidate is the best one. Single addresses stand in a dict, keyed by their text, since most trunks are
single hosts and their look-up then needs no parsing; networks stand in one trie for IPv4 and one for IPv6.
Each bucket points to the bucket of the next wider network, so matching walks outwards without look-ups.

Nothing here refers to what refers to it: neither reference cycles nor the garbage collector's passes cost
anything, however large the book (``gc=False``; pytricia has no tp_traverse either).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from socket import AF_INET, AF_INET6
from typing import Literal, TypeVar

import msgspec
from pytricia import PyTricia

from identengine.addresses import Network, format_address, format_network, parse_address, parse_network
from identengine.dids import DidTable, Packed, pack
from identengine.errors import StoreError
from identengine.model import Account, Client, ClientStatus, Did, DidStatus, Direction, IdentBy
from identengine.numbering import longest_first, national
from identengine.options import IdentifyOptions

IndexClass = Literal["name", "ip", "ani", "passwordless"]
"""The classes as matching tries them; ``passwordless`` is ``passwordless_name = "after_ip"`` (engine.md 3.6)."""

CROWDED = 8
"""A bucket with more tech prefixes than this finds them by dict instead of trying one after another."""

STEP = 128
"""How many keys one step of :meth:`BookBuilder.finish` takes: well below a millisecond."""


class Owner(msgspec.Struct, frozen=True, gc=False):
    """A client with what it inherits from the resellers above it (engine.md 1.6, 3.5)."""

    client: Client
    reseller: Owner | None
    blocked: bool
    rate_table: str | None
    routing_plan: str | None
    term_rate_table: str | None


class Bearer(msgspec.Struct, frozen=True, gc=False):
    """An account as matching sees it: its constraints in the form in which they are compared."""

    account: Account
    owner: Owner
    tech_prefix: str
    """``""`` where the account has none."""
    gateways: frozenset[str] | None
    protocol: str | None
    port: int | None
    constrained: bool
    """Whether any of gateways, protocol and port is set."""


Key = TypeVar("Key", bound="str | bytes")

Group = tuple[Bearer, ...]
"""The bearers of one ident value and one tech prefix, by ascending account id."""


class Bucket(msgspec.Struct, gc=False):
    """The accounts that bear one ident value."""

    matched: str
    """The value as an answer shows it (interfaces.md 3)."""
    mask: int
    """Length of the network in bits; 0 for names and numbers."""
    groups: tuple[Group, ...]
    """By tech prefix, longest first."""
    by_prefix: dict[str, Group] | None = None
    """The groups once more where they are more than :data:`CROWDED`, with the lengths of their prefixes."""
    lengths: tuple[int, ...] = ()
    distinct: Group = ()
    """Of a crowded bucket: one account of each kind of constraints, enough to tell a near miss."""
    wider: Bucket | None = None
    """The bucket of the next wider network that covers this one."""

    def beginning(self, dst_number: str) -> tuple[Group, ...]:
        """Return the groups that may begin ``dst_number``, longest prefix first; test each still."""
        if self.by_prefix is None:
            return self.groups
        fitting = (dst_number[:length] for length in self.lengths if length <= len(dst_number))
        return tuple(self.by_prefix[prefix] for prefix in fitting if prefix in self.by_prefix)

    def bearers(self) -> Iterator[Bearer]:
        """Yield every account of the bucket."""
        for group in self.groups:
            yield from group


class Lookup:
    """The buckets of one set of accounts: those enabled in a direction, say."""

    __slots__ = ("anis", "denied", "names", "passwordless", "singles", "tries")

    def __init__(self) -> None:
        self.names: dict[str, Bucket] = {}
        self.passwordless: dict[str, Bucket] = {}
        self.denied: dict[str, Bucket] = {}
        """Name accounts without password where those are denied: only explain looks here."""
        self.anis: dict[str, Bucket] = {}
        self.singles: dict[str, Bucket] = {}
        self.tries = {4: PyTricia(32, AF_INET), 16: PyTricia(128, AF_INET6)}

    def source(self, text: str) -> Bucket | None:
        """Return the bucket of the longest network that contains an address given as text.

        Raises ValueError, saying what would be right, where ``text`` is no address (engine.md 2.2). A text
        that is a key already is an address, so the usual case costs one look-up.
        """
        single = self.singles.get(text)
        if single is not None:
            return single
        address = parse_address(text)
        usual = format_address(address)
        if usual != text and (single := self.singles.get(usual)) is not None:
            return single
        covering: Bucket | None = self.tries[len(address)].get(address)
        return covering


class Book:
    """One version, ready to decide; never changed after :meth:`BookBuilder.finish`."""

    __slots__ = ("bearers", "classes", "dids", "disabled", "enabled", "hash_key", "prefixes", "version")

    def __init__(self, options: IdentifyOptions, version: int, hash_key: bytes) -> None:
        self.version = version
        self.hash_key = hash_key
        self.classes = _classes(options)
        self.prefixes = longest_first(options.international_prefixes)
        self.bearers: dict[int, Bearer] = {}
        self.enabled = {direction: Lookup() for direction in Direction}
        self.disabled = {direction: Lookup() for direction in Direction}
        self.dids = DidTable()


class BookBuilder:
    """Makes a :class:`Book` in short steps, so that requests are decided in between.

    First all clients, then the accounts, then the DIDs, each call a step of microseconds (one for an account
    with many idents a little longer), then the steps of :meth:`finish`.
    """

    def __init__(self, options: IdentifyOptions, version: int, hash_key: bytes) -> None:
        self._book = book = Book(options, version, hash_key)
        self._passwordless = options.passwordless_name
        self._clients: dict[int, Client] = {}
        self._owners: dict[int, Owner] = {}
        self._enabled = {direction: _LookupBuilder(lookup) for direction, lookup in book.enabled.items()}
        self._disabled = {direction: _LookupBuilder(lookup) for direction, lookup in book.disabled.items()}

    def add_client(self, client: Client) -> None:
        """Take up a client."""
        self._clients[client.id] = client

    def add_account(self, account: Account) -> None:
        """Take up an account whose client was added; StoreError where it was not."""
        bearer = Bearer(
            account,
            self._owner(account),
            account.tech_prefix or "",
            frozenset(gateway.casefold() for gateway in account.gateways) or None,
            account.term_protocol.casefold() if account.term_protocol else None,
            account.term_port,
            bool(account.gateways or account.term_protocol or account.term_port),
        )
        self._book.bearers[account.id] = bearer
        for direction in Direction:
            if account.disabled:
                self._place(self._disabled[direction], bearer, direction)
            elif account.orig_enabled if direction is Direction.ORIGINATION else account.term_enabled:
                self._place(self._enabled[direction], bearer, direction)

    def add_dids(self, account_id: int, packed: Packed) -> None:
        """Take up active DIDs of an account, as :func:`identengine.dids.pack` made them, run by run."""
        self._book.dids.add(account_id, packed)

    def finish(self) -> Generator[None, None, Book]:
        """End the making in steps; the generator's value is the book."""
        for lookup in (*self._enabled.values(), *self._disabled.values()):
            yield from lookup.finish()
        self._book.dids.seal()
        yield
        return self._book

    def _owner(self, account: Account) -> Owner:
        """Return the owner of an account, making those of the resellers above where they are not made yet."""
        missing: list[Client] = []
        above: Owner | None = None
        client_id: int | None = account.client_id
        while client_id is not None and (above := self._owners.get(client_id)) is None:
            client = self._clients.get(client_id)
            if client is None or len(missing) == len(self._clients):
                what = "does not exist" if client is None else "is its own reseller"
                raise StoreError(
                    f"account {account.id}: client {client_id} {what}; the store is damaged, import the book again"
                )
            missing.append(client)
            client_id = client.parent_id
        for client in reversed(missing):
            above = self._owners[client.id] = _owner(client, above)
        return self._owners[account.client_id]

    def _place(self, lookup: _LookupBuilder, bearer: Bearer, direction: Direction) -> None:
        account = bearer.account
        match account.ident_by:
            case IdentBy.IP:
                for item in account.ident:
                    lookup.add_network(parse_network(item)[0], bearer)
            case IdentBy.NAME:
                open_to_all = account.password is None and direction is Direction.ORIGINATION
                for item in account.ident:
                    lookup.add_name(item, bearer, self._passwordless if open_to_all else "normal")
            case IdentBy.ANI:
                for item in account.ident:
                    # What is nothing but an international prefix is an absent number, which no caller has.
                    if number := national(item, self._book.prefixes):
                        lookup.add_number(number, bearer)


class _LookupBuilder:
    """Fills one :class:`Lookup`."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._networks: dict[int, dict[int, dict[bytes, Bucket]]] = {4: {}, 16: {}}
        self._shared: dict[int, tuple[Bucket, list[Bearer]]] = {}

    def add_network(self, network: Network, bearer: Bearer) -> None:
        if network.single:
            text = format_network(network)
            self._add(self._lookup.singles, text, bearer, text, network.length)
        else:
            networks = self._networks[len(network.address)].setdefault(network.length, {})
            self._add(networks, network.address, bearer, format_network(network), network.length)

    def add_name(self, name: str, bearer: Bearer, how: Literal["deny", "after_ip", "normal"]) -> None:
        lookup = self._lookup
        table = {"deny": lookup.denied, "after_ip": lookup.passwordless, "normal": lookup.names}[how]
        self._add(table, name, bearer, name, 0)

    def add_number(self, number: str, bearer: Bearer) -> None:
        self._add(self._lookup.anis, number, bearer, number, 0)

    def _add(self, table: dict[Key, Bucket], key: Key, bearer: Bearer, matched: str, mask: int) -> None:
        bucket = table.get(key)
        if bucket is None:
            table[key] = Bucket(matched, mask, ((bearer,),))
        else:
            # Grouped once at the end: thousands may share an address.
            shared = self._shared.setdefault(id(bucket), (bucket, [*bucket.bearers()]))
            # Two idents of an account may fall together, by an international prefix say: it is no tie with itself.
            if shared[1][-1] is not bearer:
                shared[1].append(bearer)

    def finish(self) -> Generator[None, None, None]:
        done = 0
        while self._shared:  # taken apart on the way: to drop it whole would be a long step
            _, (bucket, bearers) = self._shared.popitem()
            yield from _group(bucket, bearers)
            if (done := done + len(bearers)) >= STEP:
                done = 0
                yield
        for size, by_length in self._networks.items():
            trie = self._lookup.tries[size]
            for length in sorted(by_length):
                networks = by_length[length]
                while networks:
                    address, network = networks.popitem()
                    # Ascending lengths: all that covers this network is in the trie by now, and nothing longer.
                    network.wider = trie.get(address)
                    trie.insert((address, length), network)
                    if (done := done + 1) % STEP == 0:
                        yield
        for text, single in self._lookup.singles.items():
            address = parse_address(text)
            single.wider = self._lookup.tries[len(address)].get(address)
            if (done := done + 1) % STEP == 0:
                yield


def build(
    options: IdentifyOptions,
    version: int,
    hash_key: bytes,
    clients: Iterable[Client],
    accounts: Iterable[Account],
    numbers: Iterable[Did],
) -> Book:
    """Make a book at once: for commands and tests."""
    builder = BookBuilder(options, version, hash_key)
    for client in clients:
        builder.add_client(client)
    for account in accounts:
        builder.add_account(account)
    active: dict[int, list[str]] = {}
    for did in numbers:
        if did.status is DidStatus.ACTIVE:
            active.setdefault(did.account_id, []).append(did.number)
    for account_id, owned in active.items():
        builder.add_dids(account_id, pack(owned, longest_first(options.international_prefixes)))
    steps = builder.finish()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            book: Book = end.value
            return book


def _owner(client: Client, reseller: Owner | None) -> Owner:
    inherited = reseller or _NOBODY
    return Owner(
        client,
        reseller,
        client.status is ClientStatus.BLOCKED or inherited.blocked,
        client.rate_table or inherited.rate_table,
        client.routing_plan or inherited.routing_plan,
        client.term_rate_table or inherited.term_rate_table,
    )


_NOBODY = Owner(Client(id=0, name=""), None, False, None, None, None)


def _group(bucket: Bucket, bearers: list[Bearer]) -> Generator[None, None, None]:
    """Group the accounts that share an ident value by their tech prefix."""
    by_prefix: dict[str, list[Bearer]] = {}
    distinct: dict[tuple[object, ...], Bearer] = {}
    for done, bearer in enumerate(bearers, 1):
        by_prefix.setdefault(bearer.tech_prefix, []).append(bearer)
        distinct.setdefault((bearer.gateways, bearer.protocol, bearer.port), bearer)
        if done % STEP == 0:
            yield
    groups: dict[str, Group] = {}
    for done, prefix in enumerate(longest_first(by_prefix), 1):
        groups[prefix] = tuple(sorted(by_prefix[prefix], key=lambda bearer: bearer.account.id))
        if done % STEP == 0:
            yield
    bucket.groups = tuple(groups.values())
    if len(groups) > CROWDED:
        bucket.by_prefix = groups
        bucket.lengths = tuple(sorted({len(prefix) for prefix in groups}, reverse=True))
        bucket.distinct = tuple(distinct.values())


def _classes(options: IdentifyOptions) -> tuple[IndexClass, ...]:
    """Return the classes in the order of trying, with ``passwordless`` right after ip (last without ip)."""
    classes: list[IndexClass] = [*options.classes]
    if options.passwordless_name == "after_ip" and "name" in classes:
        place = classes.index("ip") + 1 if "ip" in classes else len(classes)
        classes.insert(place, "passwordless")
    return tuple(classes)
