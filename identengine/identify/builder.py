"""Builds the index of a version of the book, in steps so short that requests are decided in between."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Literal, NamedTuple, TypeVar

from identengine.calls.levels import ClientLevels, account_counter, client_counters, limits_of
from identengine.errors import StoreError
from identengine.identify.chains import STEP, alone, chain, link
from identengine.identify.dids import Packed, pack
from identengine.identify.dismantle import emptied
from identengine.identify.index import AccountEntry, Book, Candidate, ClientEntry, Lookup, counted_by
from identengine.identify.template import part_of
from identengine.model.addresses import Network, format_network, parse_address, parse_network
from identengine.model.numbers import longest_first, national
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import (
    Account,
    Client,
    ClientStatus,
    Decision,
    Did,
    DidStatus,
    Direction,
    IdentBy,
    SrcPolicy,
)
from identengine.model.resellers import DEEPEST, SHOWN

Key = TypeVar("Key", bound="str | bytes")


class BookBuilder:
    """A builder that makes a :class:`Book` in short steps, so that requests are decided in between.

    Add all clients, then all accounts, then all DIDs, then take the steps of :meth:`finish`. Each call is a step
    of microseconds, except when a dict grows: that takes about 5 ms at 100,000 accounts, and 50 ms once at
    1,000,000.
    """

    def __init__(self, options: IdentifyOptions, version: int, hash_key: bytes) -> None:
        self._book = book = Book(options, version, hash_key)
        self._passwordless = options.passwordless_name
        self._clients: dict[int, Client] = {}
        self._enabled, self._disabled = (
            {direction: _LookupBuilder(lookup, options) for direction, lookup in lookups.items()}
            for lookups in (book.enabled, book.disabled)
        )
        self._large: list[AccountEntry] = []
        self._shared: dict[str, str] = {}
        """One object for each tech prefix, so that it stays in the processor's cache."""

    def add_client(self, client: Client) -> None:
        """Add a client."""
        self._clients[client.id] = client

    def add_account(self, account: Account) -> None:
        """Add an account. Raise StoreError if its client was not added."""
        client_entry = self._client_entry(account)
        count, packed = _answer(account, client_entry) if account.orig_enabled else _NO_ANSWER
        entry = AccountEntry(
            account_counter(account.id, Direction.ORIGINATION),
            account.orig_capacity,
            account.orig_cps,
            client_entry.originating,
            count=count,
            packed=packed,
            blocked=client_entry.blocked,
            shows_any=account.src_policy is SrcPolicy.ALLOW_ANY,
            tech_prefix=self._shared.setdefault(account.tech_prefix or "", account.tech_prefix or ""),
            account=account,
            client_entry=client_entry,
            gateways=frozenset(gateway.casefold() for gateway in account.gateways) or None,
            protocol=account.term_protocol.casefold() if account.term_protocol else None,
            port=account.term_port,
            host=_host(account) if account.term_enabled else None,
        )
        self._book.accounts[account.id] = entry
        if len(account.ident) > STEP:
            self._large.append(entry)
            return
        for _ in self._place(entry):
            pass

    def add_dids(self, account_id: int, packed: Packed) -> None:
        """Add active DIDs of an account, or a run of them, as :func:`identengine.identify.dids.pack` made them."""
        self._book.dids.add(account_id, packed)

    def finish(self) -> Generator[None, None, Book]:
        """Complete the book in steps. The value of the generator is the book."""
        while self._large:
            yield from self._place(self._large.pop())
        for lookup in (*self._enabled.values(), *self._disabled.values()):
            yield from lookup.finish()
        self._book.dids.seal()
        yield from emptied(self._clients)
        return self._book

    def complete(self) -> Book:
        """Complete the book in one call, if no request has to be decided in between."""
        steps = self.finish()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                book: Book = end.value
                return book

    def _client_entry(self, account: Account) -> ClientEntry:
        """Return the entry of an account's client. Make it and those of its resellers if they are missing."""
        missing: dict[int, Client] = {}
        above: ClientEntry | None = None
        client_id: int | None = account.client_id
        known = self._book.clients
        while client_id is not None and (above := known.get(client_id)) is None and len(missing) <= DEEPEST:
            client = self._clients.get(client_id)
            if client is None or client_id in missing:
                what = "does not exist" if client is None else "is its own reseller"
                remedy = "The store is damaged. Import the book again."
                raise StoreError(f"account {account.id}: client {client_id} {what}. {remedy}")
            missing[client_id] = client
            client_id = client.parent_id
        if len(missing) + (above.depth if above else 0) > DEEPEST:
            chain = " → ".join(map(str, (*list(missing)[:SHOWN], "…")))
            raise StoreError(
                f"account {account.id}: expected a chain of at most {DEEPEST} clients, got more ({chain}). "
                "Change a parent_id with `identengine clients set`, or import a book with a shorter chain."
            )
        for client in reversed(missing.values()):
            above = known[client.id] = _entry_of(client, above)
        return known[account.client_id]

    def _place(self, entry: AccountEntry) -> Generator[None, None, None]:
        """Put an account under each of its idents, in the lookups of its directions."""
        account = entry.account
        for direction in Direction:
            if account.disabled:
                lookup = self._disabled[direction]
            elif account.orig_enabled if direction is Direction.ORIGINATION else account.term_enabled:
                lookup = self._enabled[direction]
            else:
                continue
            open_to_all = account.password is None and direction is Direction.ORIGINATION
            for done, item in enumerate(account.ident, 1):
                if account.ident_by is IdentBy.IP:
                    lookup.add_network(parse_network(item)[0], entry)
                elif account.ident_by is IdentBy.NAME:
                    lookup.add_name(item, entry, self._passwordless if open_to_all else "normal")
                # A number that is only an international prefix is absent: no caller has it.
                elif number := national(item, self._book.prefixes):
                    lookup.add_number(number, entry)
                if done % STEP == 0:
                    yield


class _LookupBuilder:
    """A builder of one :class:`Lookup`."""

    def __init__(self, lookup: Lookup, options: IdentifyOptions) -> None:
        self._lookup = lookup
        self._counted = counted_by(options)
        self._prefix_first = options.rank == "tech_prefix_first"
        self._networks: dict[int, dict[int, dict[bytes, Candidate]]] = {4: {}, 16: {}}
        self._shared: dict[int, _Shared] = {}

    def add_network(self, network: Network, entry: AccountEntry) -> None:
        if network.single:
            text = format_network(network)
            self._add(self._lookup.singles, text, entry, text, network.length)
        else:
            networks = self._networks[len(network.address)].setdefault(network.length, {})
            self._add(networks, network.address, entry, format_network(network), network.length)

    def add_name(self, name: str, entry: AccountEntry, how: Literal["deny", "after_ip", "normal"]) -> None:
        lookup = self._lookup
        table = {"deny": lookup.denied, "after_ip": lookup.passwordless, "normal": lookup.names}[how]
        self._add(table, name, entry, name, 0)

    def add_number(self, number: str, entry: AccountEntry) -> None:
        self._add(self._lookup.anis, number, entry, number, 0)

    def _add(self, table: dict[Key, Candidate], key: Key, entry: AccountEntry, matched: str, mask: int) -> None:
        head = table.get(key)
        if head is None:
            table[key] = alone(entry, matched, mask, self._counted)
            return
        # The chain is built once, at the end: thousands of accounts can share an address.
        shared = self._shared.get(id(head))
        if shared is None:
            shared = self._shared[id(head)] = _Shared(table, key, [head.entry])
        # An international prefix can make two idents of an account equal: that is no tie with itself.
        if shared.entries[-1] is not entry:
            shared.entries.append(entry)

    def finish(self) -> Generator[None, None, None]:
        done = 0
        while self._shared:  # emptied item by item: to drop the whole dict would be a long step
            _, (table, key, entries) = self._shared.popitem()
            table[key] = yield from chain(entries, table[key].matched, table[key].mask, self._counted)
            if (done := done + len(entries)) >= STEP:
                done = 0
                yield
        for size, by_length in self._networks.items():
            trie = self._lookup.tries[size]
            for length in sorted(by_length):
                networks = by_length[length]
                while networks:
                    address, network = networks.popitem()
                    # Lengths ascend: the trie holds all networks that cover this network, and no longer ones.
                    link(network, trie.get(address), self._prefix_first)
                    trie.insert((address, length), network)
                    if (done := done + 1) % STEP == 0:
                        yield
        for text, single in self._lookup.singles.items():
            address = parse_address(text)
            link(single, self._lookup.tries[len(address)].get(address), self._prefix_first)
            if (done := done + 1) % STEP == 0:
                yield


class _Shared(NamedTuple):
    """The accounts of an ident value that several accounts share, and the place of their chain."""

    table: dict[Any, Candidate]
    key: str | bytes
    entries: list[AccountEntry]


def build(
    options: IdentifyOptions,
    version: int,
    hash_key: bytes,
    clients: Iterable[Client],
    accounts: Iterable[Account],
    numbers: Iterable[Did],
) -> Book:
    """Build a book in one call, for commands and tests."""
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
    return builder.complete()


def _entry_of(client: Client, reseller: ClientEntry | None) -> ClientEntry:
    """Return a client with the values that it inherits from its reseller (engine.md 1.6, 3.5)."""
    inherited = reseller or _NO_RESELLER
    return ClientEntry(
        client,
        client.status is ClientStatus.BLOCKED or inherited.blocked,
        client.rate_table or inherited.rate_table,
        client.routing_plan or inherited.routing_plan,
        client.term_rate_table or inherited.term_rate_table,
        *(_levels(client, reseller, direction) for direction in Direction),
    )


def _levels(client: Client, reseller: ClientEntry | None, direction: Direction) -> ClientLevels:
    """Return the levels of a client's legs: the client and all resellers above it (engine.md 5.2)."""
    above = reseller.levels(direction) if reseller else ClientLevels(())
    counters = client_counters(client.id, direction)
    orig = direction is Direction.ORIGINATION
    own = limits_of(client, direction, 0)
    inherited = ((place + 2, most, Reason.RESELLER_CAPACITY) for place, most, _ in above.limits)
    return ClientLevels((*counters, *above.counters), (*own, *inherited), client.orig_cps if orig else None)


_NO_RESELLER = ClientEntry(Client(id=0, name=""), False, None, None, None, ClientLevels(()), ClientLevels(()))


def _answer(account: Account, client_entry: ClientEntry) -> tuple[int, bytes]:
    """Return the part of the answer that all calls from an account share (interfaces.md 3)."""
    return part_of(
        Decision(
            accepted=True,
            account_id=account.id,
            account_name=account.name,
            client_id=account.client_id,
            client_name=client_entry.client.name,
            direction=Direction.ORIGINATION,
            tech_prefix=account.tech_prefix,
            rate_table=account.orig_rate_table or client_entry.rate_table,
            routing_plan=account.orig_routing_plan or client_entry.routing_plan,
            tag=account.orig_tag,
        )
    )


_NO_ANSWER = 0, b""
"""The part of an account whose originator is off; it is never sent."""


def _host(account: Account) -> str | None:
    """Return the host of a call: ``routing_ip``, or the first single address as written (engine.md 3.9)."""
    if account.ident_by is IdentBy.ANI:
        return account.term_routing_ip
    if account.ident_by is IdentBy.IP:
        for item in account.ident:
            address, _, length = item.partition("/")
            if length in ("", "128" if ":" in address else "32"):
                return address
    return None
