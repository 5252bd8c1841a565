"""The header of a CSV table (interfaces.md 1): the separator of its columns, and their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from identengine.book.columns import Table
from identengine.book.mistakes import Mistake, unknown_column

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""Separators that are found without a ``sep=`` line, by their names in messages."""
_declared = re.compile(r'"?sep=([^\r\n"])"?[\r\n]*', re.IGNORECASE).fullmatch
"""Match the line by which a spreadsheet declares the separator, before the header."""


class Dialect(NamedTuple):
    """The form of a CSV table, and its lines from the header on."""

    separator: str
    skipped: int
    """Number of lines before the header."""
    lines: Iterator[str]

    @property
    def name(self) -> str:
        """Name of the separator in messages."""
        return SEPARATORS.get(self.separator, f'"{self.separator}"')


def dialect_of(lines: Iterator[str], table: Table) -> Dialect:
    """Return the dialect of a table. The separator is declared, or is the one that shows most columns."""
    first = next(lines, "")
    if declared := _declared(first):
        return Dialect(declared[1], 1, lines)

    def known(separator: str) -> int:
        try:
            names = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:
            return 0
        return sum(plain(name) in table.columns for name in names)

    return Dialect(max(SEPARATORS, key=known), 0, chain([first], lines))


def plain(name: str) -> str:
    """Return the form in which names of columns are compared: ``client_id`` for ``Client ID``."""
    return "_".join(name.lower().split())


def header_mistakes(cells: Iterable[str], table: Table) -> list[Mistake]:
    """Return the mistakes of a header. Its empty cells are columns to be ignored."""
    wrong: list[Mistake] = []
    seen: set[str] = set()
    for cell in cells:
        name = plain(cell)
        if not name:
            continue
        if name not in table.columns and name not in table.label_columns:
            text = 'expected commas, semicolons or tabs between the columns, got "|"' if "|" in name else None
            wrong.append(Mistake(cell.strip(), None, text or unknown_column(name, table.columns)))
        elif name in seen:
            wrong.append(Mistake(name, None, "this column appears twice"))
        seen.add(name)
    if table.key not in seen and not any("|" in name for name in seen):
        wrong.append(Mistake(table.key, None, MISSING))
    return wrong


MISSING = "this required column is missing"
