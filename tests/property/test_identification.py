"""The index compared with a linear implementation of the spec (oracle.py): dense random books, all options.

All fields of the answer are compared. ``-m long`` compares 200,000 decisions instead of 20,000. With ``-s``, the
run shows how often each reason and each ranking rule decided.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from property.books import Case, Seeded, assert_sound, random_case, shuffled_rows
from property.oracle import CODES, RANK_RULES, Candidate, Expected, decide, failed_constraint, hit_of
from property.oracle_forms import Rejected, trimmed, validated
from property.requests import asked_cases, random_request, random_switch
from property.subject import engine_of, fields
from support.thorough import amounts

from identengine.engine.core import Engine
from identengine.identify import chains
from identengine.model.options import IdentifyOptions
from identengine.model.records import Request

REQUESTS = 40
"""Number of requests to each book."""
INDEXED_FROM = (1, chains.INDEXED_FROM)
"""Thresholds of indexing. Every other book is searched as if thousands of accounts shared each address."""


def compare(engine: Engine, case: Case, request: Request, options: IdentifyOptions, mode: str) -> Expected:
    expected = decide(case.rows, options, case.overrides, request, mode)
    answer = fields(getattr(engine, mode)(request, options))
    assert expected.agrees(answer), (
        f"\nexpected {expected.fields} {expected.src_choice or ''}\nanswered {answer}\n{request}\n{options}\n"
        + "\n".join(map(str, (*case.rows.clients, *case.rows.accounts, *case.rows.dids)))
    )
    return expected


@pytest.mark.parametrize("books", amounts(500, 5_200, seconds=900))
def test_every_answer_equals_that_of_the_oracle(books: int) -> None:
    decided: Counter[str] = Counter()
    for number in range(books):
        source = Seeded(number)
        case = random_case(source)
        assert_sound(case.rows)
        engine = engine_of(case, crowded=INDEXED_FROM[number % 2])
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            expected = compare(engine, case, request, options, source.pick(("authorize", "identify")))
            decided.update(expected.rules)
            decided[expected.fields.get("reason") or "accepted"] += 1

    total = books * REQUESTS
    print(f"\n{total} decisions compared")
    for name, count in decided.most_common():
        print(f"{name:26} {count:8} {count / total:8.2%}")
    rare = [name for name in ("accepted", *CODES, *RANK_RULES) if decided[name] < total / 100]
    assert not rare, "each reason and each ranking rule decides at least one case in a hundred"


@pytest.mark.parametrize("examples", amounts(150, 5_000, seconds=900))
def test_small_books_that_can_shrink(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(asked_cases())
    def compare_all(drawn: tuple[Case, list[tuple[Request, tuple[str | None, str | None]]]]) -> None:
        case, asked = drawn
        engine, crowded = engine_of(case), engine_of(case, crowded=1)
        for request, switch in asked:
            compare(engine, case, request, case.options_for(switch), "authorize")
            compare(crowded, case, request, case.options_for(switch), "authorize")

    compare_all()


def test_the_order_of_import_changes_no_field() -> None:
    for number in range(60):
        source = Seeded(f"order {number}")
        case = random_case(source)
        engines = [engine_of(case, shuffled_rows(case.rows, seed)) for seed in range(3)]
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            if request.call_id is None:
                continue  # 4.3: the choice of a number is then random
            first, *others = (fields(engine.authorize(request, options)) for engine in engines)
            assert others == [first] * len(others)


def test_explain_decides_like_identify_and_lists_every_account_with_a_hit() -> None:
    for number in range(60):
        source = Seeded(f"explain {number}")
        case = random_case(source)
        engine = engine_of(case, crowded=INDEXED_FROM[number % 2])
        for _ in range(REQUESTS):
            request, options = random_request(source, case), case.options_for(random_switch(source))
            if request.call_id is None:
                continue
            before = fields(engine.identify(request, options))
            explanation = engine.explain(request, options)
            assert fields(explanation.decision) == before
            assert fields(engine.identify(request, options)) == before, "explain has no side effects"
            winners = [shown.account_id for shown in explanation.candidates if shown.ruled_out_by is None]
            expected = hits(case, request, options)
            assert winners == ([before["account_id"]] if "account_id" in before and expected is not None else [])
            denied = {
                account.id
                for account in case.rows.accounts
                if options.passwordless_name == "deny" and account.ident_by == "name" and account.password is None
            }
            shown = {c.account_id: (c.matched, c.rank.mask, c.rank.tech_prefix) for c in explanation.candidates}
            assert len(shown) == len(explanation.candidates), "each account is listed once"
            assert {key: shown[key] for key in shown.keys() - denied} == {
                account.id: (matched, mask, len(account.tech_prefix or ""))
                for account, mask, matched in expected or ()
                if account.id not in denied
            }
            failed = failures(request, options, expected or [])
            assert failed.items() <= {c.account_id: c.ruled_out_by for c in explanation.candidates}.items()


def hits(case: Case, request: Request, options: IdentifyOptions) -> list[Candidate] | None:
    """Return every account whose ident value matches in a configured class, or None if no search takes place."""
    direction = trimmed(request.direction) or "origination"
    try:
        asked, account_id = validated(request, direction, options)
    except Rejected:
        return None
    if account_id is not None:
        return None
    found = (hit_of(a, asked, direction, options) for a in case.rows.accounts if a.ident_by in options.classes)
    return [hit for hit in found if hit is not None]


def failures(request: Request, options: IdentifyOptions, found: list[Candidate]) -> dict[int, str | None]:
    """Return the constraint that rules out each enabled account with a hit, or None if it is a candidate."""
    direction = trimmed(request.direction) or "origination"
    failed: dict[int, str | None] = {}
    for account, _, _ in found:
        if account.orig_enabled if direction == "origination" else account.term_enabled:
            constraint = failed_constraint(account, validated(request, direction, options)[0], options)
            passwordless = account.ident_by == "name" and account.password is None
            if constraint and not passwordless:
                failed[account.id] = f"{constraint}_mismatch"
    return failed


def test_an_answer_does_not_depend_on_earlier_requests() -> None:
    """Test engine.md 3.10."""
    for number in range(20):
        source = Seeded(f"again {number}")
        case = random_case(source)
        engine = engine_of(case)
        asked = [random_request(source, case) for _ in range(REQUESTS)]
        asked = [request for request in asked if request.call_id is not None]
        first = [fields(engine.authorize(request, case.options)) for request in asked]
        again = [fields(engine.authorize(request, case.options)) for request in reversed(asked)]
        assert first == again[::-1]
