"""The report of an import or of its dry run: counts, the first hundred of every list, warnings, skipped rows."""

from __future__ import annotations

import msgspec

from identengine.book.loosening import FieldChange
from identengine.errors import Problem

FIRST = 100
"""Items of a list that a report names. The total counts the rest (interfaces.md 1)."""
_FIELDS = 100_000
"""Fields of a list that a report names. More fields would not fit into memory."""
_LINES = 3
"""Lines that a warning of many rows names."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """The first items of a list of ids or numbers, and the number of all items."""

    first: tuple[int | str, ...] = ()
    total: int = 0


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """The changes to one table."""

    rows: int = 0
    """Rows in the file, including bad rows."""
    added: int = 0
    changed: Listed = Listed()
    unchanged: int = 0
    skipped: int = 0
    """Bad rows that ``skip_bad`` skipped."""
    disabled: Listed = Listed()
    """Accounts that are not in the table, and that the import disabled (engine.md 1.5)."""
    switched_off: Listed = Listed()
    """Accounts whose row in the table disables both parts, and that were enabled before."""
    removed: Listed = Listed()
    """DIDs that are not in the table, unless ``missing`` is ``"keep"``.

    With ``"remove"`` also absent accounts, and all their DIDs.
    """
    kept: Listed = Listed()
    """Rows of the store that are not in the table and stay unchanged."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that an import made, or would make if ``dry_run`` or ``needs_yes`` is set."""

    version: int | None = None
    """The new version. None if nothing changed, after a dry run, or if ``needs_yes`` is set."""
    dry_run: bool = False
    clients: TableReport | None = None
    """None if the table was not in the folder and stays unchanged."""
    accounts: TableReport | None = None
    dids: TableReport | None = None
    """Also set if DIDs were removed together with their accounts."""
    warnings: tuple[Problem, ...] = ()
    """The first warnings. Each names a setting that is allowed but probably unintended.

    Equal warnings of many rows are one, without a line and a value.
    """
    warning_count: int = 0
    loosens: tuple[FieldChange, ...] = ()
    """The first fields of existing rows that let more calls pass than before (engine.md 9.2)."""
    loosens_count: int = 0
    held_closed: tuple[FieldChange, ...] = ()
    """The first fields that the book would open, and that stay as a person closed them (engine.md 9.3)."""
    held_closed_count: int = 0
    problems: tuple[Problem, ...] = ()
    """The first mistakes in the rows that ``skip_bad`` skipped."""
    problem_count: int = 0
    needs_yes: str | None = None
    """A sentence that says how much the import would change, if it needs ``yes`` and did not get it."""

    @property
    def changes(self) -> int:
        """Number of rows that were added, changed, disabled or removed."""
        tables = [table for table in (self.clients, self.accounts, self.dids) if table]
        return sum(
            table.added + table.changed.total + table.disabled.total + table.removed.total for table in tables
        )


class Listing:
    """Builds a :class:`Listed`."""

    def __init__(self) -> None:
        self._first: list[int | str] = []
        self.total = 0

    def add(self, key: int | str) -> None:
        """Add an item."""
        self.total += 1
        if self.total <= FIRST:
            self._first.append(key)

    def done(self) -> Listed:
        """Return the list of the items so far."""
        return Listed(tuple(self._first), self.total)


class Problems:
    """The first mistakes or warnings, and the number of all of them."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.total = 0

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is among the first."""
        self.total += 1
        if self.total <= FIRST:
            self.first.append(problem)


class _Warning:
    """A warning, and the lines of the rows that have it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.lines: list[int] = []
        self.count = 0

    def done(self, many: str | None) -> Problem:
        """Return the warning of all rows. A single row has its own message."""
        if many is None or self.count == 1:
            return self.problem
        lines = list(dict.fromkeys(self.lines))
        named = f"{lines[0]}" if len(lines) == 1 else f"{', '.join(map(str, lines[:-1]))} and {lines[-1]}"
        if self.count > len(self.lines):
            named = f"{', '.join(map(str, lines))} and more"
        text = many.format(f"{self.count:,}", f"{'line' if len(lines) == 1 else 'lines'} {named}")
        return Problem(self.problem.file, None, self.problem.column, None, text)


class Warnings:
    """The warnings of an import, one for all rows of a file and column that have the same."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None, str], _Warning] = {}
        self.total = 0
        """Number of different warnings."""

    def add(self, problem: Problem, many: str | None = None) -> None:
        """Add the warning of a row. ``many`` is its message if further rows have it (:class:`Mistake`)."""
        key = (problem.file, problem.column, many or str(problem))
        found = self._found.get(key)
        if found is None:
            self.total += 1
            if self.total > FIRST:
                return
            found = self._found[key] = _Warning(problem)
        found.count += 1
        if problem.line is not None and len(found.lines) < _LINES:
            found.lines.append(problem.line)

    def done(self) -> tuple[Problem, ...]:
        """Return the first warnings."""
        return tuple(one.done(key[2] if "{}" in key[2] else None) for key, one in self._found.items())


class FieldChanges:
    """The first fields of a list, and the number of all of them."""

    def __init__(self) -> None:
        self._first: list[FieldChange] = []
        self.total = 0

    def add(self, field: FieldChange) -> None:
        """Add a field."""
        self.total += 1
        if self.total <= _FIELDS:
            self._first.append(field)

    def done(self) -> tuple[FieldChange, ...]:
        """Return the first fields."""
        return tuple(self._first)


class TableCounts:
    """Builds a :class:`TableReport`."""

    def __init__(self) -> None:
        self.rows = self.added = self.unchanged = self.skipped = 0
        self.changed = Listing()
        self.disabled = Listing()
        self.switched_off = Listing()
        self.removed = Listing()
        self.kept = Listing()

    def done(self) -> TableReport:
        """Return the report of the rows so far."""
        return TableReport(
            rows=self.rows,
            added=self.added,
            changed=self.changed.done(),
            unchanged=self.unchanged,
            skipped=self.skipped,
            disabled=self.disabled.done(),
            switched_off=self.switched_off.done(),
            removed=self.removed.done(),
            kept=self.kept.done(),
        )
