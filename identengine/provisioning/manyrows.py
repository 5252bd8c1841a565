"""One edit of many rows while it runs: each row is read, checked and written, and all mistakes are collected.

Rule: a mistake that every row has is reported once. Other mistakes name their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple

from identengine.book.mistakes import Mistake, RowError
from identengine.errors import LoadError, Problem
from identengine.provisioning.choices import COMMAND_LINE
from identengine.provisioning.rows import R, Rows
from identengine.store.draft import Draft

_LISTED = 100
"""Largest number of mistakes and of warnings that are listed (interfaces.md 1)."""
_NAMED = 3
"""Rows that a warning of many rows names."""

Make = Callable[[R], tuple[R, Sequence[Mistake]]]
"""Return the new state of a row, and warnings. Raise RowError."""


class _Group:
    """The rows that have the same mistake or warning: the first of them, and their number."""

    def __init__(self) -> None:
        self.first: list[int | str] = []
        self.count = 0

    def add(self, key: int | str, most: int) -> None:
        self.count += 1
        if len(self.first) < most:
            self.first.append(key)


class _Kind(NamedTuple):
    """A mistake or a warning, as all rows have it that have the same."""

    column: str | None
    text: str


class ManyRows(Generic[R]):
    """The rows that one edit changes."""

    def __init__(self, rows: Rows[R], draft: Draft) -> None:
        self._rows = rows
        self._draft = draft
        self._checks = rows.checks(draft)
        self._mistakes: dict[Mistake, _Group] = {}
        self._mistake_count = 0
        self._warnings: dict[_Kind, tuple[Mistake, _Group]] = {}
        self.count = 0
        """Number of rows that were chosen."""

    def change(self, before: R, make: Make[R]) -> None:
        """Replace a row with the result of ``make``. Keep its mistakes for :meth:`finish`."""
        self.count += 1
        try:
            after, warnings = make(before)
            self._checks.check(before, after)
        except RowError as error:
            self._fail(self._rows.key(before), error)
            return
        if after != before and not self._mistakes:
            self._rows.put(self._draft, after)
        for warning in warnings:
            self._warn(self._rows.key(before), warning)

    def finish(self) -> tuple[Mistake | Problem, ...]:
        """Return the warnings. Raise RowError if all rows have the same mistakes, or else LoadError."""
        if not self._mistakes:
            for key, error in self._checks.finish():
                self._fail(key, error)
        if self._mistakes:
            raise self._error()
        return tuple(self._told(*one) for one in self._warnings.values())

    def _fail(self, key: int | str, error: RowError) -> None:
        for mistake in error.mistakes:
            self._mistake_count += 1
            if mistake in self._mistakes or len(self._mistakes) < _LISTED:
                self._mistakes.setdefault(mistake, _Group()).add(key, _LISTED)

    def _error(self) -> RowError | LoadError:
        common = [mistake for mistake, group in self._mistakes.items() if group.count == self.count]
        if len(common) == len(self._mistakes):
            return RowError(common)
        problems = [mistake.located(COMMAND_LINE, None) for mistake in common] + [
            mistake.located(f"{self._rows.name} {key}", None)
            for mistake, group in self._mistakes.items()
            if group.count < self.count
            for key in group.first
        ]
        return LoadError(problems[:_LISTED], self._mistake_count - len(common) * (self.count - 1))

    def _warn(self, key: int | str, warning: Mistake) -> None:
        kind = _Kind(warning.column, warning.many or warning.expected)
        if kind in self._warnings or len(self._warnings) < _LISTED:
            self._warnings.setdefault(kind, (warning, _Group()))[1].add(key, _NAMED)

    def _told(self, warning: Mistake, group: _Group) -> Mistake | Problem:
        """Return a warning with the rows that have it. The warning of an edit of a single row is unchanged."""
        if self.count == 1:
            return warning
        if group.count == 1:
            return warning.located(f"{self._rows.name} {group.first[0]}", None)
        named = f"{self._rows.name}s {', '.join(map(str, group.first))}"
        if group.count > len(group.first):
            named += " and more"
        if warning.many is None:
            return Mistake(warning.column, None, f"{warning.expected} ({group.count:,} {named})")
        return Mistake(warning.column, None, warning.many.format(f"{group.count:,}", named))
