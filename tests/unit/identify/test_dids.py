from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from identengine.identify.dids import DidTable, pack

NUMBERS = st.text("0123456789*#a", min_size=1, max_size=22)
OWNED = st.dictionaries(st.integers(1, 40), st.sets(NUMBERS, max_size=30), max_size=8)


def table_of(owned: dict[int, set[str]], size: int = 4) -> DidTable:
    table = DidTable()
    for account_id, numbers in owned.items():
        for run in pack(numbers).runs(size):
            table.add(account_id, run)
    table.seal()
    return table


@given(OWNED, NUMBERS)
def test_the_table_holds_what_a_dict_of_sets_holds(owned: dict[int, set[str]], other: str) -> None:
    table = table_of(owned)
    assert len(table) == sum(map(len, owned.values()))
    for account_id in range(42):
        numbers = owned.get(account_id, set())
        assert len(table.of(account_id)) == len(numbers)
        assert {table.of(account_id).nth(place) for place in range(len(numbers))} == numbers
        assert all(table.of(account_id).has(number) for number in numbers)
        assert table.of(account_id).has(other) == (other in numbers)


@given(OWNED)
def test_the_order_is_that_of_the_set_alone(owned: dict[int, set[str]]) -> None:
    forwards = table_of(owned, 3)
    backwards = table_of(dict(reversed(owned.items())), 1000)
    for account_id, numbers in owned.items():
        places = range(len(numbers))
        assert [forwards.of(account_id).nth(p) for p in places] == [
            backwards.of(account_id).nth(p) for p in places
        ]


def test_leading_zeros_tell_numbers_apart() -> None:
    table = table_of({1: {"044", "44", "0044"}})
    assert len(table.of(1)) == 3
    assert not table.of(1).has("00044")


def test_international_prefixes_go_and_what_falls_together_is_one() -> None:
    packed = pack(["0044170", "44170", "00", "01144170"], ("011", "00"))
    table = DidTable()
    table.add(1, packed)
    table.seal()
    assert [table.of(1).nth(place) for place in range(len(table.of(1)))] == ["44170"]


def test_an_account_without_numbers_and_an_empty_table() -> None:
    table = table_of({})
    assert not table.of(1).has("44")
    assert len(table.of(1)) == 0
    assert len(table) == 0


def test_many_numbers_that_are_not_digits_alone_are_found() -> None:
    numbers = {f"{number}#" for number in range(5000)}
    table = table_of({7: numbers}, 64)
    assert len(table.of(7)) == 5000
    assert all(table.of(7).has(number) for number in numbers)
    assert not table.of(7).has("5000#")


def test_a_million_numbers_on_one_account_among_others() -> None:
    # engine.md 4.5; benchmarks/test_engine.py measures the cost
    table = DidTable()
    table.add(1, pack(["44201"]))
    for run in pack(str(442_000_000 + 3 * number) for number in range(1_000_000)).runs():
        table.add(2, run)
    table.add(3, pack(["442000000", "5"]))
    table.seal()
    assert len(table.of(2)) == 1_000_000
    assert len(table) == 1_000_003
    assert [table.of(2).nth(place) for place in (0, 1, 999_999)] == ["442000000", "442000003", "444999997"]
    assert table.of(2).has("443500003")
    assert not table.of(2).has("443500002")
    assert not table.of(2).has("44201")
    assert not table.of(1).has("442000000")
    assert [table.of(3).nth(place) for place in range(2)] == ["5", "442000000"]


def test_a_table_goes_to_pieces_in_steps() -> None:
    table = table_of({7: {f"{number}#" for number in range(1000)}, 8: {"a", "1"}}, 64)
    steps = sum(1 for _ in table.dismantle(16))
    assert steps == 63 + 1
    assert not table.of(7).has("1#")
