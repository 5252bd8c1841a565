from __future__ import annotations

from typing import Any

import msgspec
import pytest

from identengine.engine.core import Engine
from identengine.identify import builder, explain
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, ClientStatus, IdentBy, Request

OPTIONS = IdentifyOptions()


def account(number: int, **fields: object) -> Account:
    given = {"client_id": 1, "name": f"A{number}", "ident_by": IdentBy.IP, "ident": ("10.0.0.5",)} | fields
    return Account(id=number, **given)  # type: ignore[arg-type]  # a test's row: fields by name


def engine_of(*accounts: Account, options: IdentifyOptions = OPTIONS) -> Engine:
    clients = [Client(id=1, name="one"), Client(id=2, name="two", status=ClientStatus.BLOCKED)]
    engine = Engine()
    engine.take_up(builder.build(options, 7, bytes(32), clients, accounts, []))
    return engine


def verdicts(engine: Engine, options: IdentifyOptions = OPTIONS, **fields: object) -> dict[int, str | None]:
    request = Request(**({"src_ip": "10.0.0.5", "dst_number": "44171"} | fields))  # type: ignore[arg-type]
    explanation = engine.explain(request, options)
    assert explanation.decision == engine.identify(request, options)
    shown = [candidate.account_id for candidate in explanation.candidates]
    assert len(shown) == len(set(shown))
    return {candidate.account_id: candidate.ruled_out_by for candidate in explanation.candidates}


def test_each_candidate_names_the_first_thing_that_ruled_it_out() -> None:
    engine = engine_of(
        account(1),
        account(2),
        account(3, gateways=("g1",), term_port=5060),
        account(4, term_protocol="h323"),
        account(5, term_port=5061),
        account(6, tech_prefix="99"),
        account(7, ident=("10.0.0.0/24", "10.0.0.5/32", "10.0.0.0/8")),
        account(8, ident=("10.0.0.0/24",)),
        account(9, orig_enabled=False),
        account(10, orig_enabled=False, term_enabled=True),
        account(11, ident_by=IdentBy.ANI, ident=("4420",)),
        account(12, ident_by=IdentBy.NAME, ident=("bob",)),
    )
    assert verdicts(engine, src_number="4420", name="bob", protocol="sip") == {
        1: None,
        2: "account_id",
        3: "gateway_mismatch",
        4: "protocol_mismatch",
        5: "port_mismatch",
        6: "tech_prefix_mismatch",
        7: "account_id",
        8: "rank",
        9: "account_disabled",
        10: "direction",
        11: "class",
        12: "passwordless_name",
    }


def test_each_candidate_shows_all_that_it_requires() -> None:
    engine = engine_of(
        account(1, gateways=("G1", "G2"), term_port=5061, term_protocol="SIP", tech_prefix="99#"),
        account(2, orig_enabled=False, tech_prefix="77#"),
        account(3, orig_enabled=False, term_enabled=True),
        account(4, ident_by=IdentBy.NAME, ident=("bob",), term_port=5061),
        account(5, password="enc:x"),
        account(6, gateways=tuple(f"g{n}" for n in range(explain.MOST_VALUES + 5))),
    )
    request = Request(src_ip="10.0.0.5", dst_number="44171", gateway="g1", src_port=5061, name="bob")
    found = engine.explain(request, OPTIONS).candidates
    assert {candidate.account_id: candidate.requires for candidate in found} == {
        1: {"term_protocol": ("SIP",), "tech_prefix": ("99#",)},
        2: {"tech_prefix": ("77#",), "orig_enabled": ("true",)},
        3: {"orig_enabled": ("true",)},
        4: {"password": ()},
        5: {},
        6: {},
    }
    without = Request(src_ip="10.0.0.5", dst_number="44171")
    requires = {each.account_id: each.requires for each in engine.explain(without, OPTIONS).candidates}
    assert [*requires[1]] == ["gateways", "term_protocol", "term_port", "tech_prefix"], (
        "the first one ruled it out"
    )
    assert requires[1]["gateways"] == ("G1", "G2")
    assert len(requires[6]["gateways"]) == explain.MOST_VALUES


def test_the_nearest_are_shown_in_the_order_of_trial() -> None:
    engine = engine_of(
        account(1, gateways=("g1",)),
        account(2, tech_prefix="99#"),
        account(3, tech_prefix="4417#"),
        account(4, tech_prefix="441#", gateways=("g1",)),
        account(5, ident=("10.0.0.0/24",)),
        account(6, orig_enabled=False),
        account(7, tech_prefix="1", orig_enabled=False),
        account(8),
    )

    def shown(most: int | None) -> tuple[list[int], int, bool]:
        limits = explain.CandidateLimits(None, most)
        engine.settings = msgspec.structs.replace(engine.settings, explains=limits)
        found = engine.explain(Request(src_ip="10.0.0.5", dst_number="44171"), OPTIONS)
        return [each.account_id for each in found.candidates], found.hidden, found.cut

    everything, hidden, cut = shown(None)
    assert (sorted(everything), hidden, cut) == ([*range(1, 9)], 0, False)
    nearest: list[int] = []
    for most in range(1, 9):
        ids, hidden, cut = shown(most)
        assert ids == [each for each in everything if each in ids]
        assert (hidden, cut) == (8 - most, most < 8)
        nearest += [each for each in ids if each not in nearest]
    assert nearest == [8, 5, 6, 3, 2, 7, 1, 4]


def test_equal_candidates_of_two_clients_are_ambiguous_where_that_is_strict() -> None:
    strict = msgspec.structs.replace(OPTIONS, strict_ambiguity=True)
    engine = engine_of(account(1), account(2, client_id=2))
    assert verdicts(engine, strict) == {1: "ambiguous", 2: "ambiguous"}


def test_ranks_are_shown() -> None:
    engine = engine_of(account(1, ident=("10.0.0.0/24",), tech_prefix="44", gateways=("G",)))
    request = Request(src_ip="10.0.0.5", dst_number="4417", gateway="g")
    (candidate,) = engine.explain(request, OPTIONS).candidates
    assert candidate.rank == explain.Rank(mask=24, tech_prefix=2, gateway=True, port=False, protocol=False)
    assert candidate.matched == "10.0.0.0/24"


def test_a_blocked_client_is_still_the_one_that_was_found() -> None:
    engine = engine_of(account(1, client_id=2), account(2, ident=("10.0.0.0/24",)))
    assert verdicts(engine) == {1: None, 2: "rank"}
    assert engine.identify(Request(src_ip="10.0.0.5", dst_number="44"), OPTIONS).reason == "client_blocked"


def test_a_crowded_address_is_cut_and_the_winner_is_there() -> None:
    crowd = [account(number, tech_prefix=f"{number:05}") for number in range(1, explain.MOST + 50)]
    engine = engine_of(*crowd)
    explanation = engine.explain(Request(src_ip="10.0.0.5", dst_number=f"{explain.MOST + 40:05}44"), OPTIONS)
    assert explanation.cut
    assert len(explanation.candidates) == explain.MOST
    assert explanation.candidates[0].account_id == explain.MOST + 40
    assert explanation.candidates[0].ruled_out_by is None


def test_the_winner_of_a_large_group_is_shown_though_its_id_is_the_highest() -> None:
    crowd = [account(number) for number in range(1, explain.MOST + 400)]
    last = account(9999, gateways=("g",))
    explanation = engine_of(*crowd, last).explain(
        Request(src_ip="10.0.0.5", dst_number="44", gateway="g"), OPTIONS
    )
    assert explanation.cut
    assert explanation.candidates[0].account_id == explanation.decision.account_id == 9999


def test_a_class_that_is_not_configured_shows_nobody() -> None:
    by_address = msgspec.structs.replace(OPTIONS, classes=("ip",))
    engine = engine_of(account(12, ident_by=IdentBy.NAME, ident=("bob",)), options=by_address)
    assert verdicts(engine, by_address, name="bob") == {}


@pytest.mark.parametrize("fields", [{"src_ip": "10.0.0"}, {"dst_number": "4\t4"}, {"direction": "sideways"}])
def test_an_unusable_request_is_explained_by_its_decision_alone(fields: dict[str, Any]) -> None:
    assert verdicts(engine_of(account(1)), **fields) == {}
