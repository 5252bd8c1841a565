"""What an import did, or would do: counts, the first hundred of every list, warnings and what it left out."""

from __future__ import annotations

import msgspec

from identengine.errors import Problem

FIRST = 100
"""How many of a list are named; of the rest there is a count (interfaces.md 1)."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """The first of a list of ids or numbers, and how many there are in all."""

    first: tuple[int | str, ...] = ()
    total: int = 0


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one table that was in the folder."""

    rows: int = 0
    """Rows in the file, bad ones too."""
    added: int = 0
    changed: Listed = Listed()
    unchanged: int = 0
    skipped: int = 0
    """Bad rows that ``skip_bad`` left out."""
    disabled: Listed = Listed()
    """Accounts that the table lacks and that were switched off (engine.md 1.5)."""
    switched_off: Listed = Listed()
    """Accounts that the table itself switches off, both parts, and that were on before."""
    removed: Listed = Listed()
    """DIDs that the table lacks; with ``missing`` = ``remove`` accounts that it lacks, and all their DIDs."""
    kept: Listed = Listed()
    """Rows that the table lacks and that stay as they are."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did; of a dry run, or where ``needs_yes`` is set, what it would do."""

    version: int | None = None
    """The version that it made; None where it made none: nothing to change, a dry run, or ``needs_yes``."""
    dry_run: bool = False
    clients: TableReport | None = None
    """None: the table was not in the folder and is left as it is."""
    accounts: TableReport | None = None
    dids: TableReport | None = None
    """Also set where DIDs went with the accounts that owned them."""
    warnings: tuple[Problem, ...] = ()
    """The first of them; each names something allowed that will bite."""
    warning_count: int = 0
    problems: tuple[Problem, ...] = ()
    """The first mistakes of the rows that ``skip_bad`` left out."""
    problem_count: int = 0
    needs_yes: str | None = None
    """What it would do, where that is so much that it wants ``yes``; then nothing was changed."""

    @property
    def changes(self) -> int:
        """How many rows were added, changed, disabled or removed."""
        tables = [table for table in (self.clients, self.accounts, self.dids) if table]
        return sum(
            table.added + table.changed.total + table.disabled.total + table.removed.total for table in tables
        )


class Listing:
    """A :class:`Listed` in the making."""

    def __init__(self) -> None:
        self._first: list[int | str] = []
        self.total = 0

    def add(self, key: int | str) -> None:
        """Take one more into the list."""
        self.total += 1
        if self.total <= FIRST:
            self._first.append(key)

    def done(self) -> Listed:
        """Return the list as it stands."""
        return Listed(tuple(self._first), self.total)


class Problems:
    """The first mistakes or warnings, and how many there are."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.total = 0

    def add(self, problem: Problem) -> None:
        """Take one more; it is kept where it is among the first."""
        self.total += 1
        if self.total <= FIRST:
            self.first.append(problem)

    def add_first(self, problem: Problem) -> None:
        """Take one more that is kept whatever came before it."""
        self.total += 1
        self.first.insert(0, problem)
        del self.first[FIRST:]


class TableCounts:
    """A :class:`TableReport` in the making."""

    def __init__(self) -> None:
        self.rows = self.added = self.unchanged = self.skipped = 0
        self.changed = Listing()
        self.reset: dict[str, Listing] = {}
        """Column to the rows that its absence set back to the default."""
        self.disabled = Listing()
        self.switched_off = Listing()
        self.removed = Listing()
        self.kept = Listing()

    def done(self) -> TableReport:
        """Return the report as it stands."""
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
