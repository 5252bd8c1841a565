"""The normal form of numbers (engine.md 2.1), case by case."""

from __future__ import annotations

import pytest

from identengine.model.numbers import MAX_LENGTH, longest_first, national, normal_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("442070001", "442070001"),
        ("+44 2070-001", "442070001"),
        ("(020) 7946.0123", "02079460123"),
        (" + 44", "44"),  # separators go first, then the +
        ("(+44)20", "4420"),
        ("++44", "+44"),  # one leading +
        ("44+20", "44+20"),  # only a leading one
        ("77#44*1", "77#44*1"),
        ("Anonymous", "Anonymous"),
        ("a;b=c/d", "a;b=c/d"),  # printable
        ("0044", "0044"),  # leading zeros stay
        ("1" * MAX_LENGTH, "1" * MAX_LENGTH),
        ("+" + "1-" * MAX_LENGTH, "1" * MAX_LENGTH),  # what is left is counted
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_number(text) == expected


@pytest.mark.parametrize("text", ["", " ", "+", "()", "- . -", " +."])
def test_nothing_left_is_an_absent_number(text: str) -> None:
    assert normal_number(text) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1" * (MAX_LENGTH + 1), "65"),
        ("#" + "1" * MAX_LENGTH, "65"),
        ("44\t1", r"'\t'"),
        ("44\n", r"'\n'"),
        ("44\x00", r"'\x00'"),
        ("44\x7f", r"'\x7f'"),
        ("44é", "é"),
        ("\N{ARABIC-INDIC DIGIT FOUR}4", "\N{ARABIC-INDIC DIGIT FOUR}"),
        ("\N{SUPERSCRIPT TWO}", "\N{SUPERSCRIPT TWO}"),
        ("44\N{NO-BREAK SPACE}20", r"'\xa0'"),
        ("\N{FULLWIDTH PLUS SIGN}44", "\N{FULLWIDTH PLUS SIGN}"),
        ("44\ud800", r"'\ud800'"),
    ],
)
def test_what_is_no_number_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="number") as error:
        normal_number(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("number", "prefixes", "expected"),
    [
        ("0044207", ("00",), "44207"),
        ("0044207", ("00", "0044"), "207"),  # the longest fitting one
        ("000044", ("00",), "0044"),  # once
        ("044207", ("00",), "044207"),
        ("00", ("00",), ""),
        ("44207", (), "44207"),
    ],
)
def test_international_prefixes(number: str, prefixes: tuple[str, ...], expected: str) -> None:
    assert national(number, longest_first(prefixes)) == expected


def test_longest_first_is_an_order_that_the_set_alone_determines() -> None:
    assert longest_first(["1", "00", "011", "0", "00"]) == ("011", "00", "0", "1")
    assert longest_first(["0", "011", "00", "1"]) == ("011", "00", "0", "1")
