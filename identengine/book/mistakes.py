"""Mistakes in a row: the column, the value, and a message that names what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from identengine.errors import LONGEST_QUOTE, IdentengineError, Problem, nearest, quoted


class Mistake(NamedTuple):
    """A mistake in one column of a row or, without ``column``, in the whole row."""

    column: str | None
    value: str | None
    """The value as :func:`cell_text` returns it; None if there is no value. Never a password."""
    expected: str
    """The message, with the value where it helps. It can follow the column and a colon."""
    many: str | None = None
    """The message of a warning that many rows have, with ``{}`` for their number and for their lines."""

    def located(self, file: str, line: int | None) -> Problem:
        """Return the mistake with its place."""
        return Problem(file, line, self.column, self.value, self.expected)


class RowError(IdentengineError):
    """A row cannot be used; ``mistakes`` names all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(
            "; ".join(f"{one.column}: {one.expected}" if one.column else one.expected for one in mistakes)
        )


def unknown_column(name: str, columns: Iterable[str]) -> str:
    """Return the message for the unknown column ``name``: the nearest column, or else all of them."""
    known = tuple(columns)
    near = nearest(name.strip().lower().replace(" ", "_"), known)
    return (
        f"no such column; did you mean {near}?" if near else f"no such column; the columns are {', '.join(known)}"
    )


def cell_text(value: object) -> str:
    """Return a value for reports that programs read: text unchanged, other values as JSON, cut if long."""
    if not isinstance(value, str):
        return quoted(value)
    return value if len(value) <= LONGEST_QUOTE else value[: LONGEST_QUOTE - 1] + "…"
