"""Cells that spreadsheets, people and other systems write, and the message for each (engine.md 2.1, 2.2, 2.4).

``inputs.txt`` has a line for each cell: its kind, the cell as JSON, and the value, warnings or error.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.book.row import ACCOUNT, DID

from identengine.book.mistakes import Mistake, RowError
from identengine.book.numbers import numbers_of, range_in
from identengine.book.records import account_from, did_from

GOLDEN = Path(__file__).with_name("inputs.txt")
LINES = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]


def outcome(kind: str, cell: object) -> str:
    """Return the value that a cell of this kind has, with warnings, or its error."""
    warnings: list[Mistake] = []
    try:
        match kind:
            case "did":
                found = range_in(cell) if isinstance(cell, str) else None
                if found is not None:
                    numbers = list(numbers_of(*found))
                    return f"{len(numbers)} numbers from {numbers[0]} to {numbers[-1]}"
                value: object = did_from(DID | {"number": cell}, warnings=warnings).number
            case "ip" | "name" | "ani":
                row = ACCOUNT | {"ident_by": kind, "ident": cell, "orig_enabled": "no"}
                value = ";".join(account_from(row, None, None, warnings=warnings).ident)
            case _:
                row = ACCOUNT | {kind: cell}
                value = getattr(account_from(row, None, None, warnings=warnings), kind)
                value = ";".join(value) if isinstance(value, tuple) else value
    except RowError as error:
        return f"error: {error}"
    told = "".join(f" (warning: {warning.column}: {warning.expected})" for warning in warnings)
    return f"{value}{told}"


@pytest.mark.parametrize(("kind", "cell", "expected"), LINES)
def test_a_cell(kind: str, cell: str, expected: str) -> None:
    assert outcome(kind, json.loads(cell)) == expected


def test_the_table_has_good_cells_warnings_and_errors() -> None:
    outcomes = [line[2] for line in LINES]
    errors = [one for one in outcomes if one.startswith("error: ")]
    warned = [one for one in outcomes if "(warning: " in one]
    assert len(outcomes) >= 60
    assert len(errors) >= 30
    assert len(warned) >= 12
    assert len(outcomes) - len(errors) - len(warned) >= 15
