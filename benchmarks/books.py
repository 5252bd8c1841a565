"""Large, realistic books, the same for the same seed and size, with requests whose answers are known.

The mix is that of a wholesale carrier: 60 % single addresses, 25 % networks (/29 to /24, a few wide ones),
15 % names and ANIs; half of the addresses are shared by accounts that a tech prefix tells apart. Numbers are
of real numbering plans (``phonenumbers``), with made-up ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

import msgspec
import phonenumbers

from identengine.model import Account, Client, Did, IdentBy, Request, SrcPolicy

ACCOUNTS_PER_CLIENT = 4
TECH_PREFIXES = ("", "1001#", "1002#", "2#", "77", "7701", "99#", "990")
WIDE = ((8, 1), (12, 2), (16, 5), (20, 12))
"""Lengths of wide networks, and how many of each a book has."""


class Book(NamedTuple):
    """Rows of a book, and requests of each kind with the account that they are of (None: of none)."""

    clients: list[Client]
    accounts: list[Account]
    dids: list[Did]
    requests: dict[str, list[tuple[Request, int | None]]]


def make(accounts: int, seed: int = 1, requests: int = 2000) -> Book:
    """Return a book of that many accounts and ``requests`` requests of each kind.

    Kinds: ``single``, ``network``, ``name``, ``ani`` hit an account of that kind; ``miss`` hits none.
    """
    random = Random(seed)
    clients = [
        Client(
            id=number,
            name=f"Carrier {number}",
            # One in ten is a customer of a reseller among the first of the book.
            parent_id=random.randint(1, number // 2) if number > 10 and random.random() < 0.1 else None,
            rate_table=f"rates-{number % 50}",
            routing_plan=f"plan-{number % 20}",
            capacity=random.choice((100, 500, 2000)),
        )
        for number in range(1, accounts // ACCOUNTS_PER_CLIENT + 2)
    ]
    rows = list(_accounts(accounts, random, len(clients)))
    dids = [
        Did(number=number_of(random), account_id=account.id)
        for account in rows
        if account.src_policy is not SrcPolicy.ALLOW_ANY
        for _ in range(3)
    ]
    unique = {did.number: did for did in dids}
    expected = _Linear(rows)
    asked = {
        kind: [(request, expected.account(request)) for request in _requests(kind, rows, random, requests)]
        for kind in ("single", "network", "name", "ani")
    }
    asked["miss"] = [
        (
            Request(
                call_id=f"miss-{number}",
                src_ip=f"198.18.{number >> 8 & 255}.{number & 255}",
                name=f"nobody-{number}",
                src_number="0" + number_of(random),  # no number of a plan begins so, hence no ANI
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
    return prefix + "".join(random.choice("0123456789") for _ in range(length - len(prefix)))


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


def _accounts(count: int, random: Random, clients: int) -> Iterator[Account]:
    number = 0
    singles = _addresses(random)
    networks = _networks(random)
    names = 0
    anis: set[str] = set()
    while number < count:
        share = random.random()
        sharing = random.choice((2, 3, 4)) if random.random() < 0.27 else 1  # half of the addresses' accounts
        if share < 0.60 / 1.5:
            kind, ident = IdentBy.IP, next(singles)
        elif share < 0.85 / 1.5:
            kind, ident = IdentBy.IP, next(networks)
        else:
            sharing = 1
            kind = IdentBy.NAME if share < 0.97 else IdentBy.ANI
            names += 1
            ident = f"trunk-{names}" if kind is IdentBy.NAME else number_of(random)
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
                ident_by=kind,
                ident=(ident,),
                tech_prefix=tech_prefix or None,
                orig_rate_table=f"rates-{number % 50}" if number % 3 == 0 else None,
                orig_capacity=random.choice((10, 30, 100, 1000)),
                src_policy=SrcPolicy.OVERWRITE if number % 10 == 0 else SrcPolicy.ALLOW_ANY,
            )


def _addresses(random: Random) -> Iterator[str]:
    """Yield distinct single addresses, most of them in the space of hosting and carriers, scattered."""
    seen = set()
    while True:
        address = random.randint(0x0B000000, 0xC5FFFFFF)
        if address not in seen:
            seen.add(address)
            yield str(IPv4Address(address))


def _networks(random: Random) -> Iterator[str]:
    """Yield distinct networks; they nest where chance has it."""
    seen = set()
    for length, count in WIDE:
        for _ in range(count):
            yield f"{IPv4Address(random.randint(11, 190) << 24 >> (32 - length) << (32 - length))}/{length}"
    while True:
        length = random.choices((29, 28, 27, 26, 25, 24), (40, 20, 12, 10, 6, 12))[0]
        address = random.randint(0x0B000000, 0xC5FFFFFF) >> (32 - length) << (32 - length)
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
    """Yield requests of fresh strings, so that no look-up finds the very object that is the key."""
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


class _Linear:
    """Finds the account of a request by the plainest walk over dicts: what benchmarks check answers against.

    Only for these books: no constraint but tech prefixes, one ident an account, everybody enabled.
    """

    def __init__(self, accounts: list[Account]) -> None:
        self._by_ident: dict[tuple[IdentBy, str], list[Account]] = {}
        for account in accounts:
            ident = account.ident[0]
            if account.ident_by is IdentBy.IP and "/" not in ident:
                ident += "/32"
            self._by_ident.setdefault((account.ident_by, ident), []).append(account)

    def account(self, request: Request) -> int | None:
        for key in self._keys(request):
            fitting = [
                account
                for account in self._by_ident.get(key, ())
                if (request.dst_number or "").startswith(account.tech_prefix or "")
            ]
            if fitting:
                return max(fitting, key=lambda account: len(account.tech_prefix or "")).id
        return None

    def _keys(self, request: Request) -> Iterator[tuple[IdentBy, str]]:
        if request.name is not None:
            yield IdentBy.NAME, request.name
        if request.src_ip is not None:
            address = int(IPv4Address(request.src_ip))
            for length in range(32, -1, -1):
                yield IdentBy.IP, f"{IPv4Address(address >> (32 - length) << (32 - length))}/{length}"
        if request.src_number is not None:
            yield IdentBy.ANI, request.src_number
