"""The wording of messages about wrong values (``identengine.errors``)."""

from __future__ import annotations

import pytest

from identengine.errors import (
    LONGEST_QUOTE,
    LoadError,
    Problem,
    counted,
    expected,
    nearest,
    one_of,
    quoted,
    sentences,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("blokced", '"blokced"'),
        ("Zoë", '"Zoë"'),
        ('a"b', r'"a\"b"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\x9b2J", r'"\u009b2J"'),  # as ESC [ for a terminal
        ("\u202egnp", r'"\u202egnp"'),  # writes from right to left
        ("\ud800", r'"\ud800"'),
        (5, "5"),
        (None, "null"),
        (True, "true"),
        ([1, "a"], '[1, "a"]'),
    ],
)
def test_a_quote_is_json_without_unprintable_characters(value: object, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize("length", [LONGEST_QUOTE - 2, LONGEST_QUOTE - 1, LONGEST_QUOTE, 10_000_000])
def test_a_long_quote_is_cut(length: int) -> None:
    text = quoted("x" * length)
    if length == LONGEST_QUOTE - 2:
        assert text == f'"{"x" * length}"'
    else:
        assert text == f'"{"x" * (LONGEST_QUOTE - 2)}…'


def test_the_forms_of_an_expectation() -> None:
    assert expected("a port") == "expected a port"
    assert expected("a port", "x") == 'expected a port, got "x"'
    meant = nearest("blokced", ("active", "blocked"))
    message = expected(one_of(("active", "blocked")), "blokced", meant=meant)
    assert message == 'expected "active" or "blocked", got "blokced"; did you mean "blocked"?'


def test_each_of_several_sentences_has_a_full_stop() -> None:
    assert sentences("the disk is full") == "the disk is full"
    assert sentences("the disk is full", "Free space.") == "the disk is full. Free space."
    assert sentences("the disk is full. Free space.", "Try again.") == "the disk is full. Free space. Try again."
    assert sentences("does it hang?", "", "See its log.") == "does it hang? See its log."


def test_a_number_has_its_noun() -> None:
    assert [counted(number, "leg") for number in (0, 1, 2, 1000)] == ["0 legs", "1 leg", "2 legs", "1,000 legs"]


def test_a_problem_names_file_line_and_column() -> None:
    text = expected("a port", "x")
    assert str(Problem("a.csv", 3, "port", "x", text)) == 'a.csv:3: port: expected a port, got "x"'
    assert str(Problem("a.csv", 3, None, None, "a row is too long")) == "a.csv:3: a row is too long"
    assert str(Problem("a.csv", None, "port", None, "no such column")) == "a.csv: port: no such column"
    assert str(LoadError([Problem("d", None, None, None, "no such folder")])) == "d: no such folder"
