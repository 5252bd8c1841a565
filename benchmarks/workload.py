"""The calls that all servers are asked about, ours and the peers: each is authorized once and stopped once.

The book is that of :mod:`benchmarks.books` with every address in 127.0.0.0/8 (and none in 127.0.0.x), so that a
server which looks at the source of a packet can be asked from the true one. Every account has a capacity. Calls
are spread evenly over the accounts, and which account each is of was found by a plain walk over dicts.

A call says where it comes from as a switch would: the address always; a name or a calling number that is known
only where it is of such an account.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

from benchmarks import books
from identengine.model.records import Account, IdentBy, Request

ACCOUNTS = 100_000
CALLS = 200_000
LAG = 1_000
"""A call is stopped so many calls after it was authorized."""
_TRIES = 200
_ELSEWHERE = 0x7FF00000, 0x7FFEFFFF
"""127.240.0.0 to 127.254.255.255, in no network of the book: where those come from that a name or number tells."""


class Call(NamedTuple):
    """One call, the account that it is of, and what a peer that knows only exact keys finds that one by."""

    request: Request
    """Of ``authorize``; each of its texts is an object of its own."""
    account_id: int
    key: str
    """The address that the call comes from, or the name, or the calling number; of an account always the same."""
    tech_prefix: str
    """What stands before the dialled number; empty where the account has none."""


class Workload(NamedTuple):
    """A book and calls of its accounts."""

    book: books.Book
    calls: list[Call]


class Step(NamedTuple):
    """One request of the order in which they are sent."""

    place: int
    """Of the call, in ``Workload.calls``; what is the same for both of its steps goes by the same lane."""
    call: Call
    stop: bool


def add_sizes(parser: ArgumentParser) -> None:
    """Let a command line say how large the workload is; :func:`sizes` reads it."""
    parser.add_argument("--accounts", type=int)
    parser.add_argument("--calls", type=int)


def sizes(given: Namespace, accounts: int, calls: int) -> tuple[int, int]:
    """Return how many accounts and calls are wanted; with ``--quick``, by default, so many."""
    wanted = (accounts, calls) if given.quick else (ACCOUNTS, CALLS)
    return given.accounts or wanted[0], given.calls or wanted[1]


def make(accounts: int = ACCOUNTS, calls: int = CALLS, seed: int = 1) -> Workload:
    """Return a book of so many accounts, and so many distinct calls spread evenly over them, in random order.

    An account that nested networks hide wholly from the outside gets none (a handful in 100,000).
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


def order(calls: list[Call], lag: int = LAG) -> Iterator[Step]:
    """Yield two steps for each call: it is authorized, and ``lag`` calls later stopped.

    All calls have ended with the last step, so that one may begin again from the first.
    """
    for place, call in enumerate(calls):
        yield Step(place, call, stop=False)
        if place >= lag:
            yield Step(place - lag, calls[place - lag], stop=True)
    for place in range(max(0, len(calls) - lag), len(calls)):
        yield Step(place, calls[place], stop=True)


def _key(account: Account, plain: books.Plain, random: Random) -> str | None:
    """Return what calls of an account come by; None where every address of its network is another's."""
    ident = account.ident[0]
    if account.ident_by is not IdentBy.IP:
        return ident
    first, _, length = ident.partition("/")
    for _ in range(_TRIES):
        host = random.randrange(1 << (32 - int(length or 32)))
        key = str(IPv4Address(int(IPv4Address(first)) + host))
        # A number that no tech prefix begins but its own.
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
        if plain.account(request) == account.id:  # else the number begins like another's tech prefix, by chance
            return Call(request, account.id, key, tech_prefix)
