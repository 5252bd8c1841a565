"""The engine: not ready, faults, codes, batches. The property tests check its decisions against the spec."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from identengine.calls.backend import EncodedDecision, LegResult, Settings, in_parts
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import EngineAnswer, EngineRequest, Method
from identengine.engine.settings import EngineSettings
from identengine.errors import StoreError
from identengine.identify import builder
from identengine.identify.explain import Explanation
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.model.records import (
    Account,
    CallRequest,
    Client,
    ClientStatus,
    Decision,
    IdentBy,
    Request,
    SrcPolicy,
)

OPTIONS = IdentifyOptions()
CLIENT = Client(id=1, name="one")
ACCOUNT = Account(id=17, client_id=1, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",))
REQUEST = Request(src_ip="10.0.0.5", dst_number="44")


def engine_of(*accounts: Account, reasons: ReasonTable | None = None) -> Engine:
    engine = Engine(EngineSettings(reasons=reasons or ReasonTable()))
    engine.take_up(builder.build(OPTIONS, 7, bytes(32), [CLIENT], accounts, []))
    return engine


def test_before_the_first_book_every_answer_is_not_ready() -> None:
    engine = Engine()
    expected = Decision(accepted=False, reason="not_ready", sip_code=503, q850=42)
    assert engine.authorize(REQUEST, OPTIONS) == expected
    assert engine.explain(REQUEST, OPTIONS).decision.reason == "not_ready"


@pytest.mark.parametrize("method", ["start", "update"])
def test_a_report_before_the_first_book_must_be_repeated(method: Method) -> None:
    engine = Engine(calls=Calls(Settings(), _Mirror()))

    def report(call_id: str, **fields: Any) -> EngineAnswer:
        request = CallRequest(call_id=call_id, **fields)
        (answer,) = engine.decide([EngineRequest(method, request, OPTIONS, Asker("s", "s"))], 1.0)
        return answer

    answer = report("a", src_ip="10.0.0.5", dst_number="44")
    assert isinstance(answer, Explanation)
    assert answer.decision.reason == "not_ready"
    assert report("a") == LegResult(True, unknown=True), "it has no fields that a book could identify"
    engine.take_up(builder.build(OPTIONS, 7, bytes(32), [CLIENT], [ACCOUNT], []))
    assert report("a", src_ip="10.0.0.5", dst_number="44") == LegResult(True)
    engine.take_up(None)
    assert report("a", src_ip="10.0.0.5", dst_number="44") == LegResult(True), "the set of calls knows it"
    assert not engine.faults


def test_a_fault_accepts_nobody_and_is_kept_for_the_log() -> None:
    named = Account(id=1, client_id=1, name="A", ident_by=IdentBy.NAME, ident=("bob",), password="enc:no key")
    engine = engine_of(named, ACCOUNT)
    asks = [EngineRequest("authorize", Request(name="bob", password="x", dst_number="44"), OPTIONS)]
    asks.append(EngineRequest("authorize", REQUEST, OPTIONS))
    faulty, good = engine.decide(asks)
    assert isinstance(faulty, Decision)
    assert (faulty.accepted, faulty.reason, faulty.sip_code, faulty.version) == (False, "internal_error", 500, 7)
    assert isinstance(good, Decision)
    assert good.accepted
    assert "no key" in str(engine.faults.pop())


@pytest.mark.parametrize(
    "broken", ["identengine.identify.policy.shown_number", "identengine.identify.matching.identify"]
)
@pytest.mark.parametrize("method", ["authorize", "identify", "explain"])
def test_each_request_that_met_a_fault_has_it_logged_once(
    method: Method, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policed = msgspec.structs.replace(ACCOUNT, src_policy=SrcPolicy.REJECT)
    engine = engine_of(policed)

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(broken, fail)
    (answer,) = engine.decide([EngineRequest(method, REQUEST, OPTIONS)])
    decision = answer.decision if isinstance(answer, Explanation) else answer
    assert isinstance(decision, Decision)
    assert decision.reason == "internal_error"
    assert engine.faults.total == 1
    assert str(engine.faults.pop()) == "a fault"


def test_codes_can_be_changed_for_all_and_for_one_account() -> None:
    reasons = ReasonTable(
        {Reason.UNKNOWN_SOURCE: Codes(404, 1, 1)},
        {17: {Reason.INVALID_DESTINATION: Codes(604, 1, 9)}},
    )
    engine = engine_of(ACCOUNT, reasons=reasons)
    assert engine.authorize(Request(src_ip="10.0.0.6", dst_number="44"), OPTIONS).sip_code == 404
    assert engine.authorize(Request(src_ip="10.0.0.5"), OPTIONS).sip_code == 604
    # An invalid number is rejected before any account is found.
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
            r"account 17: expected a chain of at most 32 clients, got more \(1 → 2 → .* → …\)\. Change",
        ),
        # All its resellers exist, in no order.
        ([Client(id=n, name="c", parent_id=n % 100_000 + 1) for n in range(100_000, 0, -1)], "got more"),
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
        assert [most for _, most, _ in book.clients[1].originating.limits] == [*range(1, 33)]
        too_deep = Client(id=40, name="c", parent_id=1)
        below = msgspec.structs.replace(other, id=9, client_id=40)
        with pytest.raises(StoreError, match=r"account 9: expected a chain of at most 32 clients"):
            builder.build(OPTIONS, 1, bytes(32), [*clients, too_deep], [*accounts, below], [])


def test_clients_in_a_long_chain_cost_no_more_than_others() -> None:
    """An older program accepted such a chain. A tuple of all resellers for each client would take 3 GB."""
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

    room_left = RoomLeft.AMPLE
    generation = 0

    def complete(self) -> None:
        pass

    def write(self, changes: Changes) -> None:
        pass


def test_a_fault_counts_only_where_somebody_is_answered_with_it() -> None:
    account = Account(id=1, client_id=1, name="a", ident_by=IdentBy.IP, ident=("10.0.0.5",))
    sealed = msgspec.structs.replace(account, password="enc:no such key")
    clients, options = [Client(id=1, name="c")], IdentifyOptions()
    engine = Engine(calls=Calls(Settings(), _Mirror()))

    def authorize(call_id: str, now: float) -> Decision:
        request = Request(call_id=call_id, src_ip="10.0.0.5", dst_number="44", password="p")
        (answer,) = engine.decide([EngineRequest("authorize", request, options, Asker("s", "s"))], now)
        assert isinstance(answer, Decision | EncodedDecision)
        return answer.decision() if isinstance(answer, EncodedDecision) else answer

    engine.take_up(builder.build(options, 1, bytes(32), clients, [account], []))
    first = authorize("held", 1.0)
    engine.take_up(builder.build(options, 2, bytes(32), clients, [sealed], []))
    assert authorize("held", 2.0) == first
    assert engine.faults.total == 0
    assert authorize("new", 3.0).reason == "internal_error"
    assert engine.faults.total == 1


def test_a_reject_is_of_the_first_step_that_fails_in_the_order_of_the_specification() -> None:
    """At first each step rejects. Each repair reveals the reject of the next step (engine.md 6)."""
    account = Account(
        id=1,
        client_id=1,
        name="a",
        ident_by=IdentBy.IP,
        ident=("10.0.0.5",),
        password="enc:no such key",
        tech_prefix="77",
        src_policy=SrcPolicy.REJECT,
        orig_cps=0.0,
        orig_capacity=0,
    )
    client = Client(id=1, name="c", status=ClientStatus.BLOCKED)
    options = IdentifyOptions(require_password=True)
    engine = Engine(EngineSettings(require_call_id=True), Calls(Settings(), _Mirror()))
    request = Request(src_ip="10.0.0.6:1", dst_number="77")

    def reason(**changed: object) -> str | None:
        nonlocal request
        request = msgspec.structs.replace(request, **changed)
        engine.take_up(builder.build(options, 1, bytes(32), [client], [account], []))
        (answer,) = engine.decide([EngineRequest("authorize", request, options, Asker("s", "s"))], 1.0)
        assert isinstance(answer, Decision | EncodedDecision)
        return in_parts(answer).reason

    assert reason(dst_number="\t") == "invalid_destination"
    assert reason(dst_number="77") == "invalid_request", "the address"
    assert reason(src_ip="10.0.0.6") == "invalid_request", "the call id"
    assert reason(call_id="c") == "unknown_source"
    assert reason(src_ip="10.0.0.5") == "auth_required"
    account = msgspec.structs.replace(account, password=None)
    assert reason() == "client_blocked"
    client = Client(id=1, name="c")
    assert reason() == "invalid_destination", "nothing is left after the tech prefix"
    assert reason(dst_number="7744") == "src_not_allowed"
    account = msgspec.structs.replace(account, src_policy=SrcPolicy.ALLOW_ANY)
    assert reason() == "cps_exceeded"
    account = msgspec.structs.replace(account, orig_cps=None)
    assert reason() == "account_capacity"
    account = msgspec.structs.replace(account, orig_capacity=1)
    assert reason() is None
    account = msgspec.structs.replace(account, orig_enabled=False)
    assert reason() is None, "a retransmission has its first answer, although the decision would differ now"
    assert reason(src_number="3") == "account_disabled"


def test_settings_hold_from_the_next_batch_on() -> None:
    engine = engine_of(ACCOUNT)
    unknown = Request(src_ip="10.0.0.6", dst_number="44")
    old = engine.settings
    assert engine.authorize(unknown, OPTIONS).sip_code == 403
    reasons = ReasonTable({Reason.UNKNOWN_SOURCE: Codes(404, 1, 1)})
    engine.settings = msgspec.structs.replace(old, reasons=reasons, require_call_id=True)
    assert engine.authorize(msgspec.structs.replace(unknown, call_id="c"), OPTIONS).sip_code == 404
    assert engine.authorize(REQUEST, OPTIONS).field == "call_id"
    assert engine.identify(REQUEST, OPTIONS).accepted, "what takes no slot needs no call id"
    engine.settings = old
    assert engine.authorize(REQUEST, OPTIONS).accepted
