"""Identification alone by the size of the book, compared with a plain dict of the same keys.

``python -m benchmarks.growth [--quick] [--requests N] [--rounds N] [--json FILE]``. It measures in this process
how the usual way and the general way find the account of a decoded request. The general way includes the normal
forms of all fields. Every round decodes its requests again, one batch right before its look-up, as the server
does. So no text has a cached hash, and none is the key object itself. The dict is asked with such texts too. Sizes
alternate, and so do both ways and the dict. Answers are checked before the clock starts.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from random import Random
from statistics import median
from typing import NamedTuple, TypeVar

import msgspec

from benchmarks import books, machine, workload
from benchmarks.results import Column, Results, Row, arguments, publish, today
from identengine.engine.authorization import Authorization
from identengine.engine.settings import EngineSettings
from identengine.engine.usual import Usual
from identengine.identify import builder, matching, query
from identengine.identify.index import Book, Candidate
from identengine.identify.matching import Match
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy, Request
from identengine.model.usual import UsualRequest

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 10_000)
REQUESTS = 50_000
ROUNDS = 9
BATCH = 64
TECH_PREFIXES = ("", "11#", "12#", "13#")
T = TypeVar("T")
OPTIONS = IdentifyOptions(passwordless_name="normal")
COLUMNS = [
    Column("identify", "usual way, µs", 3),
    Column("general", "general way, µs", 3),
    Column("dict", "dict look-up, µs", 3),
    Column("ratio", "usual way to dict", 2),
]


class Subject(NamedTuple):
    """One book as the engine's index and as a dict, with requests for both."""

    case: str
    book: Book
    usual: Usual
    plain: dict[str, int]
    requests: list[bytes]
    """Encoded batches of requests."""
    keys: list[bytes]
    """Encoded batches of the keys under which the dict holds the same accounts."""


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    sizes = QUICK if given.quick else SIZES
    requests = given.requests or (5_000 if given.quick else REQUESTS)
    rounds = given.rounds or (3 if given.quick else ROUNDS)
    subjects = [mixed(size, requests) for size in sizes]
    subjects.append(shared(sizes[-1] if given.quick else 100_000, requests))
    gc.collect()
    gc.freeze()
    others = machine.Others([])
    found = measure(subjects, rounds)
    rows = [Row(subject.case, found[subject.case]) for subject in subjects]
    for row, size in zip(rows, sizes, strict=False):
        row.figures["accounts"] = size  # for the plot; the last subject is another kind of book
    first, last = rows[0].figures, rows[len(sizes) - 1].figures
    added = {name: last[name] - first[name] for name in ("identify", "general", "dict")}
    rows.append(Row(f"added from {sizes[0]:,} to {sizes[-1]:,} accounts", added | {"ratio": _ratio(added)}))
    results = Results(
        name="growth",
        title="Identification alone, by the size of the book",
        method=f"Decoded request to account. {requests:,} requests to accounts in "
        f"random order, decoded {BATCH} at a time right before. {rounds} alternating rounds, processor time, "
        "medians. The dict holds the same addresses, networks, names and numbers as text. It is asked for the "
        "exact key. Every text is a new object.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="book",
        columns=COLUMNS,
        rows=rows,
        caveats=[
            f"Other processes used {others.cores():.2f} cores meanwhile.",
            "The dict of 1,000 keys stays in the processor's cache between batches; the engine's code does not.",
        ],
    )
    publish(results, given.json)


def _ratio(figures: dict[str, float]) -> float:
    return figures["identify"] / figures["dict"]


def mixed(accounts: int, requests: int) -> Subject:
    """Return the book of the side-by-side benchmark in one size."""
    made = workload.make(accounts, requests)
    idents = {account.id: account.ident[0] for account in made.book.accounts}
    asked = [(call.request, call.account_id, idents[call.account_id]) for call in made.calls]
    return _subject(f"{accounts:,} accounts", made.book.clients, made.book.accounts, asked)


def shared(accounts: int, requests: int) -> Subject:
    """Return single addresses, each shared by four accounts that differ by tech prefix."""
    random = Random(1)
    span = range(0x0B000000, 0xC5FFFFFF)
    addresses = [str(IPv4Address(address)) for address in random.sample(span, accounts // len(TECH_PREFIXES))]
    rows = [
        Account(
            id=1 + place,
            client_id=1,
            name=f"account {1 + place}",
            ident_by=IdentBy.IP,
            ident=(addresses[place // len(TECH_PREFIXES)],),
            tech_prefix=TECH_PREFIXES[place % len(TECH_PREFIXES)] or None,
            orig_capacity=100,
        )
        for place in range(accounts)
    ]
    asked = []
    for account in random.sample(rows, min(requests, accounts)):
        # No number of a plan begins with 1 and contains a #, so only the account's own prefix matches.
        dst_number = (account.tech_prefix or "") + books.number_of(random)
        request = Request(src_ip=account.ident[0], src_number=books.number_of(random), dst_number=dst_number)
        asked.append((request, account.id, account.ident[0]))
    clients = [Client(id=1, name="Carrier 1")]
    return _subject(f"{accounts:,} accounts, single addresses with 4 tech prefixes each", clients, rows, asked)


def _subject(
    case: str, clients: list[Client], accounts: list[Account], asked: list[tuple[Request, int, str]]
) -> Subject:
    book = builder.build(OPTIONS, 1, bytes(32), clients, accounts, [])
    usual = Usual()
    usual.use(Authorization(EngineSettings(), book, None))
    for request, account_id, _ in asked:
        found = _by_general_way(book, request)
        assert isinstance(found, Match), request
        assert found.entry.account.id == account_id, request
        candidate = _by_usual_way(usual, msgspec.convert(request, UsualRequest, from_attributes=True))
        assert candidate is not None, request
        assert candidate[0].entry is found.entry, request
    params = [
        {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        for request, _, _ in asked
    ]
    plain = {account.ident[0]: account.id for account in accounts}
    keys = [key for _, _, key in asked]
    assert all(key in plain for key in keys)
    return Subject(case, book, usual, plain, _batches(params), _batches(keys))


def _batches(items: Sequence[object]) -> list[bytes]:
    return [msgspec.msgpack.encode(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def _by_usual_way(usual: Usual, request: UsualRequest) -> tuple[Candidate, str] | None:
    found = usual._identify(request, request.dst_number or "", OPTIONS)
    return found if isinstance(found, tuple) else None


def _by_general_way(book: Book, request: Request) -> object:
    asked = query.read(request, book)
    assert isinstance(asked, Query)
    return matching.identify(book, asked, OPTIONS, _reveal)


def _reveal(_: str) -> str:
    raise AssertionError("these books hold no passwords")


def measure(subjects: list[Subject], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median microseconds per request of each subject, and the median of the rounds' ratios."""
    steps: dict[str, Callable[[Subject], float]] = {
        "identify": _time_usual_way,
        "general": _time_general_way,
        "dict": _time_dict,
    }
    taken: dict[str, dict[str, list[float]]] = {subject.case: {name: [] for name in steps} for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            for name, step in steps.items():
                taken[subject.case][name].append(step(subject) * 1e6)
    return {
        case: {name: median(each[name]) for name in steps}
        | {
            "ratio": median(ours / theirs for ours, theirs in zip(each["identify"], each["dict"], strict=True)),
        }
        for case, each in taken.items()
    }


def _time_usual_way(subject: Subject) -> float:
    return _time(subject.requests, _decode_usual, partial(_by_usual_way, subject.usual))


def _time_general_way(subject: Subject) -> float:
    return _time(subject.requests, _decode_requests, partial(_by_general_way, subject.book))


def _time_dict(subject: Subject) -> float:
    return _time(subject.keys, _decode_keys, subject.plain.get)


def _time(batches: list[bytes], decode: Callable[[bytes], list[T]], look_up: Callable[[T], object]) -> float:
    """Return the seconds of one look-up. A batch is decoded right before its look-up, outside of the timing."""
    taken = count = 0
    for batch in batches:
        items = decode(batch)
        began = time.process_time_ns()
        for item in items:
            look_up(item)
        taken += time.process_time_ns() - began
        count += len(items)
    return taken / count / 1e9


_decode_usual = msgspec.msgpack.Decoder(list[UsualRequest]).decode
_decode_requests = msgspec.msgpack.Decoder(list[Request]).decode
_decode_keys = msgspec.msgpack.Decoder(list[str]).decode


if __name__ == "__main__":
    main()
