"""Chains: accounts that are equal in everything except the id; their number costs no time (engine.md 3.4)."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from unittest import mock

import msgspec
import pytest

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.identify import chains
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy, Request

MANY = 10_000
ADDRESS = "10.0.0.1"
CLIENTS = [Client(id=1, name="one"), Client(id=2, name="two")]
CALL = Request(src_ip=ADDRESS, dst_number="44171", src_port=5060, protocol="sip", gateway="g1", name="guest")


def tied(number: int, **columns: object) -> Account:
    return Account(id=number, client_id=1, name=f"tied {number}", **columns)  # type: ignore[arg-type]  # columns of an account


KINDS: dict[str, tuple[IdentifyOptions, dict[str, object]]] = {
    "address": (IdentifyOptions(), {"ident_by": IdentBy.IP, "ident": (ADDRESS,)}),
    "port": (IdentifyOptions(), {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "term_port": 5060}),
    "gateway": (IdentifyOptions(), {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "gateways": ("g1", "g2")}),
    "any port": (
        IdentifyOptions(match_port="never"),
        {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "term_port": 5061, "term_protocol": "sip"},
    ),
    "any protocol": (
        IdentifyOptions(match_protocol="never"),
        {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "term_port": 5060, "term_protocol": "h323"},
    ),
    "name": (IdentifyOptions(passwordless_name="normal"), {"ident_by": IdentBy.NAME, "ident": ("guest",)}),
    "required password": (
        IdentifyOptions(require_password=True),
        {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "password": "enc:x"},
    ),
    "strict": (IdentifyOptions(strict_ambiguity=True), {"ident_by": IdentBy.IP, "ident": (ADDRESS,)}),
    "near miss": (
        IdentifyOptions(match_port="never"),
        {"ident_by": IdentBy.IP, "ident": (ADDRESS,), "term_port": 1, "term_protocol": "h323"},
    ),
}


class Opened:
    """A vault whose passwords are in clear."""

    def reveal(self, token: str) -> str:
        return token.removeprefix("enc:")


def engine_of(options: IdentifyOptions, accounts: list[Account]) -> Engine:
    engine = Engine(EngineSettings(vault=Opened()))  # type: ignore[arg-type]  # it reveals as a vault does
    engine.take_up(build(options, 1, bytes(32), CLIENTS, accounts, []))
    return engine


def cost(work: Callable[[], object]) -> float:
    """Return the processor time of some work, in microseconds: the least of several."""
    gc.disable()
    try:
        times = []
        for _ in range(5):
            began = time.process_time_ns()
            work()
            times.append(time.process_time_ns() - began)
        return min(times) / 1000
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_one_decision_over_many_ties_costs_as_much_as_over_few(kind: str) -> None:
    """It took 3.6 ms, so an array of 300 requests held the decider for a second."""
    options, columns = KINDS[kind]
    engine = engine_of(options, [tied(number, **columns) for number in range(1, MANY + 1)])
    few = engine_of(options, [tied(number, **columns) for number in range(1, 31)])
    assert engine.identify(CALL, options) == few.identify(CALL, options)
    assert cost(lambda: engine.identify(CALL, options)) < 200


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_of_many_ties_looks_at_those_that_it_shows(kind: str) -> None:
    """It took 15.5 ms."""
    options, columns = KINDS[kind]
    engine = engine_of(options, [tied(number, **columns) for number in range(1, MANY + 1)])
    few = engine_of(options, [tied(number, **columns) for number in range(1, 301)])
    found = engine.explain(CALL, options)
    assert (found.cut, len(found.candidates)) == (True, 250)
    assert found == few.explain(CALL, options)
    assert cost(lambda: engine.explain(CALL, options)) < 5000


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("match_port", ["always", "never"])
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("password", [None, "p3", "wrong"])
def test_the_look_up_decides_as_the_trial_of_each_account(
    strict: bool, match_port: str, required: bool, password: str | None
) -> None:
    options = IdentifyOptions(strict_ambiguity=strict, match_port=match_port, require_password=required)  # type: ignore[arg-type]  # a literal
    accounts = [
        Account(
            id=number,
            client_id=1 + (number > second),
            name=str(number),
            ident_by=IdentBy.IP,
            ident=(f"10.0.{second}.1",),
            password=f"enc:p{number % 7}" if number % 3 else None,
            term_port=None if second % 2 else 5060 + number % 2,
        )
        for second in (3, 12, 24, 99)
        for number in range(second * 100, second * 100 + 20)
    ] + [
        Account(id=number, client_id=1 + number % 2, name=str(number), ident_by=IdentBy.IP, ident=("10.0.1.1",))
        for number in range(1, 20)
    ]
    indexed = engine_of(options, accounts)
    with mock.patch.object(chains, "INDEXED_FROM", 1000):
        tried = engine_of(options, accounts)
    for second in (1, 3, 12, 24, 99):
        for port in (None, 5060, 5061, 7):
            call = Request(src_ip=f"10.0.{second}.1", dst_number="44", src_port=port, password=password)
            assert indexed.explain(call, options) == tried.explain(call, options)


def test_the_gateway_of_the_request_decides_if_accounts_are_equal() -> None:
    options = IdentifyOptions(strict_ambiguity=True)
    columns: dict[str, object] = {"ident_by": IdentBy.IP, "ident": (ADDRESS,)}
    engine = engine_of(
        options,
        [
            tied(1, gateways=("g1", "g2"), **columns),
            msgspec.structs.replace(tied(2, gateways=("g2", "g3"), **columns), client_id=2),
        ],
    )
    decided = {
        gateway: engine.identify(msgspec.structs.replace(CALL, gateway=gateway), options)
        for gateway in ("g1", "g2", "g3", "g4")
    }
    assert {gateway: decision.account_id or decision.reason for gateway, decision in decided.items()} == {
        "g1": 1,
        "g2": "ambiguous",
        "g3": 2,
        "g4": "gateway_mismatch",
    }
    assert not decided["g1"].ambiguous


def test_a_switch_that_ignores_the_port_sees_accounts_as_equal_that_differ_in_it() -> None:
    options = IdentifyOptions()
    columns: dict[str, object] = {"ident_by": IdentBy.IP, "ident": (ADDRESS,)}
    engine = engine_of(options, [tied(2, term_port=5060, **columns), tied(1, **columns)])
    assert engine.identify(CALL, options).account_id == 2
    decision = engine.identify(CALL, options.for_switch("never", None))
    assert (decision.account_id, decision.ambiguous) == (1, True)
