"""The normal form of numbers (engine.md 2.1), case by case."""

from __future__ import annotations

import pytest

from identengine.model.numbers import MAX_LENGTH, longest_first, national, normal_number, requested_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("442070001", "442070001"),
        ("+44 2070-001", "442070001"),
        ("(020) 7946.0123", "02079460123"),
        (" + 44", "44"),  # separators are removed first, then the +
        ("(+44)20", "4420"),
        ("++44", "+44"),  # one leading +
        ("44+20", "44+20"),  # only a leading one
        ("77#44*1", "77#44*1"),
        ("Anonymous", "Anonymous"),
        ("a;b=c/d", "a;b=c/d"),  # printable
        ("0044", "0044"),  # leading zeros are kept
        ("1" * MAX_LENGTH, "1" * MAX_LENGTH),
        ("+" + "1-" * MAX_LENGTH, "1" * MAX_LENGTH),  # the limit applies to the normal form
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_number(text) == expected


@pytest.mark.parametrize("text", ["", " ", "+", "()", "- . -", " +."])
def test_a_number_without_any_character_is_absent(text: str) -> None:
    assert normal_number(text) == ""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1" * (MAX_LENGTH + 1), "at most 64 characters, got 65"),
        ("#" + "1" * MAX_LENGTH, "at most 64 characters, got 65"),
        ("44\t1", r'; "\t" is not allowed'),
        ("44\n", r'; "\n" is not allowed'),
        ("44\x00", r'; "\u0000" is not allowed'),
        ("44\x7f", r'; "\u007f" is not allowed'),
        ("44é", "é"),
        ("\N{ARABIC-INDIC DIGIT FOUR}4", "\N{ARABIC-INDIC DIGIT FOUR}"),
        ("\N{SUPERSCRIPT TWO}", "\N{SUPERSCRIPT TWO}"),
        ("44\N{NO-BREAK SPACE}20", r'; "\u00a0" is not allowed'),
        ("\N{FULLWIDTH PLUS SIGN}44", "\N{FULLWIDTH PLUS SIGN}"),
        ("44\ud800", r'; "\ud800" is not allowed'),
    ],
)
def test_an_invalid_number_is_an_error_that_names_the_fault(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a number ") as error:
        normal_number(text)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("number", "prefixes", "expected"),
    [
        ("0044207", ("00",), "44207"),
        ("0044207", ("00", "0044"), "207"),  # the longest match
        ("000044", ("00",), "0044"),  # removed once
        ("044207", ("00",), "044207"),
        ("00", ("00",), ""),
        ("44207", (), "44207"),
    ],
)
def test_international_prefixes(number: str, prefixes: tuple[str, ...], expected: str) -> None:
    assert national(number, longest_first(prefixes)) == expected


def test_longest_first_does_not_depend_on_the_order_of_the_input() -> None:
    assert longest_first(["1", "00", "011", "0", "00"]) == ("011", "00", "0", "1")
    assert longest_first(["0", "011", "00", "1"]) == ("011", "00", "0", "1")


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ("+44 20 7946 0101", "442079460101"),
        ("sip:442079460101@sbc.example", "442079460101"),
        ("SIPS:+44-20-7946@192.0.2.1:5061;transport=tls", "44207946"),
        ("sip:442079460101:secret@sbc", "442079460101"),
        ("sip:442079460101;ext=5@sbc", "442079460101"),
        ("sip:442079460101?x=1@sbc", "442079460101"),
        ("sip:*21%23@sbc", "*21#"),
        ("sip:+442079460101", "442079460101"),
        ("sip:442079460101;user=phone", "442079460101"),
        ("sip:192.0.2.1", ""),
        ("sip:sbc.example", ""),
        ("sip:@sbc", ""),
        ("sip:alice@sbc", "alice"),
        ("tel:+44-20-7946-0101", "442079460101"),
        ("tel:79460101;phone-context=+44-20", "442079460101"),
        ("TEL:79460101;isub=1;Phone-Context=%2B4420", "442079460101"),
        ("tel:79460101;phone-context=sbc.example", "79460101"),
        ("tel:", ""),
        ('"Office" <sip:442079460101@sbc>;tag=1', "442079460101"),
        ('"a<b" <tel:442079460101>', "442079460101"),
        ("<442079460101>", "442079460101"),
        ("<>", ""),
        (" sip:44@sbc ", "44"),
        ("442079460101@sbc", "442079460101"),
        ("442079460101;user=phone", "442079460101"),
        ("%2b442079460101", "442079460101"),
        ("9%23%2A%2a44", "9#**44"),
        ("anonymous@anonymous.invalid", "anonymous"),
    ],
)
def test_a_number_of_a_request_may_be_a_uri(sent: str, number: str) -> None:
    assert requested_number(sent) == number


@pytest.mark.parametrize(
    "sent", ["44%20", "44%", "sip:44%41@sbc", "tel:44%3b", "sip:44\t1@sbc", "tel:" + "4" * 65]
)
def test_a_uri_without_a_number(sent: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        requested_number(sent)
