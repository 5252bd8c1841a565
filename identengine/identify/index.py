"""The index of one version of the book: dicts and tries, immutable once built. Only this module uses pytricia.

An ident value (address, network, name or number) leads to a chain of :class:`Candidate` nodes: the accounts with
that value, best first. The last node of a network points to the chain of the next wider network. So matching is a
walk: the first node that fits is the best (engine.md 3.3). :mod:`identengine.identify.chains` makes the order.
Single addresses are in a dict by their text: most trunks are single hosts, and their look-up needs no parsing.
Networks are in one trie for IPv4 and one for IPv6.

Rule: the objects of an index form no reference cycles. So the garbage collector costs nothing, even in a large
book (``gc=False``; pytricia has no tp_traverse either).
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_pton
from typing import Literal

import msgspec
from pytricia import PyTricia

from identengine.calls.levels import ClientLevels, Levels, clients_of
from identengine.identify.dids import DidTable
from identengine.identify.template import AnswerPart
from identengine.model.addresses import format_address, parse_address
from identengine.model.numbers import longest_first
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Direction

IndexClass = Literal["name", "ip", "ani", "passwordless"]
"""A class of matching. ``passwordless`` is that of ``passwordless_name = "after_ip"`` (engine.md 3.6)."""

Shape = tuple[bool, bool, bool]
"""True for each of gateway, port and protocol that is set and counts (engine.md 3.3)."""

Counted = tuple[bool, bool]
"""True for port and for protocol if the constraint counts: options ``match_port`` and ``match_protocol``."""

CellKey = str | tuple[str, str | None, int | None, str | None]
"""Tech prefix, gateway, port and protocol that a request must have; None if any value fits.

The tech prefix alone if any value of the others fits.
"""


class ClientEntry(msgspec.Struct, frozen=True, gc=False):
    """A client with the values that it inherits from the resellers above it (engine.md 1.6, 3.5)."""

    client: Client
    blocked: bool
    rate_table: str | None
    routing_plan: str | None
    term_rate_table: str | None
    originating: ClientLevels
    """The levels of its legs of origination, with their limits (engine.md 5.2)."""
    terminating: ClientLevels

    @property
    def depth(self) -> int:
        """Length of its chain: the client and the resellers above it."""
        return len(clients_of(self.originating.counters))

    def levels(self, direction: Direction) -> ClientLevels:
        """Return the levels of its legs of a direction."""
        return self.originating if direction is Direction.ORIGINATION else self.terminating


class Terminating(msgspec.Struct, frozen=True, gc=False):
    """The answer and the levels of the calls to a vendor."""

    template: AnswerPart
    """The part of the answer that all calls to it share."""
    levels: Levels
    """The levels of calls to it."""


class AccountEntry(msgspec.Struct, gc=False):
    """An account with its constraints in the form in which matching compares them."""

    blocked: bool
    """True if its client is blocked, or a reseller above it."""
    shows_any: bool
    """True if it may show any calling number (engine.md 4)."""
    tech_prefix: str
    """The tech prefix; ``""`` if the account has no prefix."""
    levels: Levels
    """The levels of calls that originate from it."""
    template: AnswerPart
    """The part of the answer that all calls from it share; ``UNANSWERED`` if its originator is off."""
    account: Account
    client_entry: ClientEntry
    gateways: frozenset[str] | None
    protocol: str | None
    port: int | None
    host: str | None
    """Host of calls that terminate at it (engine.md 3.9); None leaves the choice to the switch."""
    terminating: Terminating | None = None
    """The answer and levels of calls to it; None until the first one, since most accounts get no calls."""

    def shape_of(self, counted: Counted) -> Shape:
        """Return True for each of gateway, port and protocol that is set and counts."""
        port, protocol = counted
        return self.gateways is not None, port and self.port is not None, protocol and self.protocol is not None


class Ties(msgspec.Struct, frozen=True, gc=False):
    """Accounts that are equal in everything except the id, however many they are (engine.md 3.4)."""

    entries: tuple[AccountEntry, ...]
    """All of them, by ascending id."""
    one_client: bool
    """True if all of them are of one client."""
    without_password: tuple[AccountEntry, ...]
    one_client_without_password: bool


class Candidate(msgspec.Struct, gc=False):
    """An account at one ident value, as a node of a chain. It changes only while it is built."""

    tech_prefix: str
    """Its tech prefix, ``""`` if there is none: one object for all accounts with that prefix."""
    cut: int
    """Length of the tech prefix."""
    next: Candidate | None
    """The next best candidate: at the same ident value, then at the next wider network.

    None for a candidate within a crowd.
    """
    entry: AccountEntry
    """The account; of equal accounts the one with the lowest id."""
    plain: bool
    """True if a dialled number that begins with ``tech_prefix`` is enough to pick it from its chain.

    False for a constraint that counts by the options of the book, for ties and for a crowd. With
    ``tech_prefix_first`` also False if there is a wider network: its accounts may have a longer prefix.
    """
    matched: str
    """The ident value as an answer shows it (interfaces.md 3)."""
    mask: int
    """Length of the network in bits; 0 for names and numbers."""
    varies: bool
    """True if ``match_port`` or ``match_protocol`` of a switch can change the chain from this node on."""
    ties: Ties | None = None
    """All accounts that are equal to it, itself included; None if no other is."""
    crowd: Crowd | None = None
    """The accounts for which this node stands, if they are too many to try one by one."""

    def entries(self) -> tuple[AccountEntry, ...]:
        """Return every account of the node, best first."""
        if self.crowd is not None:
            return self.crowd.entries
        return (self.entry,) if self.ties is None else self.ties.entries


class Tier(msgspec.Struct, frozen=True, gc=False):
    """The accounts of a crowd that rank alike (engine.md 3.3), by what a request must have."""

    cut: int
    """Length of their tech prefixes."""
    shape: Shape
    cells: dict[CellKey, Candidate]


class Order(msgspec.Struct, frozen=True, gc=False):
    """A crowd in the order of the options of a switch."""

    tiers: tuple[Tier, ...]
    """The best one first."""
    reach: set[tuple[str | int | None, ...]]
    """Every (gateway,), (gateway, protocol) and (gateway, protocol, port) of an account.

    None stands for any value.
    """


class Crowd(msgspec.Struct, frozen=True, gc=False):
    """The accounts of an ident value that are looked up, not tried one by one.

    For example, 10,000 customers share one address and differ in tech prefix or gateway.
    """

    entries: tuple[AccountEntry, ...]
    """All of them, best first by the options of the book."""
    orders: dict[Counted, Order]

    def best(
        self, dialled: str, gateway: str | None, protocol: str | None, port: int | None, counted: Counted
    ) -> Candidate | None:
        """Return the best candidate, or None if no account of the crowd is a candidate.

        An absent field of the request is no key of a tier that compares this field.
        """
        key: CellKey
        for tier in self.orders[counted].tiers:
            by_gateway, by_port, by_protocol = tier.shape
            key = dialled[: tier.cut]
            if by_gateway or by_port or by_protocol:
                key = (
                    key,
                    gateway if by_gateway else None,
                    port if by_port else None,
                    protocol if by_protocol else None,
                )
            if (found := tier.cells.get(key)) is not None:
                return found
        return None

    def reached(self, gateway: str | None, protocol: str | None, port: int | None, counted: Counted) -> int:
        """Return how many of gateway, protocol and port the nearest account satisfies, in this order."""
        reach = self.orders[counted].reach
        ways: set[tuple[str | int | None, ...]] = {()}
        for place, value in enumerate((gateway, protocol, port)):
            ways = {way for before in ways for each in (None, value) if (way := (*before, each)) in reach}
            if not ways:
                return place
        return 3


class Lookup:
    """The chains of one set of accounts, for example of those that are enabled in a direction."""

    __slots__ = ("_in_ipv4", "anis", "denied", "names", "passwordless", "singles", "tries")

    def __init__(self) -> None:
        self.names: dict[str, Candidate] = {}
        self.passwordless: dict[str, Candidate] = {}
        self.denied: dict[str, Candidate] = {}
        """Name accounts without a password that are denied. Only explain uses them."""
        self.anis: dict[str, Candidate] = {}
        self.singles: dict[str, Candidate] = {}
        self.tries = {4: PyTricia(32, AF_INET), 16: PyTricia(128, AF_INET6)}
        self._in_ipv4: Callable[[bytes], Candidate | None] = self.tries[4].get

    def source(self, text: str) -> Candidate | None:
        """Return the chain of the longest network that contains an address, or None if no network does.

        Raise ValueError if ``text`` is not an address (engine.md 2.2). A text that is a key of ``singles`` is an
        address, so the usual case costs one look-up.
        """
        single = self.singles.get(text)
        return self.covering(text) if single is None else single

    def covering(self, text: str) -> Candidate | None:
        """Return the result of :meth:`source` for a text that is not a key of ``singles``."""
        if ":" not in text:
            try:
                # This accepts an IPv4 address in its usual form only, and `singles` has no such key.
                return self._in_ipv4(inet_pton(AF_INET, text))
            except (OSError, ValueError):
                pass  # `parse_address` accepts spaces around it, and words the error
        address = parse_address(text)
        usual = format_address(address)
        if usual != text and (single := self.singles.get(usual)) is not None:
            return single
        network: Candidate | None = self.tries[len(address)].get(address)
        return network


class Book:
    """One version of the book, ready to decide.

    Rule: its content never changes after :meth:`~identengine.identify.builder.BookBuilder.finish`.
    """

    __slots__ = (
        "accounts",
        "classes",
        "clients",
        "dids",
        "disabled",
        "enabled",
        "hash_key",
        "options",
        "prefixes",
        "reordered",
        "version",
    )

    def __init__(self, options: IdentifyOptions, version: int, hash_key: bytes) -> None:
        self.version = version
        self.hash_key = hash_key
        self.options = options
        """The options that the chains are ordered for."""
        self.classes = _classes(options)
        self.prefixes = longest_first(options.international_prefixes)
        self.accounts: dict[int, AccountEntry] = {}
        self.clients: dict[int, ClientEntry] = {}
        """The clients that have accounts, and the resellers above them."""
        self.enabled = {direction: Lookup() for direction in Direction}
        self.disabled = {direction: Lookup() for direction in Direction}
        self.dids = DidTable()
        self.reordered: dict[tuple[Counted, int], Candidate] = {}
        """Chains in the order for switches with other options, by these and the identity of their first node.

        They are added when they are needed first, since few switches need them.
        """


def _classes(options: IdentifyOptions) -> tuple[IndexClass, ...]:
    """Return the classes in the order of matching. ``passwordless`` follows ip, or is the last if ip is absent."""
    classes: list[IndexClass] = [*options.classes]
    if options.passwordless_name == "after_ip" and "name" in classes:
        place = classes.index("ip") + 1 if "ip" in classes else len(classes)
        classes.insert(place, "passwordless")
    return tuple(classes)


def counted_by(options: IdentifyOptions) -> Counted:
    """Return True for port and for protocol if the constraint counts."""
    return options.match_port == "always", options.match_protocol == "always"
