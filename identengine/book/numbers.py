"""Numbers of a book: values that cannot be a number, ranges of DIDs, and warnings (engine.md 1.3, 2.1).

Spreadsheets damage numbers: they write 442071234567 as 4.42071E+11 or as #REF!. Rule: a value that no operator can
mean as a number is an error, and each message names the remedy. The export of an accepted value is accepted again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from identengine.book.mistakes import Mistake
from identengine.errors import expected, quoted, sentences
from identengine.model.addresses import parse_network
from identengine.model.numbers import normal_number

LONGEST_RANGE = 10_000
"""Largest number of DIDs in a range."""
_LONGEST_NUMBER = 15
"""Longest international number, in digits (ITU-T E.164)."""
_RANGE_DIGITS = 8
"""Least number of digits on each side of a range. Shorter sides are parts of one number with a hyphen."""

_is_plain = re.compile(r"\+?[0-9]{1,15}", re.ASCII).fullmatch
"""Match a text that is a number without doubt, as most numbers are."""
_is_scientific = re.compile(r"\d+[.,]\d+[eE][+-]?\d+|\d+[eE][+-]\d+", re.ASCII).fullmatch
_is_decimal = re.compile(r"\d+\.0+", re.ASCII).fullmatch
_is_error_value = re.compile(r"#N/A|#NV|#[A-Z0-9/_]+[!?]|Err:\d+|#{4,}", re.ASCII | re.IGNORECASE).fullmatch
_is_pattern = re.compile(r"_.*|.*[\[\]].*|(?=.*\d)(?=.*[xX])[\dxX]+", re.ASCII | re.DOTALL).fullmatch
_is_uri = re.compile(r"(?:sips?|tel):.*", re.IGNORECASE | re.DOTALL).fullmatch
_is_dotted = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d+)?", re.ASCII).fullmatch
_WORDS = frozenset({"any", "none", "null", "nan", "n/a", "true", "false"})
_AS_TEXT = "Format the column as text and enter the number again."


def book_number(text: str) -> str:
    """Return the number of a cell in normal form, or ``""`` if the cell is empty.

    Raise ValueError if the cell is not a number.
    """
    if _is_plain(text):
        return text.removeprefix("+")
    written = text.strip()
    number = normal_number(text)
    if not number and written:
        raise ValueError(expected("a number, not only separators", text))
    for form in (written, number):
        if problem := _problem(form, text):
            raise ValueError(problem)
    return number


def book_prefix(text: str) -> str:
    """Return the tech prefix of a cell in normal form, or ``""`` if the cell is empty.

    Raise ValueError if the cell is not a tech prefix.
    """
    if _is_plain(text):
        return text.removeprefix("+")
    written = text.strip()
    if ";" in written or "," in written:
        two = "One prefix an account; for two prefixes make two accounts."
        raise ValueError(sentences(expected("one tech prefix", text), two))
    if _is_dotted(written) or (":" in written and _is_network(written)):
        where = 'Write the address in ident, with ident_by "ip".'
        raise ValueError(sentences(expected("a tech prefix, not an IP address", text), where))
    number = book_number(text)
    if ":" in number and _is_network(number):
        raise ValueError(expected("a tech prefix, not an IP address", text))
    return number


def range_in(text: str) -> tuple[str, int] | None:
    """Return the first number of a range of DIDs and the number of DIDs, or None if the text is one number."""
    if text.count("-") != 1:
        return None
    ends = _ends(text)
    if ends is None:
        return None
    first, last = ends
    count = int(last) - int(first) + 1
    return (first, count) if 1 <= count <= LONGEST_RANGE else None


def range_mistake(text: str) -> str | None:
    """Return what is wrong with a text that looks like a range of DIDs but is not one, or None."""
    if text.count("-") == 1 and range_in(text) is None and _ends(text) is not None:
        return expected(f"a range that ascends and has at most {LONGEST_RANGE:,} numbers", text)
    return None


def numbers_of(first: str, count: int) -> Iterator[str]:
    """Yield the numbers of a range."""
    width, number = len(first), int(first)
    return (f"{each:0{width}}" for each in range(number, number + count))


def _ends(text: str) -> tuple[str, str] | None:
    """Return both sides of the hyphen if each can be an end of a range, or None."""
    try:
        first, last = map(normal_number, text.split("-"))
    except ValueError:
        return None
    digits = first.isdigit() and last.isdigit() and len(first) == len(last) >= _RANGE_DIGITS
    return (first, last) if digits else None


def number_warnings(column: str, text: str) -> list[Mistake]:
    """Return the warning for a DID or an ANI that is accepted and is probably not a number, if there is one."""
    if _is_plain(text):
        return []
    number = normal_number(text)
    stored = f"{quoted(text)} is stored as {quoted(number)}"
    if _has_zero(text):
        one = f"{stored}, with the 0 of the national form. Remove (0)."
        return [Mistake(column, text, one, "{} numbers have (0) in them, and the 0 is stored: {}. Remove (0).")]
    if range_mistake(text):
        one = f"{stored}. A range ascends and has at most {LONGEST_RANGE:,} numbers."
        return [Mistake(column, text, one, _NO_RANGE)]
    odd = next((character for character in number if character not in "0123456789*#"), None)
    if odd is not None:
        what = "letters" if odd.isalpha() else quoted(odd)
        one = f"{quoted(text)} has {what}, as no telephone number has. It is stored as {quoted(number)}."
        return [Mistake(column, text, one, "{} numbers have letters or other characters: {}")]
    if len(number) > _LONGEST_NUMBER:
        one = f"{stored}, of {len(number)} digits. An international number has at most {_LONGEST_NUMBER}."
        return [Mistake(column, text, one, f"{{}} numbers have more than {_LONGEST_NUMBER} digits: {{}}")]
    return []


_has_zero = re.compile(r"\(\s*0\s*\)").search
_NO_RANGE = (
    f"{{}} numbers look like ranges, and each is stored as one number: {{}}. A range ascends and has at most "
    f"{LONGEST_RANGE:,} numbers."
)


def no_value_warnings(column: str, value: str) -> list[Mistake]:
    """Return the warning for a gateway or protocol that is a word for no value, if it is one."""
    if value.strip().lower() not in _NO_VALUE:
        return []
    what = "protocol" if column == "term_protocol" else "gateway"
    remedy = f"Leave the cell empty for any {what}."
    one = sentences(f"only a request with the {what} {quoted(value)} matches", remedy)
    return [Mistake(column, value, one, f"{{}} accounts require a {what} such as {quoted(value)}: {{}}. {remedy}")]


_NO_VALUE = frozenset({"any", "*", "none", "null"})


def _problem(written: str, text: str) -> str | None:
    """Return the message for a value that cannot be a number, or None. The message quotes ``text``."""
    if _is_scientific(written):
        return sentences(expected("a number", text), "A spreadsheet rounded it.", _AS_TEXT)
    if _is_decimal(written):
        return sentences(expected("a number without decimals", text), _AS_TEXT)
    if _is_error_value(written):
        return sentences(
            expected("a number", text), "A formula failed or a column is too narrow. Correct the file."
        )
    if written.startswith(("=", "'")):
        return sentences(expected("a number, not a formula or an apostrophe", text), _AS_TEXT)
    if written.lower() in _WORDS:
        return sentences(expected("a number", text), "Leave an optional cell empty.")
    if _is_pattern(written):
        return sentences(expected("a number, not a pattern", text), "Write each number itself.")
    if _is_uri(written):
        return sentences(expected("a number, not a URI", text), "Write the number alone.")
    return None


def _is_network(text: str) -> bool:
    try:
        parse_network(text)
    except ValueError:
        return False
    return True
