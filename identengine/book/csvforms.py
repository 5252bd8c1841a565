"""The two forms of a table in CSV (interfaces.md 1): the ordinary one, and the one for spreadsheets.

Rule: an import reads the cells of both forms as the values of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from identengine.book.columns import Table
from identengine.book.labels import Labels
from identengine.book.spreadsheets import NO_PASSWORD, kept_integer, kept_number, kept_text, plain_text
from identengine.model.records import Account, BookRow, IdentBy

_Cell = Callable[[Any], object]  # Any: each function takes the values of its own columns
"""A function from the value of a field to the cell. None is an empty cell."""


class CsvForm(NamedTuple):
    """The form of one table."""

    columns: tuple[str, ...]
    """The names in the header."""
    cells: Callable[[BookRow], Iterable[object]]
    """The function that returns the cells of a row."""
    encoding: str
    line_end: str


def ordinary(table: Table) -> CsvForm:
    """Return the form for programs."""
    writers = [_ORDINARY.get(column, _plain) for column in table.columns]

    def cells(row: BookRow) -> list[object]:
        return [cell(value) for cell, value in zip(writers, msgspec.structs.astuple(row), strict=True)]

    return CsvForm(table.columns, cells, "utf-8", "\n")


def for_spreadsheets(table: Table, labels: Labels) -> CsvForm:
    """Return the form that spreadsheets open and save without damage, with names next to the ids."""
    columns: list[str] = []
    for column in table.columns:
        columns += [column, *(label for label, key in table.labels if key == column)]
    writers = [(column, _KEPT.get(column, _kept) if column in table.columns else None) for column in columns]
    ident = columns.index("ident") if "ident" in columns else None

    def cells(row: BookRow) -> list[object]:
        names = labels.of(row)
        found = [
            cell(getattr(row, column)) if cell is not None else kept_text(names[column])
            for column, cell in writers
        ]
        if isinstance(row, Account) and row.ident_by is IdentBy.ANI and ident is not None:
            found[ident] = kept_number(_listed(row.ident))
        return found

    return CsvForm(tuple(columns), cells, "utf-8-sig", "\r\n")


# ---- the cell of each column ---------------------------------------------------------------


def _plain(value: object) -> object:
    return plain_text(value) if isinstance(value, str) else value  # csv writes None as an empty cell


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _listed(value: tuple[str, ...]) -> str:
    return ";".join(value)


def _cps(value: float | None) -> object:
    return int(value) if value is not None and value.is_integer() and value < 2**53 else value


def _secret(value: str | None) -> str:
    return NO_PASSWORD if value is None else value


_ORDINARY: dict[str, _Cell] = {
    "orig_enabled": _boolean,
    "term_enabled": _boolean,
    "ident": lambda value: plain_text(_listed(value)),
    "gateways": lambda value: plain_text(_listed(value)),
    "orig_cps": _cps,
    "password": _secret,
}


def _kept(value: object) -> str:
    """Return the cell of a text or an integer for spreadsheets."""
    if isinstance(value, str):
        return kept_text(value)
    return kept_integer(value) if isinstance(value, int) else ""


def _kept_cps(value: float | None) -> str:
    rate = _cps(value)
    return kept_number(repr(rate)) if isinstance(rate, float) else _kept(rate)


_KEPT: dict[str, _Cell] = {
    "number": kept_number,
    "tech_prefix": kept_number,
    "orig_enabled": lambda value: "yes" if value else "no",  # true and false have other names in other languages
    "term_enabled": lambda value: "yes" if value else "no",
    "ident": lambda value: kept_text(_listed(value)),
    "gateways": lambda value: kept_text(_listed(value)),
    "orig_cps": _kept_cps,
    "password": lambda value: kept_text(NO_PASSWORD) if value is None else value,
}
