"""What only the engine knows: not ready, faults, codes, batches. Decisions are held to the spec by properties."""

from __future__ import annotations

import pytest

from identengine import builder
from identengine.engine import Ask, Engine
from identengine.errors import StoreError
from identengine.model import Account, Client, Decision, IdentBy, Request
from identengine.options import IdentifyOptions
from identengine.reasons import Codes, Reason, ReasonTable

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
    ],
)
def test_a_book_that_hangs_together_badly_is_not_built(clients: list[Client], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        builder.build(OPTIONS, 1, bytes(32), clients, [ACCOUNT], [])
