"""What only the engine knows: not ready, faults, codes, batches. Decisions are held to the spec by properties."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from identengine.calls.backend import Grant
from identengine.calls.memory import Calls, Changes, Settings
from identengine.engine.core import Ask, Engine
from identengine.engine.lifecycle import Asker
from identengine.errors import StoreError
from identengine.identify import builder
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.model.records import Account, Client, Decision, IdentBy, Request

OPTIONS = IdentifyOptions()
CLIENT = Client(id=1, name="one")
ACCOUNT = Account(id=17, client_id=1, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",))
REQUEST = Request(src_ip="10.0.0.5", dst_number="44")


def engine_of(*accounts: Account, reasons: ReasonTable | None = None) -> Engine:
    engine = Engine(reasons or ReasonTable(), None)
    engine.take_up(builder.build(OPTIONS, 7, bytes(32), [CLIENT], accounts, []))
    return engine


def test_before_the_first_book_every_answer_is_not_ready() -> None:
    engine = Engine(ReasonTable(), None)
    expected = Decision(accepted=False, reason="not_ready", sip_code=503, q850=42)
    assert engine.authorize(REQUEST, OPTIONS) == expected
    assert engine.explain(REQUEST, OPTIONS).decision.reason == "not_ready"


def test_a_fault_accepts_nobody_and_is_kept_for_the_log() -> None:
    named = Account(id=1, client_id=1, name="A", ident_by=IdentBy.NAME, ident=("bob",), password="enc:no key")
    engine = engine_of(named, ACCOUNT)
    asks = [Ask("authorize", Request(name="bob", password="x", dst_number="44"), OPTIONS)]
    asks.append(Ask("authorize", REQUEST, OPTIONS))
    faulty, good = engine.decide(asks)
    assert isinstance(faulty, Decision)
    assert (faulty.accepted, faulty.reason, faulty.sip_code, faulty.version) == (False, "internal_error", 500, 7)
    assert isinstance(good, Decision)
    assert good.accepted
    assert "no key" in str(engine.faults.pop())


def test_codes_can_be_changed_for_all_and_for_one_account() -> None:
    reasons = ReasonTable(
        {Reason.UNKNOWN_SOURCE: Codes(404, 1, 1)},
        {17: {Reason.INVALID_DESTINATION: Codes(604, 1, 9)}},
    )
    engine = engine_of(ACCOUNT, reasons=reasons)
    assert engine.authorize(Request(src_ip="10.0.0.6", dst_number="44"), OPTIONS).sip_code == 404
    assert engine.authorize(Request(src_ip="10.0.0.5"), OPTIONS).sip_code == 604
    # An invalid number is refused before any account was found.
    assert engine.authorize(Request(src_ip="10.0.0.5", dst_number="\t"), OPTIONS).sip_code == 484


def test_every_reason_has_codes() -> None:
    assert {reason: ReasonTable().codes(reason).sip_code // 100 for reason in Reason}.keys() == set(Reason)


def test_authorize_says_that_nothing_was_reserved_and_identify_says_nothing() -> None:
    engine = engine_of(ACCOUNT)
    assert engine.authorize(REQUEST, OPTIONS).unreserved is True
    assert engine.identify(REQUEST, OPTIONS).unreserved is None


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ([], "client 1 does not exist"),
        ([Client(id=1, name="a", parent_id=2), Client(id=2, name="b", parent_id=1)], "is its own reseller"),
        (
            [Client(id=n, name="c", parent_id=n + 1) for n in range(1, 33)] + [Client(id=33, name="c")],
            r"account 17: its client and the resellers above it are more than 32 \(1 below 2 below .* below …\)",
        ),
        # All above it exist, in no order.
        ([Client(id=n, name="c", parent_id=n % 100_000 + 1) for n in range(100_000, 0, -1)], "more than 32"),
    ],
)
def test_a_book_that_hangs_together_badly_is_not_built(clients: list[Client], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        builder.build(OPTIONS, 1, bytes(32), clients, [ACCOUNT], [])


def test_a_chain_of_resellers_that_is_just_short_enough() -> None:
    clients = [Client(id=n, name="c", parent_id=n + 1 if n < 32 else None, capacity=n) for n in range(1, 33)]
    other = Account(id=8, client_id=5, name="b", ident_by=IdentBy.IP, ident=("10.0.0.8",))
    for accounts in ([ACCOUNT, other], [other, ACCOUNT]):
        book = builder.build(OPTIONS, 1, bytes(32), clients, accounts, [])
        assert [most for _, most, _ in book.owners[1].originating.limits] == [*range(1, 33)]
        too_deep = Client(id=40, name="c", parent_id=1)
        below = msgspec.structs.replace(other, id=9, client_id=40)
        with pytest.raises(StoreError, match=r"account 9: .* more than 32"):
            builder.build(OPTIONS, 1, bytes(32), [*clients, too_deep], [*accounts, below], [])


def test_clients_in_a_long_chain_cost_no_more_than_others() -> None:
    """A chain that an older program let in: tuples of all above each would take 3 GB, 80 GB at 100,000."""
    count = 20_000
    clients = [Client(id=n, name="c", parent_id=n - 1 or None) for n in range(1, count + 1)]
    accounts = [
        Account(id=n, client_id=n, name="a", ident_by=IdentBy.NAME, ident=("a",)) for n in range(1, count + 1)
    ]
    made = builder.BookBuilder(OPTIONS, 1, bytes(32))
    for client in clients:
        made.add_client(client)
    refused = 0
    tracemalloc.start()
    for account in accounts:
        try:
            made.add_account(account)
        except StoreError:
            refused += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused == count - 32
    assert peak < 1 << 20


class _Mirror:
    """A mirror that keeps nothing."""

    crowded = tight = False

    def write(self, changes: Changes) -> None:
        pass


def test_a_fault_counts_only_where_somebody_is_answered_with_it() -> None:
    account = Account(id=1, client_id=1, name="a", ident_by=IdentBy.IP, ident=("10.0.0.5",))
    sealed = msgspec.structs.replace(account, password="enc:no such key")
    clients, options = [Client(id=1, name="c")], IdentifyOptions()
    engine = Engine(ReasonTable(), None, Calls(Settings(), _Mirror()))

    def authorize(call_id: str, now: float) -> Decision:
        request = Request(call_id=call_id, src_ip="10.0.0.5", dst_number="44", password="p")
        (answer,) = engine.decide([Ask("authorize", request, options, Asker("s", "s"))], now)
        assert isinstance(answer, Decision | Grant)
        return answer.decision() if isinstance(answer, Grant) else answer

    engine.take_up(builder.build(options, 1, bytes(32), clients, [account], []))
    first = authorize("held", 1.0)
    engine.take_up(builder.build(options, 2, bytes(32), clients, [sealed], []))
    assert authorize("held", 2.0) == first
    assert engine.faults.total == 0
    assert authorize("new", 3.0).reason == "internal_error"
    assert engine.faults.total == 1
