"""Large, realistic books, equal for the same seed and size, with requests whose answers are known.

The mix is that of a wholesale carrier: 60 % single addresses, 25 % networks (mostly /24 to /29), 15 % names and
ANIs. Half of the addresses are shared by accounts that differ by tech prefix. Numbers come from real numbering
plans (``phonenumbers``), with made-up last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

import msgspec
import phonenumbers

from identengine.model.records import Account, Client, Did, IdentBy, Request, SrcPolicy

ACCOUNTS_PER_CLIENT = 4
TECH_PREFIXES = ("", "1001#", "1002#", "2#", "77", "7701", "99#", "990")
KINDS_OF_IDENT = ("single", "network", "name", "ani")
SHARES = (0.60, 0.25, 0.12, 0.03)
"""Share of the accounts by kind."""
SHARED = 0.27
"""Share of addresses that 2 to 4 accounts use. Half of the accounts with an address have a shared one."""
_ACCOUNTS_AN_ADDRESS = 1 + 2 * SHARED


class Space(NamedTuple):
    """A range of addresses, both ends included, and its wide networks as pairs of length and count."""

    first: int
    last: int
    wide: tuple[tuple[int, int], ...]


WORLD = Space(0x0B000000, 0xC5FFFFFF, ((8, 1), (12, 2), (16, 5), (20, 12)))
"""Most of the space of hosting providers and carriers."""
LOOPBACK = Space(0x7F100000, 0x7FEFFFFF, ((12, 2), (16, 5), (20, 12)))
"""127.16.0.0 to 127.239.255.255.

A client on loopback can really send from these addresses. The addresses above are left for callers that no network
covers.
"""


class Book(NamedTuple):
    """The rows of a book, and requests of each kind with the expected account, or None if no account matches."""

    clients: list[Client]
    accounts: list[Account]
    dids: list[Did]
    requests: dict[str, list[tuple[Request, int | None]]]


def make(accounts: int, seed: int = 1, requests: int = 2000, space: Space = WORLD) -> Book:
    """Return a book of ``accounts`` accounts and ``requests`` requests of each kind.

    The kinds ``single``, ``network``, ``name`` and ``ani`` match an account of that kind; ``miss`` matches none.
    """
    random = Random(seed)
    clients = [
        Client(
            id=number,
            name=f"Carrier {number}",
            # One in ten is a customer of one of the first clients of the book, which are resellers.
            parent_id=random.randint(1, number // 2) if number > 10 and random.random() < 0.1 else None,
            rate_table=f"rates-{number % 50}",
            routing_plan=f"plan-{number % 20}",
            capacity=random.choice((100, 500, 2000)),
        )
        for number in range(1, accounts // ACCOUNTS_PER_CLIENT + 2)
    ]
    rows = list(_accounts(accounts, random, len(clients), space))
    dids = [
        Did(number=number_of(random), account_id=account.id)
        for account in rows
        if account.src_policy is not SrcPolicy.ALLOW_ANY
        for _ in range(3)
    ]
    unique = {did.number: did for did in dids}
    expected = Plain(rows)
    asked = {
        kind: [(request, expected.account(request)) for request in _requests(kind, rows, random, requests)]
        for kind in KINDS_OF_IDENT
    }
    asked["miss"] = [
        (
            Request(
                call_id=f"miss-{number}",
                src_ip=f"198.18.{number >> 8 & 255}.{number & 255}",
                name=f"nobody-{number}",
                src_number="0" + number_of(random),  # no number of a plan begins like this, so no ANI does
                dst_number=number_of(random),
            ),
            None,
        )
        for number in range(requests)
    ]
    return Book(clients, rows, list(unique.values()), asked)


def number_of(random: Random) -> str:
    """Return a made-up number of a real numbering plan, in international form without ``+``."""
    prefix, length = random.choice(_plans())
    left = length - len(prefix)
    return f"{prefix}{random.randrange(10**left):0{left}}"


@cache
def _plans() -> list[tuple[str, int]]:
    plans = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                text = f"{example.country_code}{example.national_number}"
                plans.append((text[: max(4, len(text) - 7)], len(text)))
    return plans


def _accounts(count: int, random: Random, clients: int, space: Space) -> Iterator[Account]:
    number = 0
    singles, networks = _addresses(random, space), _networks(random, space)
    names = 0
    anis: set[str] = set()
    # An address appears once for all accounts that share it.
    weights = [share / _ACCOUNTS_AN_ADDRESS if place < 2 else share for place, share in enumerate(SHARES)]
    while number < count:
        (kind,) = random.choices(KINDS_OF_IDENT, weights)
        sharing = 1
        if kind in ("single", "network"):
            ident_by, ident = IdentBy.IP, next(singles if kind == "single" else networks)
            if random.random() < SHARED:
                sharing = random.choice((2, 3, 4))
        elif kind == "name":
            names += 1
            ident_by, ident = IdentBy.NAME, f"trunk-{names}"
        else:
            ident_by, ident = IdentBy.ANI, number_of(random)
            if ident in anis:
                continue
            anis.add(ident)
        for tech_prefix in random.sample(TECH_PREFIXES, sharing) if sharing > 1 else ("",):
            if number == count:
                return
            number += 1
            yield Account(
                id=number,
                client_id=1 + (number - 1) % clients,
                name=f"account {number}",
                ident_by=ident_by,
                ident=(ident,),
                tech_prefix=tech_prefix or None,
                orig_rate_table=f"rates-{number % 50}" if number % 3 == 0 else None,
                orig_capacity=random.choice((10, 30, 100, 1000)),
                src_policy=SrcPolicy.OVERWRITE if number % 10 == 0 else SrcPolicy.ALLOW_ANY,
            )


def _addresses(random: Random, space: Space) -> Iterator[str]:
    """Yield distinct single addresses, scattered over the space."""
    seen = set()
    while True:
        address = random.randint(space.first, space.last)
        if address not in seen:
            seen.add(address)
            yield str(IPv4Address(address))


def _networks(random: Random, space: Space) -> Iterator[str]:
    """Yield distinct networks. Some of them nest by chance."""
    seen = set()
    wide = [length for length, count in space.wide for _ in range(count)]
    while True:
        length = wide.pop() if wide else random.choices((29, 28, 27, 26, 25, 24), (40, 20, 12, 10, 6, 12))[0]
        address = random.randint(space.first, space.last) >> (32 - length) << (32 - length)
        if (address, length) not in seen:
            seen.add((address, length))
            yield f"{IPv4Address(address)}/{length}"


_KINDS: dict[str, Callable[[Account], bool]] = {
    "single": lambda account: account.ident_by is IdentBy.IP and "/" not in account.ident[0],
    "network": lambda account: account.ident_by is IdentBy.IP and "/" in account.ident[0],
    "name": lambda account: account.ident_by is IdentBy.NAME,
    "ani": lambda account: account.ident_by is IdentBy.ANI,
}


def _requests(kind: str, accounts: list[Account], random: Random, count: int) -> Iterator[Request]:
    """Yield requests with new string objects, so that no look-up uses the very object that is the key."""
    chosen = [account for account in accounts if _KINDS[kind](account)]
    for place in range(count):
        account = random.choice(chosen)
        ident = account.ident[0]
        fields = {"dst_number": (account.tech_prefix or "") + number_of(random), "src_number": number_of(random)}
        if kind == "single":
            fields["src_ip"] = ident[:1] + ident[1:]
        elif kind == "network":
            first, _, length = ident.partition("/")
            host = random.randrange(1 << (32 - int(length)))
            fields["src_ip"] = str(IPv4Address(int(IPv4Address(first)) + host))
        elif kind == "name":
            fields["name"] = ident[:1] + ident[1:]
        else:
            fields["src_number"] = ident[:1] + ident[1:]
        yield msgspec.convert({"call_id": f"{kind}-{place}", **fields}, Request)


class Plain:
    """Finds the account of a request with plain dicts. Benchmarks check answers against it.

    It supports only these books: no constraint except tech prefixes, one ident per account, all accounts enabled.
    """

    def __init__(self, accounts: list[Account]) -> None:
        self._texts: dict[tuple[IdentBy, str], list[Account]] = {}
        self._networks: dict[int, dict[int, list[Account]]] = {}
        """Networks by length, then by the address bits that remain after the host bits are shifted out."""
        for account in accounts:
            ident = account.ident[0]
            if account.ident_by is IdentBy.IP:
                address, _, length = ident.partition("/")
                wide = int(length or 32)
                of_length = self._networks.setdefault(wide, {})
                of_length.setdefault(int(IPv4Address(address)) >> (32 - wide), []).append(account)
            else:
                self._texts.setdefault((account.ident_by, ident), []).append(account)
        self._lengths = sorted(self._networks, reverse=True)

    def account(self, request: Request) -> int | None:
        """Return the id of the account that matches a request, or None."""
        dialled = request.dst_number or ""
        for group in self._groups(request):
            fitting = [account for account in group if dialled.startswith(account.tech_prefix or "")]
            if fitting:
                return max(fitting, key=lambda account: len(account.tech_prefix or "")).id
        return None

    def _groups(self, request: Request) -> Iterator[list[Account]]:
        if request.name is not None:
            yield self._texts.get((IdentBy.NAME, request.name), [])
        if request.src_ip is not None:
            address = int(IPv4Address(request.src_ip))
            for length in self._lengths:
                yield self._networks[length].get(address >> (32 - length), [])
        if request.src_number is not None:
            yield self._texts.get((IdentBy.ANI, request.src_number), [])
