"""The index against a linear reading of the spec (oracle.py), over dense random books and all options.

All fields of the answer are compared. ``IDENTENGINE_LONG=1`` compares 200,000 decisions instead of 20,000; with
``-s`` the run shows how often each reason and each rule of rank decided.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from books import (
    Case,
    Seeded,
    asked_cases,
    assert_sound,
    random_case,
    random_request,
    random_switch,
    shuffled_rows,
)
from hypothesis import HealthCheck, given, settings
from oracle import CODES, RANK_RULES, Expected, decide
from subject import engine_of, fields

from identengine.engine import Engine
from identengine.model import Request
from identengine.options import IdentifyOptions

LONG = os.environ.get("IDENTENGINE_LONG") == "1"
REQUESTS = 40
"""Requests to each book."""
BOOKS = 5_200 if LONG else 500
SHARES = 4
"""The run is cut in so many tests, so that each keeps the time limit and they can go side by side."""


def compare(engine: Engine, case: Case, request: Request, options: IdentifyOptions, mode: str) -> Expected:
    expected = decide(case.rows, options, case.overrides, request, mode)
    answer = fields(getattr(engine, mode)(request, options))
    assert expected.agrees(answer), (
        f"\nexpected {expected.fields} {expected.src_choice or ''}\nanswered {answer}\n{request}\n{options}\n"
        + "\n".join(map(str, (*case.rows.clients, *case.rows.accounts, *case.rows.dids)))
    )
    return expected


@pytest.fixture(scope="module")
def decided() -> Counter[str]:
    """How often each reason and rule decided, over all shares of the run."""
    return Counter()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", range(SHARES))
def test_every_answer_is_that_of_the_linear_reading(share: int, decided: Counter[str]) -> None:
    for number in range(share, BOOKS, SHARES):
        source = Seeded(number)
        case = random_case(source)
        assert_sound(case.rows)
        engine = engine_of(case)
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            mode = source.pick(("authorize", "identify"))
            expected = compare(engine, case, request, options, mode)
            decided.update(expected.rules)
            decided[expected.fields.get("reason") or "accepted"] += 1
            decided["decisions"] += 1


def test_each_reason_and_each_rule_of_rank_decides_one_case_in_a_hundred(decided: Counter[str]) -> None:
    total = decided["decisions"]
    if total < BOOKS * REQUESTS:
        pytest.skip("the shares of the run were not all run in this process")
    print(f"\n{total} decisions compared")
    for name, count in decided.most_common():
        print(f"{name:26} {count:8} {count / total:8.2%}")
    rare = [name for name in ("accepted", *CODES, *RANK_RULES) if decided[name] < total / 100]
    assert not rare


@settings(max_examples=5_000 if LONG else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked_cases())
def test_small_books_that_shrink(
    drawn: tuple[Case, list[tuple[Request, tuple[str | None, str | None]]]],
) -> None:
    case, asked = drawn
    engine = engine_of(case)
    for request, switch in asked:
        compare(engine, case, request, case.options_for(switch), "authorize")


def test_the_order_of_import_changes_no_field() -> None:
    for number in range(60):
        source = Seeded(f"order {number}")
        case = random_case(source)
        engines = [engine_of(case, shuffled_rows(case.rows, seed)) for seed in range(3)]
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            if request.call_id is None:
                continue  # 4.3: then the choice of a number is random
            first, *others = (fields(engine.authorize(request, options)) for engine in engines)
            assert others == [first] * len(others)


def test_explain_decides_as_identify_and_names_its_winner() -> None:
    for number in range(60):
        source = Seeded(f"explain {number}")
        case = random_case(source)
        engine = engine_of(case)
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            if request.call_id is None:
                continue
            before = fields(engine.identify(request, options))
            explanation = fields(engine.explain(request, options))
            assert explanation["decision"] == before
            winners = [candidate for candidate in explanation["candidates"] if candidate["winner"]]
            assert [winner["account_id"] for winner in winners] == (
                [before["account_id"]] if "account_id" in before else []
            )
            assert fields(engine.identify(request, options)) == before, "explain has no side effects"


def test_the_same_request_is_answered_alike_whatever_was_asked_before() -> None:
    """Engine.md 3.10."""
    for number in range(20):
        source = Seeded(f"again {number}")
        case = random_case(source)
        engine = engine_of(case)
        asked = [random_request(source, case) for _ in range(REQUESTS)]
        asked = [request for request in asked if request.call_id is not None]
        first = [fields(engine.authorize(request, case.options)) for request in asked]
        again = [fields(engine.authorize(request, case.options)) for request in reversed(asked)]
        assert first == again[::-1]
