"""Mistakes in a row: where each is, and what would be right instead."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from identengine.errors import IdentengineError

_SHOWN = 80


class Mistake(NamedTuple):
    """What is wrong in one column of a row, or in the row as a whole (``column`` is None)."""

    column: str | None
    value: str | None
    expected: str


class RowError(IdentengineError):
    """A row cannot be used; ``mistakes`` names all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(_said(mistake) for mistake in mistakes))


def unknown_column(name: str, columns: Iterable[str]) -> str:
    """Say what would be right instead of the column ``name``."""
    known = tuple(columns)
    near = get_close_matches(name.strip().lower().replace(" ", "_"), known, n=1)
    return f"no such column; {near[0]} is meant?" if near else f"no such column; there are {', '.join(known)}"


def shown(value: object) -> str:
    """Return ``value`` as a message shows it: text as it is, a JSON value as JSON, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _said(mistake: Mistake) -> str:
    parts = [part for part in (mistake.column, None if mistake.value is None else repr(mistake.value)) if part]
    return f"{' '.join(parts)}: {mistake.expected}" if parts else mistake.expected
