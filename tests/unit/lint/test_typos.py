"""Names that are typing errors of common ones, and those that are not."""

from __future__ import annotations

import pytest

from identengine.lint.typos import OFTEN, Names, Use


def near(common: str, once: str, *, fold: bool = False) -> list[tuple[str, str]]:
    names = Names(fold=fold)
    for number in range(OFTEN):
        names.add(Use("account", number, 1, "orig_rate_table", common))
    names.add(Use("account", OFTEN, 1, "orig_rate_table", once))
    return [(use.value, other) for use, other in names.near()]


@pytest.mark.parametrize(
    "once",
    [
        "Wholesal",
        "Wholesalle",
        "Wholesade",
        "Wholeslae",
        "holesale",
        "Wholesales",
        "wholesale",
        "WHOLESALE",
        "Who1esale",
    ],
)
def test_a_letter_more_less_or_other_is_a_typing_error(once: str) -> None:
    assert near("Wholesale", once) == [(once, "Wholesale")]


@pytest.mark.parametrize(
    ("common", "once"),
    [
        ("rates-1", "rates-2"),
        ("rates-1", "rates-12"),
        ("rates", "rates2"),
        ("plan-A", "plan-B"),
        ("LCR A", "LCR B"),
        ("Wholesale", "Wholesle2"),
        ("Wholesale", "Retail"),
        ("SIP", "SIPS"),
        ("ws", "WSS"),
        ("v", "w"),
    ],
)
def test_names_that_number_or_enumerate_are_no_typing_errors(common: str, once: str) -> None:
    assert near(common, once) == []


def test_punctuation_counts() -> None:
    assert near("LCR-Standard", "LCR_Standard") == [("LCR_Standard", "LCR-Standard")]


def test_a_name_is_common_from_five_uses_on_and_rare_with_one() -> None:
    names = Names(fold=False)
    for number in range(OFTEN - 1):
        names.add(Use("account", number, 1, "orig_rate_table", "gold"))
    names.add(Use("account", 10, 1, "orig_rate_table", "golf"))
    assert not list(names.near())
    names.add(Use("account", 11, 1, "orig_rate_table", "gold"))
    assert [use.value for use, _ in names.near()] == ["golf"]
    names.add(Use("account", 12, 1, "orig_rate_table", "golf"))
    assert not list(names.near())


def test_protocols_and_gateways_are_compared_without_case() -> None:
    assert near("LON-GATE", "lon-gats", fold=True) == [("lon-gats", "lon-gate")]
    assert near("LON-GATE", "lon-gate", fold=True) == []
