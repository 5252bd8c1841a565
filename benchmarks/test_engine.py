"""The engine in process, step by step: decode, identify, decide, encode; 1,000 to 1,000,000 accounts.

``pytest benchmarks/test_engine.py [--quick]``. Each round takes all requests of a kind once, in an order in which
no account appears twice in a row. Every answer is checked before the clock starts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import books
from identengine.engine.authorization import Authorization
from identengine.engine.core import Engine
from identengine.engine.requests import EngineRequest
from identengine.engine.settings import EngineSettings
from identengine.engine.usual import Usual
from identengine.identify import builder, matching, policy, query
from identengine.identify.dids import DidTable, pack
from identengine.identify.index import Book
from identengine.identify.matching import Match
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Decision, IdentBy, Request, SrcPolicy
from identengine.model.usual import UsualRequest

OPTIONS = IdentifyOptions(passwordless_name="normal")
BATCH = 16
KINDS = ("single", "network", "name", "ani", "miss")


@cache
def _made(accounts: int) -> tuple[books.Book, Book]:
    made = books.make(accounts)
    built = builder.build(OPTIONS, 1, bytes(32), made.clients, made.accounts, made.dids)
    gc.collect()
    gc.freeze()
    return made, built


def _measure(
    benchmark: BenchmarkFixture, step: str, accounts: int, requests: int, run: Callable[[], object]
) -> None:
    benchmark.extra_info.update(step=step, accounts=accounts, requests=requests)
    benchmark.pedantic(run, rounds=20, warmup_rounds=2)  # type: ignore[no-untyped-call]  # the function of the library has no types


def _reveal(_: str) -> str:
    raise AssertionError("these books hold no passwords")


def test_floor_dict(benchmark: BenchmarkFixture, accounts: int) -> None:
    """The floor: one look-up of a new address text in a plain dict of the same addresses."""
    made, _ = _made(accounts)
    plain = {account.ident[0]: account for account in made.accounts}
    keys = [request.src_ip or "" for request, _ in made.requests["single"]]

    def run() -> None:
        for key in keys:
            plain.get(key)

    assert all(key in plain for key in keys)
    _measure(benchmark, "dict look-up", accounts, len(keys), run)


@pytest.mark.parametrize("kind", ["single", "network", "name", "ani"])
def test_identify_usual(benchmark: BenchmarkFixture, accounts: int, kind: str) -> None:
    """Decoded request to candidate, by the usual way."""
    made, built = _made(accounts)
    usual = Usual()
    usual.use(Authorization(EngineSettings(), built, None))
    requests = [
        (msgspec.convert(request, UsualRequest, from_attributes=True), request.dst_number or "")
        for request, _ in made.requests[kind]
    ]
    for (request, dialled), (_, expected) in zip(requests, made.requests[kind], strict=True):
        found = usual._identify(request, dialled, OPTIONS)
        assert (found[0].entry.account.id if isinstance(found, tuple) else None) == expected, request

    def run() -> None:
        for request, dialled in requests:
            usual._identify(request, dialled, OPTIONS)

    _measure(benchmark, f"identify {kind}, usual way", accounts, len(requests), run)


@pytest.mark.parametrize("kind", KINDS)
def test_identify(benchmark: BenchmarkFixture, accounts: int, kind: str) -> None:
    """Decoded request to match by the general way, normal forms included."""
    made, built = _made(accounts)
    requests = [request for request, _ in made.requests[kind]]

    def one(request: Request) -> Match | object:
        asked = query.read(request, built)
        assert isinstance(asked, Query)
        return matching.identify(built, asked, OPTIONS, _reveal)

    for request, expected in made.requests[kind]:
        found = one(request)
        assert (found.entry.account.id if isinstance(found, Match) else None) == expected, request

    def run() -> None:
        for request in requests:
            one(request)

    _measure(benchmark, f"identify {kind}", accounts, len(requests), run)


@pytest.mark.parametrize("kind", ["single", "miss"])
def test_decide(benchmark: BenchmarkFixture, accounts: int, kind: str) -> None:
    """Whole decisions by the general way in batches of 16: identification, client, strip, Src Policy, answer."""
    made, built = _made(accounts)
    engine = Engine()
    engine.take_up(built)
    asks = [EngineRequest("authorize", request, OPTIONS) for request, _ in made.requests[kind]]
    batches = [asks[start : start + BATCH] for start in range(0, len(asks), BATCH)]
    answers = [answer for batch in batches for answer in engine.decide(batch)]
    for answer, (request, expected) in zip(answers, made.requests[kind], strict=True):
        assert isinstance(answer, Decision)
        assert answer.account_id == expected, request

    def run() -> None:
        for batch in batches:
            engine.decide(batch)

    _measure(benchmark, f"decide {kind}, batches of {BATCH}", accounts, len(asks), run)


@pytest.mark.parametrize("owned", [10, 1_000, 1_000_000])
def test_src_policy(benchmark: BenchmarkFixture, owned: int) -> None:
    """Src Policy ``overwrite``: a foreign number is replaced by one of ``owned`` (engine.md 4.5)."""
    table = DidTable()
    for account_id in (1, 2, 3):
        for run in pack(str(442_000_000 + 3 * number) for number in range(owned)).runs():
            table.add(account_id, run)
    table.seal()
    account = Account(
        id=2, client_id=1, name="a", ident_by=IdentBy.NAME, ident=("a",), src_policy=SrcPolicy.OVERWRITE
    )
    call_ids = [f"call-{number}" for number in range(2000)]
    for call_id in call_ids:
        shown = policy.shown_number(account, "442000001", call_id, table, bytes(32))
        assert isinstance(shown, tuple)
        assert shown[1]
        assert shown[0] is not None
        assert table.of(2).has(shown[0])

    def run_all() -> None:
        for call_id in call_ids:
            policy.shown_number(account, "442000001", call_id, table, bytes(32))

    _measure(benchmark, f"overwrite, {owned:,} DIDs", 0, len(call_ids), run_all)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_decode(benchmark: BenchmarkFixture, form: str) -> None:
    """Bytes of the parameters to a Request."""
    requests = [request for request, _ in _made(1_000)[0].requests["single"]]
    encode = msgspec.json.encode if form == "json" else msgspec.msgpack.encode
    decoder = msgspec.json.Decoder(Request) if form == "json" else msgspec.msgpack.Decoder(Request)
    texts = [encode({name: value for name, value in msgspec.structs.asdict(r).items() if value}) for r in requests]
    assert [decoder.decode(text) for text in texts] == requests

    def run() -> None:
        for text in texts:
            decoder.decode(text)

    _measure(benchmark, f"decode {form}", 0, len(texts), run)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_encode(benchmark: BenchmarkFixture, form: str) -> None:
    """A Decision to bytes in a reused buffer."""
    made, built = _made(1_000)
    engine = Engine()
    engine.take_up(built)
    decisions = [engine.authorize(request, OPTIONS) for request, _ in made.requests["single"]]
    encoder = msgspec.json.Encoder() if form == "json" else msgspec.msgpack.Encoder()
    buffer = bytearray(4096)
    decode = msgspec.json.decode if form == "json" else msgspec.msgpack.decode
    assert [decode(encoder.encode(decision), type=Decision) for decision in decisions] == decisions

    def run() -> None:
        for decision in decisions:
            encoder.encode_into(decision, buffer)

    _measure(benchmark, f"encode {form}", 0, len(decisions), run)
