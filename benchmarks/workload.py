"""The calls that all servers are asked about, the engine and its peers: each is authorized and stopped once.

The book is that of :mod:`benchmarks.books` with every address in 127.0.0.0/8, but none in 127.0.0.x. So a server
that looks at the source of a packet can be asked from the real address. Every account has a capacity. Calls are
spread evenly over the accounts. A plain walk over dicts found the account of each call.

A call carries the fields that a switch would send. It always has the address. It has a name or a calling number
only if its account is identified by one.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Address
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from benchmarks import books
from identengine.model.records import Account, IdentBy, Request

ACCOUNTS = 100_000
CALLS = 200_000
HELD = 1_000
"""Number of calls that are held between their authorization and their stop, unless a benchmark names another."""
_TRIES = 200
_ELSEWHERE = 0x7FF00000, 0x7FFEFFFF
"""127.240.0.0 to 127.254.255.255, outside of all networks of the book.

Calls that are identified by name or number come from here.
"""


class Call(NamedTuple):
    """One call, its account, and the exact key under which a peer finds that account."""

    request: Request
    """Parameters of ``authorize``. Each text is an object of its own."""
    account_id: int
    key: str
    """The address, name or calling number of the call, always the same for one account."""
    tech_prefix: str
    """Digits before the dialled number, empty if the account has none."""


class Workload(NamedTuple):
    """A book and calls of its accounts."""

    book: books.Book
    calls: list[Call]


Method: TypeAlias = Literal["authorize", "start", "update", "stop"]


class Life(NamedTuple):
    """The life of each call, counted in the calls that are authorized meanwhile."""

    held: int = HELD
    """Number of calls that are held at a time. With 0, the stop follows the authorization at once."""
    between: tuple[Method, ...] = ()
    """Messages between the authorization and the stop, evenly spaced over the life of the call."""
    scattered: bool = False
    """True if lives differ at random (exponentially) around their mean, which ``held`` is then."""

    def length(self, random: Random) -> int:
        """Return the length of one life."""
        return int(random.expovariate(1 / self.held)) if self.scattered and self.held else self.held


class Step(NamedTuple):
    """One request, in the order of sending."""

    place: int
    """Index of the call in ``Workload.calls``. All steps of a call use the same lane."""
    call: Call
    method: Method


def add_sizes(parser: ArgumentParser) -> None:
    """Add the options for the size of the workload. :func:`sizes` reads them."""
    parser.add_argument("--accounts", type=int)
    parser.add_argument("--calls", type=int)


def sizes(given: Namespace, accounts: int, calls: int) -> tuple[int, int]:
    """Return the number of accounts and calls. ``accounts`` and ``calls`` are the defaults with ``--quick``."""
    wanted = (accounts, calls) if given.quick else (ACCOUNTS, CALLS)
    return given.accounts or wanted[0], given.calls or wanted[1]


def make(accounts: int = ACCOUNTS, calls: int = CALLS, seed: int = 1) -> Workload:
    """Return a book and distinct calls spread evenly over its accounts, in random order.

    An account that nested networks hide completely gets no calls (a handful in 100,000).
    """
    random = Random(seed)
    book = books.make(accounts, seed, requests=0, space=books.LOOPBACK)
    plain = books.Plain(book.accounts)
    keys: dict[int, str | None] = {}
    made: list[Call] = []
    asked = [*book.accounts]
    while len(made) < calls:
        random.shuffle(asked)
        for account in asked[: 2 * calls]:
            if account.id not in keys:
                keys[account.id] = _key(account, plain, random)
            key = keys[account.id]
            if key is not None and len(made) < calls:
                made.append(_call(account, key, len(made), plain, random))
    return Workload(book, made)


def order(calls: list[Call], life: Life = Life()) -> Iterator[Step]:  # noqa: B008 - it is frozen
    """Yield the steps of all calls: an authorization in turn, and after it each step that is due.

    After the last step all calls have ended, so the order can be repeated.
    """
    random = Random(len(calls))
    methods: tuple[Method, ...] = (*life.between, "stop")
    due: list[tuple[int, int, int]] = []  # time, place of the call, index of the method
    for place, call in enumerate(calls):
        yield Step(place, call, "authorize")
        length = life.length(random)
        for index in range(len(methods)):
            heappush(due, (place + length * (index + 1) // len(methods), place, index))
        while due and due[0][0] <= place:
            yield _due(calls, methods, due)
    while due:
        yield _due(calls, methods, due)


def _due(calls: list[Call], methods: tuple[Method, ...], due: list[tuple[int, int, int]]) -> Step:
    """Remove the first step that is due, and return it."""
    _, place, index = heappop(due)
    return Step(place, calls[place], methods[index])


def _key(account: Account, plain: books.Plain, random: Random) -> str | None:
    """Return the key of an account's calls, or None if other accounts own every address of its network."""
    ident = account.ident[0]
    if account.ident_by is not IdentBy.IP:
        return ident
    first, _, length = ident.partition("/")
    for _ in range(_TRIES):
        host = random.randrange(1 << (32 - int(length or 32)))
        key = str(IPv4Address(int(IPv4Address(first)) + host))
        # A number that begins with no tech prefix except the account's own.
        request = Request(src_ip=key, dst_number=(account.tech_prefix or "") + "44")
        if plain.account(request) == account.id:
            return key
        if not length:
            break
    return None


def _call(account: Account, key: str, place: int, plain: books.Plain, random: Random) -> Call:
    tech_prefix = account.tech_prefix or ""
    by = account.ident_by
    while True:
        src_ip = key if by is IdentBy.IP else str(IPv4Address(random.randint(*_ELSEWHERE)))
        request = Request(
            call_id=f"{place:08x}-{random.getrandbits(32):08x}@{src_ip}",
            src_ip=src_ip,
            name=key[:1] + key[1:] if by is IdentBy.NAME else None,
            src_number=key[:1] + key[1:] if by is IdentBy.ANI else books.number_of(random),
            dst_number=tech_prefix + books.number_of(random),
        )
        if (
            plain.account(request) == account.id
        ):  # or the number begins with another account's tech prefix by chance
            return Call(request, account.id, key, tech_prefix)
