"""Cells that a spreadsheet keeps as they are (interfaces.md 1, "Dialects of CSV").

A spreadsheet reads many texts of a CSV file as numbers, dates, booleans or formulas, and saves other texts.
``="0442"`` keeps a text, and so does an apostrophe in front of a formula. Rule: :func:`text_in` reads each cell
that this module writes as the text.
"""

from __future__ import annotations

import re

CELL_STARTS = frozenset("=' \t")
"""First characters of the cells that :func:`text_in` may change."""

NO_PASSWORD = "-"  # noqa: S105 - it stands for none
"""Cell of a row without a password."""

_FORMULA_STARTS = ("=", "+", "-", "@", "'")
_LONGEST_LITERAL = 255
"""Longest text in a formula of Excel, in characters."""
_LARGEST_SHOWN = 10**11
"""Least integer that Excel shows in scientific notation, and saves as shown."""
_is_kept = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL).fullmatch
_has_digit = re.compile(r"\d").search
_has_line_end = re.compile(r"[\r\n]").search
_is_long_text = re.compile(r"[^\W\d_]|[;\r\n]").search
"""Find a character that no number has. Dates, which may have letters, are short."""
_BOOLEANS = frozenset(
    ("true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "verdadeiro", "vero", "falso", "waar")
)
"""Words that a spreadsheet of some language reads as a boolean, in lower case."""


def text_in(cell: str) -> str:
    """Return the text that a cell keeps, or the cell itself if it keeps none."""
    written = cell.strip()
    if written.startswith("'"):
        return written[1:] if written[1:].startswith(_FORMULA_STARTS) else cell
    kept = _is_kept(written)
    return kept[1].replace('""', '"') if kept else cell


def password_in(cell: str) -> str:
    """Return the password of a cell. A spreadsheet gets only encrypted passwords and the ``-`` for none."""
    return NO_PASSWORD if cell.strip() == f"'{NO_PASSWORD}" else cell


def kept_number(text: str | None) -> str:
    """Return the cell of one telephone number, or of a list of numbers."""
    return _literal(text) if text and len(text) <= _LONGEST_LITERAL else kept_text(text)


def kept_integer(number: int) -> str:
    """Return the cell of an integer. It stays a number for the spreadsheet if that shows all digits."""
    return str(number) if number < _LARGEST_SHOWN else _literal(str(number))


def kept_text(text: str | None) -> str:
    """Return the cell of any other text."""
    if not text:
        return ""
    if text.startswith(_FORMULA_STARTS):
        return f"'{text}"
    return _literal(text) if _is_ambiguous(text) else text


def plain_text(text: str) -> str:
    """Return the cell of a text in an ordinary table. It differs only if :func:`text_in` would change the text."""
    return f"'{text}" if text[:1] in CELL_STARTS and text_in(text) != text else text


def _is_ambiguous(text: str) -> bool:
    """Return True if some spreadsheet may read the text as a number, a date, a time or a boolean."""
    if not _has_digit(text):
        return text.lower() in _BOOLEANS
    is_short = len(text) <= _LONGEST_LITERAL and not _has_line_end(text)
    return is_short or not _is_long_text(text)


def _literal(text: str) -> str:
    return '="' + text.replace('"', '""') + '"'
