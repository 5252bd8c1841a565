"""Src Policy (engine.md 4): the choice of a DID is constant for a call, and even over many calls.

test_identification.py compares which numbers pass. This module tests the properties of the choice.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable

import pytest
from property.books import Case, shuffled_rows
from property.oracle import Rows
from property.subject import HASH_KEY, engine_of

from identengine.engine.core import Engine
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Did, DidStatus, IdentBy, Request, SrcPolicy

OPTIONS = IdentifyOptions()
OWNED = tuple(f"44207946{number:04}" for number in range(7))


def account(account_id: int, policy: SrcPolicy) -> Account:
    return Account(
        id=account_id,
        client_id=1,
        name=f"account {account_id}",
        ident_by=IdentBy.IP,
        ident=(f"10.0.0.{account_id}",),
        src_policy=policy,
    )


def case(dids: Iterable[Did], policy: SrcPolicy = SrcPolicy.OVERWRITE, options: IdentifyOptions = OPTIONS) -> Case:
    accounts = (account(1, policy), account(2, policy), account(3, policy))
    return Case(Rows((Client(id=1, name="client"),), accounts, tuple(dids)), options)


def owned(numbers: Iterable[str], account_id: int = 1, status: DidStatus = DidStatus.ACTIVE) -> list[Did]:
    return [Did(number=number, account_id=account_id, status=status) for number in numbers]


def shown(engine: Engine, call_id: str | None, src_number: str | None = "999") -> str | None:
    answer = engine.authorize(
        Request(src_ip="10.0.0.1", dst_number="44", src_number=src_number, call_id=call_id), OPTIONS
    )
    assert answer.accepted
    return answer.src_number


def reason(engine: Engine, src_number: str | None) -> str | None:
    return engine.authorize(Request(src_ip="10.0.0.1", dst_number="44", src_number=src_number), OPTIONS).reason


def assert_even(chosen: Counter[str | None], numbers: Iterable[str]) -> None:
    """Check an even spread by chi-square. Chance alone exceeds the bound once in some ten million runs."""
    numbers = list(numbers)
    assert set(chosen) <= set(numbers)
    expected = chosen.total() / len(numbers)
    chi_square = sum((chosen[number] - expected) ** 2 / expected for number in numbers)
    freedom = len(numbers) - 1
    assert chi_square < freedom + 5.5 * (2 * freedom) ** 0.5 + 20


def test_a_call_id_chooses_the_same_did_on_every_node_and_after_every_import_order() -> None:
    dids = owned(OWNED) + owned(["1", "22", "333"], account_id=2) + owned(["4", "5"], 1, DidStatus.ON_HOLD)
    whole = case(dids)
    engines = [engine_of(whole), *(engine_of(whole, shuffled_rows(whole.rows, seed)) for seed in range(4))]
    # DIDs of other accounts, and numbers that do not count, must not influence the choice.
    engines.append(engine_of(case(owned(reversed(OWNED)) + owned(["7", "8"], account_id=3))))
    for number in range(300):
        assert len({shown(engine, f"call {number}@host") for engine in engines}) == 1


def test_the_choice_depends_on_the_key_of_the_store() -> None:
    one, other = engine_of(case(owned(OWNED))), engine_of(case(owned(OWNED)), hash_key=HASH_KEY[::-1])
    differing = sum(shown(one, f"call {number}") != shown(other, f"call {number}") for number in range(500))
    assert 350 < differing < 500  # six sevenths of them on average


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_the_choice_is_even_over_call_ids(count: int) -> None:
    numbers = [f"4420794{number:05}" for number in range(count)]
    engine = engine_of(case(owned(numbers)))
    assert_even(Counter(shown(engine, f"{number:x}@sbc") for number in range(100 * count)), numbers)


def test_numbers_of_all_kinds_are_chosen_evenly() -> None:
    numbers = ["1", "01", "001", "*77#", "abc", "ABC", "4" * 64, "4" * 19, "4" * 18, "9" * 20]
    engine = engine_of(case(owned(numbers)))
    assert_even(Counter(shown(engine, f"call {number}", "7") for number in range(2_000)), numbers)


@pytest.mark.parametrize("call_id", [None, "", "  "])
def test_without_a_call_id_the_choice_is_random(call_id: str | None) -> None:
    engine = engine_of(case(owned(OWNED)))
    assert_even(Counter(shown(engine, call_id) for _ in range(1_400)), OWNED)


def test_an_international_prefix_makes_two_dids_of_an_account_one() -> None:
    options = IdentifyOptions(international_prefixes=("00",))
    engine = engine_of(case(owned(["00441", "441", "442"]), options=options))
    assert_even(Counter(shown(engine, f"call {number}") for number in range(2_000)), ["441", "442"])


def test_an_international_prefix_makes_one_number_count_for_two_accounts() -> None:
    options = IdentifyOptions(international_prefixes=("00",))
    engine = engine_of(case(owned(["00441"], 1) + owned(["441"], 2), SrcPolicy.REJECT, options))
    for last in (1, 2):
        request = Request(src_ip=f"10.0.0.{last}", src_number="+441", dst_number="44")
        assert engine.authorize(request, options).src_number == "441"


def test_a_did_that_is_only_an_international_prefix_does_not_count() -> None:
    options = IdentifyOptions(international_prefixes=("00",))
    assert reason(engine_of(case(owned(["00"]), options=options)), "00") == "no_did"


def test_a_number_is_compared_completely_and_only_with_active_dids_of_the_account() -> None:
    dids = owned(["442070001"]) + owned(["442070002"], 2) + owned(["442070003"], 1, DidStatus.BLOCKED)
    engine = engine_of(case(dids, SrcPolicy.REJECT))
    assert reason(engine, "+44 (20) 70-001") is None
    for wrong in (
        "442070002",
        "442070003",
        "44207000",
        "4420700011",
        "0442070001",
        "",
        None,
        "anonymous",
        "44\t1",
    ):
        assert reason(engine, wrong) == "src_not_allowed", wrong


def test_overwrite_without_active_dids_lets_no_number_pass() -> None:
    engine = engine_of(case(owned(["441"], 2) + owned(["442"], 1, DidStatus.ON_HOLD)))
    for src_number in ("441", "442", None, "anonymous"):
        assert reason(engine, src_number) == "no_did"


def test_ownership_of_thousands_of_look_alike_numbers() -> None:
    mixer = random.Random(4)
    alphabets = ("01", string.digits, "0aA*#")
    numbers = {
        "".join(mixer.choices(mixer.choice(alphabets), k=mixer.choice((1, 2, 5, 9, 17, 18, 19, 20, 64))))
        for _ in range(6_000)
    }
    pool = sorted(numbers)
    mixer.shuffle(pool)
    owner = {number: mixer.choice((1, 2, None)) for number in pool}
    dids = [did for number, who in owner.items() if who for did in owned([number], who)]
    engine = engine_of(case(dids, SrcPolicy.REJECT))
    for number, who in owner.items():
        assert reason(engine, number) == (None if who == 1 else "src_not_allowed"), number
