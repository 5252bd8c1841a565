"""The index of one version of the book: dicts and tries, immutable once built. Only this module uses pytricia.

An ident value (address, network, name or number) leads to a :class:`Bucket`: the accounts with that value. They
are grouped by tech prefix, longest first. So the first group with a candidate whose prefix begins the dialled
number is the best group. Single addresses are in a dict by their text: most trunks are single hosts, and their
look-up needs no parsing. Networks are in one trie for IPv4 and one for IPv6. Each bucket points to the bucket of
the next wider network, so matching walks outwards without look-ups.

Rule: the objects of an index form no reference cycles. So the garbage collector costs nothing, even in a large
book (``gc=False``; pytricia has no tp_traverse either).
"""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET, AF_INET6
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
COUNTED: tuple[Counted, ...] = ((True, True), (True, False), (False, True), (False, False))

Constraints = tuple[str | None, int | None, str | None]
"""Gateway, port and protocol; None if any value fits."""


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
    """What the calls to a vendor need."""

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
    constrained: bool
    """True if gateways, protocol or port is set."""
    host: str | None
    """Host of calls that terminate at it (engine.md 3.9); None leaves the choice to the switch."""
    terminating: Terminating | None = None
    """What calls to it need; None until the first one, since most accounts get no calls."""

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


ConstraintTables = tuple[tuple[Shape, dict[Constraints, Ties]], ...]
"""The accounts of a group by shape (best first) and constraints. A constraint that does not count is None."""


class Group(msgspec.Struct, frozen=True, gc=False):
    """The accounts of one ident value and one tech prefix, by ascending id."""

    tech_prefix: str
    entries: tuple[AccountEntry, ...]
    constrained: bool
    """True if an account of the group is constrained."""
    ties: Ties | None = None
    """The accounts, if they are more than ``INDEXED_FROM`` and none is constrained."""
    by_constraints: dict[Counted, ConstraintTables] | None = None
    """The look-up of the accounts, if they are more than ``INDEXED_FROM`` and some are constrained."""


class Reach(msgspec.Struct, frozen=True, gc=False):
    """The constraints of all accounts of a bucket: how far a request gets that fits none (engine.md 3.7).

    A constraint that does not count is None.
    """

    gateways: frozenset[str | None]
    protocols: frozenset[tuple[str | None, str | None]]
    """Pairs of gateway and protocol."""
    ports: frozenset[Constraints]


class BucketIndex(msgspec.Struct, frozen=True, gc=False):
    """An index of a bucket with more than :data:`~identengine.identify.grouping.INDEXED_FROM` accounts.

    For example, 10,000 customers share one address and differ in tech prefix or gateway. ``by_prefix`` finds the
    groups; ``lengths`` are the lengths of the prefixes, longest first. :attr:`Group.by_constraints` finds the
    accounts of a group.
    """

    by_prefix: dict[str, Group]
    lengths: tuple[int, ...]
    reach: dict[Counted, Reach]


class Bucket(msgspec.Struct, gc=False):
    """The accounts with one ident value."""

    matched: str
    """The ident value as an answer shows it (interfaces.md 3)."""
    mask: int
    """Length of the network in bits; 0 for names and numbers."""
    groups: tuple[Group, ...]
    """The accounts by tech prefix, longest first."""
    index: BucketIndex | None = None
    wider: Bucket | None = None
    """The bucket of the next wider network that covers this one."""

    def beginning(self, dst_number: str) -> tuple[Group, ...]:
        """Return the groups whose prefix may begin ``dst_number``, longest first. The caller checks them."""
        index = self.index
        if index is None:
            return self.groups
        fitting = (dst_number[:length] for length in index.lengths if length <= len(dst_number))
        return tuple(index.by_prefix[prefix] for prefix in fitting if prefix in index.by_prefix)

    def entries(self) -> Iterator[AccountEntry]:
        """Yield every account of the bucket."""
        for group in self.groups:
            yield from group.entries


class Lookup:
    """The buckets of one set of accounts, for example of those that are enabled in a direction."""

    __slots__ = ("anis", "denied", "names", "passwordless", "singles", "tries")

    def __init__(self) -> None:
        self.names: dict[str, Bucket] = {}
        self.passwordless: dict[str, Bucket] = {}
        self.denied: dict[str, Bucket] = {}
        """Name accounts without a password that are denied. Only explain uses them."""
        self.anis: dict[str, Bucket] = {}
        self.singles: dict[str, Bucket] = {}
        self.tries = {4: PyTricia(32, AF_INET), 16: PyTricia(128, AF_INET6)}

    def source(self, text: str) -> Bucket | None:
        """Return the bucket of the longest network that contains an address, or None if no network does.

        Raise ValueError if ``text`` is not an address (engine.md 2.2). A text that is a key of ``singles`` is an
        address, so the usual case costs one look-up.
        """
        single = self.singles.get(text)
        return self.covering(text) if single is None else single

    def covering(self, text: str) -> Bucket | None:
        """Return the result of :meth:`source` for a text that is not a key of ``singles``."""
        address = parse_address(text)
        usual = format_address(address)
        if usual != text and (single := self.singles.get(usual)) is not None:
            return single
        network: Bucket | None = self.tries[len(address)].get(address)
        return network


class Book:
    """One version of the book, ready to decide.

    Rule: it never changes after :meth:`~identengine.identify.builder.BookBuilder.finish`.
    """

    __slots__ = (
        "accounts",
        "classes",
        "clients",
        "dids",
        "disabled",
        "enabled",
        "hash_key",
        "prefixes",
        "version",
    )

    def __init__(self, options: IdentifyOptions, version: int, hash_key: bytes) -> None:
        self.version = version
        self.hash_key = hash_key
        self.classes = _classes(options)
        self.prefixes = longest_first(options.international_prefixes)
        self.accounts: dict[int, AccountEntry] = {}
        self.clients: dict[int, ClientEntry] = {}
        """The clients that have accounts, and the resellers above them."""
        self.enabled = {direction: Lookup() for direction in Direction}
        self.disabled = {direction: Lookup() for direction in Direction}
        self.dids = DidTable()


def _classes(options: IdentifyOptions) -> tuple[IndexClass, ...]:
    """Return the classes in the order of matching. ``passwordless`` follows ip, or is the last if ip is absent."""
    classes: list[IndexClass] = [*options.classes]
    if options.passwordless_name == "after_ip" and "name" in classes:
        place = classes.index("ip") + 1 if "ip" in classes else len(classes)
        classes.insert(place, "passwordless")
    return tuple(classes)
