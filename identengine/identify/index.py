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

from collections.abc import Iterator
from socket import AF_INET, AF_INET6
from typing import Literal

import msgspec
from pytricia import PyTricia

from identengine.calls.levels import ClientLevels, Levels, clients_of
from identengine.identify.dids import DidTable
from identengine.identify.template import AnswerTemplate
from identengine.model.addresses import format_address, parse_address
from identengine.model.numbers import longest_first
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Direction

IndexClass = Literal["name", "ip", "ani", "passwordless"]
"""The classes as matching tries them; ``passwordless`` is ``passwordless_name = "after_ip"`` (engine.md 3.6)."""

Shape = tuple[bool, bool, bool]
"""Whether gateway, port and protocol are set: it ranks candidates of one mask and tech prefix (engine.md 3.3)."""

Constraints = tuple[str | None, int | None, str | None]
"""Gateway, port and protocol, None where any will do."""


class ClientEntry(msgspec.Struct, frozen=True, gc=False):
    """A client with what it inherits from the resellers above it (engine.md 1.6, 3.5)."""

    client: Client
    blocked: bool
    rate_table: str | None
    routing_plan: str | None
    term_rate_table: str | None
    originating: ClientLevels
    """Where its legs of this direction count, with the limits (engine.md 5.2)."""
    terminating: ClientLevels

    @property
    def depth(self) -> int:
        """How many clients its chain has: itself and the resellers above it."""
        return len(clients_of(self.originating.counters))

    def levels(self, direction: Direction) -> ClientLevels:
        """Return where its legs of a direction count."""
        return self.originating if direction is Direction.ORIGINATION else self.terminating


class AccountEntry(msgspec.Struct, frozen=True, gc=False):
    """An account as matching sees it: its constraints in the form in which they are compared."""

    blocked: bool
    """Whether its client is, or one above that."""
    shows_any: bool
    """Whether it may show any calling number (engine.md 4)."""
    tech_prefix: str
    """``""`` where the account has none."""
    levels: Levels
    """Where the calls that come from it count."""
    template: AnswerTemplate
    """The answer to calls that originate from it; ``UNANSWERED`` if none may."""
    account: Account
    client_entry: ClientEntry
    gateways: frozenset[str] | None
    protocol: str | None
    port: int | None
    constrained: bool
    """Whether any of gateways, protocol and port is set."""
    host: str | None
    """Where to send a call to it (engine.md 3.9); None leaves that to the switch."""

    @property
    def shape(self) -> Shape:
        """Which constraints are set."""
        return self.gateways is not None, self.port is not None, self.protocol is not None


class Group(msgspec.Struct, frozen=True, gc=False):
    """The accounts of one ident value and one tech prefix, by ascending id."""

    tech_prefix: str
    entries: tuple[AccountEntry, ...]
    constrained: bool
    """Whether any of them is."""
    by_constraints: tuple[tuple[Shape, dict[Constraints, tuple[AccountEntry, ...]]], ...] = ()
    """Set for more than :data:`~identengine.identify.builder.INDEXED_FROM` accounts: by shape, best first."""


class BucketIndex(msgspec.Struct, frozen=True, gc=False):
    """A way through a bucket of more than :data:`~identengine.identify.builder.INDEXED_FROM` accounts.

    Say 10,000 customers come by one address, some told apart by tech prefix, some by gateway: ``by_prefix`` has
    their groups (``lengths``: of the prefixes, longest first), :attr:`Group.by_constraints` finds those of one
    prefix, and the three sets tell how far a request gets that is nobody's (engine.md 3.7).
    """

    by_prefix: dict[str, Group]
    lengths: tuple[int, ...]
    gateways: frozenset[str | None]
    protocols: frozenset[tuple[str | None, str | None]]
    """Gateway and protocol."""
    ports: frozenset[Constraints]


class Bucket(msgspec.Struct, gc=False):
    """The accounts that bear one ident value."""

    matched: str
    """The value as an answer shows it (interfaces.md 3)."""
    mask: int
    """Length of the network in bits; 0 for names and numbers."""
    groups: tuple[Group, ...]
    """By tech prefix, longest first."""
    index: BucketIndex | None = None
    wider: Bucket | None = None
    """The bucket of the next wider network that covers this one."""

    def beginning(self, dst_number: str) -> tuple[Group, ...]:
        """Return the groups that may begin ``dst_number``, longest prefix first; test each still."""
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
        return self.covering(text) if single is None else single

    def covering(self, text: str) -> Bucket | None:
        """Return what :meth:`source` does, for a text that is no key of ``singles``."""
        address = parse_address(text)
        usual = format_address(address)
        if usual != text and (single := self.singles.get(usual)) is not None:
            return single
        network: Bucket | None = self.tries[len(address)].get(address)
        return network


class Book:
    """One version, ready to decide.

    It is never changed after :meth:`~identengine.identify.builder.BookBuilder.finish`.
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
        """Clients that have accounts, and the resellers above them."""
        self.enabled = {direction: Lookup() for direction in Direction}
        self.disabled = {direction: Lookup() for direction in Direction}
        self.dids = DidTable()


def _classes(options: IdentifyOptions) -> tuple[IndexClass, ...]:
    """Return the classes in the order of trying, with ``passwordless`` right after ip (last without ip)."""
    classes: list[IndexClass] = [*options.classes]
    if options.passwordless_name == "after_ip" and "name" in classes:
        place = classes.index("ip") + 1 if "ip" in classes else len(classes)
        classes.insert(place, "passwordless")
    return tuple(classes)
