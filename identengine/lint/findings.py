"""The checks by name, the troubles that they yield, and the findings that a user sees (interfaces.md 2).

A trouble concerns one account, one value or a few accounts. A finding has all troubles that read alike. Rule:
memory holds at most :data:`MOST` findings of a check, however large the book is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, pairwise
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

import msgspec

from identengine.errors import expected, nearest, one_of
from identengine.model.records import Request

Severity: TypeAlias = Literal["error", "warning", "info"]
"""The severity of a finding, the worst first."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
MOST = 1000
"""Largest number of findings of a check that are kept. The others are counted."""
_IDS = 100
"""Largest number of ids or numbers that a finding names."""
_SMALL_TIE = 20
"""Largest number of accounts of a tie whose subsets are known."""
_NAMED = 3
"""Ids that the message of many accounts names."""


T = TypeVar("T")


class Check(NamedTuple):
    """A check of engine.md 8.5."""

    title: str
    remedy: str


CHECKS: dict[str, Check] = {
    "tie": Check(
        "Accounts that are equal in everything except the id",
        "Give the accounts different tech prefixes, gateways, ports or protocols, or disable all but one.",
    ),
    "shadowed": Check(
        "Accounts that never get a call",
        "Give the account an ident or a tech prefix of its own, narrow the other account, or disable this one.",
    ),
    "no_dids": Check(
        "Accounts that overwrite the calling number and have no active DID",
        'Add an active DID with `identengine dids add`, or set src_policy to "allow_any".',
    ),
    "no_password": Check(
        "Accounts that log in by name without a password",
        "Set a password with `identengine accounts password set`, or generate one.",
    ),
    "ani_without_gateway": Check(
        "Accounts that are known by a calling number through any gateway",
        "Set gateways, so that only your own equipment can present these numbers.",
    ),
    "own_constraint": Check(
        "Terminator ports and protocols that block the account's own calls",
        "Use one account for each direction.",
    ),
    "prefix_begins_number": Check(
        "Tech prefixes that ordinary numbers begin with",
        "Choose a tech prefix that no number begins with, for example one that ends in #.",
    ),
    "whole_internet": Check(
        "Networks that cover a large part of the Internet",
        "Replace the network by those of the customer, or identify the account by name and password.",
    ),
    "covers_switch": Check(
        "Idents that cover an address of a switch",
        "Narrow the ident. Otherwise calls from the switch itself are taken for calls of this account.",
    ),
    "never_pays": Check(
        "Accounts without a rate table",
        "Set a rate table for the account, its client or a reseller above.",
    ),
    "zero_limit": Check(
        "Limits of 0, which let nothing pass",
        "Clear the limit for unlimited calls. To close an account, disable it.",
    ),
    "unreachable_vendor": Check(
        "Terminators without a host or a proxy",
        "Add a single address to the ident, or set term_proxy (for an ANI account also term_routing_ip).",
    ),
    "near_typo": Check(
        "Names that are used once and differ by a letter from a common one",
        "Correct the name if it is a typing error.",
    ),
    "did_collision": Check(
        "DIDs that an international prefix makes equal",
        "Remove one of the two DIDs.",
    ),
}
"""Every check by its name, in the order of engine.md 8.5."""


class Probe(NamedTuple):
    """A request that may show a trouble, and what it has to show."""

    request: Request
    """The request without a dialled number and without an address inside a network."""
    shows: Callable[[int | None, bool], bool]
    """A function of the account that the request finds (None: no account) and of True for a tie."""
    tech_prefix: str = ""
    """Tech prefix that precedes the dialled number."""
    network: str | None = None
    """Network from which the request comes."""
    dialled: str | None = None
    """The dialled number, if only one number shows the trouble."""


class Trouble(NamedTuple):
    """A trouble that a check has found."""

    check: str
    severity: Severity
    text: str
    """The message about this trouble alone."""
    many: str | None = None
    """The message about several troubles that read alike, with ``{}`` for their number and for their ids."""
    accounts: tuple[int, ...] = ()
    clients: tuple[int, ...] = ()
    numbers: tuple[str, ...] = ()
    probe: Probe | None = None

    def marks(self) -> tuple[int, ...]:
        """Return numbers that are equal for the same trouble in two versions of a book, within one process.

        A tie has a number for each account but the first. So a tie that loses an account has no new number.
        """
        if self.check == "tie":
            return tuple(hash(("tie", self.severity, pair)) for pair in pairwise(self.accounts))
        what = (self.check, self.severity, self.many or self.text, self.accounts, self.clients, self.numbers)
        return (hash(what),)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding, as ``lint --json`` prints it (interfaces.md 2)."""

    check: str
    severity: Severity
    message: str
    accounts: tuple[int, ...]
    """The first hundred ids."""
    clients: tuple[int, ...]
    """The first hundred ids."""
    numbers: tuple[str, ...]
    count: int
    """Number of accounts, or of clients or numbers if the finding is about no account."""
    example: dict[str, str] | None
    """Parameters of a request that shows the trouble; None if no request shows it."""
    remedy: str


def _join(found: dict[T, None], more: Iterable[T]) -> None:
    """Add ids or numbers up to the limit."""
    for each in more:
        if len(found) == _IDS:
            return
        found[each] = None


class _Group:
    """The troubles that read alike."""

    __slots__ = ("accounts", "clients", "count", "first", "numbers", "probes", "troubles")

    def __init__(self, first: Trouble) -> None:
        self.first = first
        self.troubles = self.count = 0
        self.accounts: dict[int, None] = {}
        self.clients: dict[int, None] = {}
        self.numbers: dict[str, None] = {}
        self.probes: list[Probe] = []

    def add(self, trouble: Trouble) -> None:
        """Add a trouble."""
        self.troubles += 1
        self.count += len(trouble.accounts or trouble.clients or trouble.numbers)
        if trouble.probe is not None and len(self.probes) < _NAMED:
            self.probes.append(trouble.probe)
        _join(self.accounts, trouble.accounts)
        _join(self.clients, trouble.clients)
        _join(self.numbers, trouble.numbers)

    def finding(self, example: dict[str, str] | None) -> Finding:
        """Return the finding of the group."""
        first = self.first
        return Finding(
            check=first.check,
            severity=first.severity,
            message=self._message(),
            accounts=tuple(self.accounts),
            clients=tuple(self.clients),
            numbers=tuple(self.numbers),
            count=self.count,
            example=example,
            remedy=CHECKS[first.check].remedy,
        )

    def _message(self) -> str:
        first = self.first
        if first.many is None or self.troubles == 1:
            return first.text
        ids = [*map(str, self.accounts or self.clients or self.numbers)][:_NAMED]
        more = " and more" if self.count > len(ids) else ""
        return first.many.format(f"{self.count:,}", ", ".join(ids) + more)


class Keys:
    """A collector that keeps only the keys of the troubles: those of the book before a change."""

    def __init__(self, checks: Iterable[str] = CHECKS) -> None:
        self.checks = frozenset(checks)
        self._found: set[int] = set()

    def add(self, troubles: Iterable[Trouble]) -> None:
        """Add the keys of troubles."""
        for trouble in troubles:
            if trouble.check not in self.checks:
                continue
            self._found.update(trouble.marks())
            if trouble.check == "tie" and len(trouble.accounts) <= _SMALL_TIE:  # a subset of it is no new tie
                for pair in combinations(trouble.accounts, 2):
                    self._found.update(trouble._replace(accounts=pair).marks())

    def has(self, trouble: Trouble) -> bool:
        """Return True if the book before the change had the trouble."""
        return all(key in self._found for key in trouble.marks())


class Collector:
    """The troubles of a walk, grouped. Troubles that the book had ``before`` are left out."""

    def __init__(self, checks: Iterable[str] = CHECKS, before: Keys | None = None) -> None:
        self.checks = frozenset(checks)
        self._before = before
        self._groups: dict[object, _Group] = {}
        self._kept: dict[str, int] = {}
        self.more: dict[str, int] = {}
        """Findings of each check that were counted and not kept."""

    def add(self, troubles: Iterable[Trouble]) -> None:
        """Add troubles. Those of other checks are ignored."""
        for trouble in troubles:
            if trouble.check not in self.checks or (self._before is not None and self._before.has(trouble)):
                continue
            place = (trouble.check, trouble.severity, trouble.many) if trouble.many else trouble.marks()
            group = self._groups.get(place)
            if group is None:
                kept = self._kept.get(trouble.check, 0)
                if kept >= MOST:
                    self.more[trouble.check] = self.more.get(trouble.check, 0) + 1
                    continue
                self._kept[trouble.check] = kept + 1
                group = self._groups[place] = _Group(trouble)
            group.add(trouble)

    def findings(self, example: Callable[[Probe], dict[str, str] | None]) -> list[Finding]:
        """Return the findings: errors first, then in the order of the checks."""
        found = []
        for group in self._groups.values():
            shown = None
            for probe in group.probes:
                if (shown := example(probe)) is not None:
                    break
            found.append(group.finding(shown))
        order = {name: place for place, name in enumerate(CHECKS)}
        return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), order[one.check], -one.count))


Sink: TypeAlias = Collector | Keys


def check_name(text: str) -> str:
    """Return the name of a check. Raise ValueError for an unknown one, with the nearest name."""
    if text in CHECKS:
        return text
    near = nearest(text, CHECKS)
    raise ValueError(expected("the name of a check" if near else one_of(CHECKS), text, meant=near))
