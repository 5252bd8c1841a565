"""Rows of the book as cells of CSV that an import and ``edit --from`` read back (interfaces.md 1).

Rule: a text that a spreadsheet would take for a formula has an apostrophe in front. The book's readers remove it.
"""

from __future__ import annotations

from identengine.model.records import BookRow, IdentBy
from identengine.provisioning.changes import shown

_FORMULA_STARTS = ("=", "+", "-", "@", "'")


def csv_cells(row: BookRow) -> dict[str, str]:
    """Return the cells of a row by column, without the password."""
    by_number = getattr(row, "ident_by", None) is IdentBy.ANI
    found = {}
    for name in row.__struct_fields__:
        if name == "password":
            continue
        value = getattr(row, name)
        if isinstance(value, str) and name in ("number", "tech_prefix"):
            value = _number(value)
        elif name == "ident" and by_number:
            value = tuple(map(_number, value))
        text = shown(value)
        found[name] = f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return found


def _number(text: str) -> str:
    """Return a number with a plus before a leading plus, since a reader removes one."""
    return f"+{text}" if text.startswith("+") else text
