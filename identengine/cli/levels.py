"""The use and limit of each level of a leg, as a running server reports them (engine.md 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from identengine.cli.operatorclient import OperatorClient
from identengine.cli.output import Column, table
from identengine.cli.styles import Painted, Style

if TYPE_CHECKING:
    from identengine.model.records import Direction
    from identengine.wire.operator import Level

_COLUMNS = (
    Column("Level", firm=True),
    Column("ID", right=True),
    Column("Name"),
    Column("Limit of", firm=True),
    Column("Use", right=True),
    Column("Limit", right=True),
    Column("Full", firm=True),
)


def levels_of(
    server: OperatorClient, account_id: int, direction: Direction, client_ids: tuple[int, ...] = ()
) -> tuple[Level, ...]:
    """Return the levels of an account's legs. Without the clients of a held leg, they are those of the book."""
    from identengine.wire.operator import Levels, LevelsRequest

    return server.ask(LevelsRequest(account_id, direction.value, client_ids), Levels).rows


def print_levels(levels: Iterable[Level]) -> None:
    """Print the levels as a table, nearest the account first."""
    table(_COLUMNS, map(_cells, levels))


def _cells(level: Level) -> tuple[str, ...]:
    use = f"{level.use:,.0f}" if level.use == int(level.use) else f"{level.use:,.1f}"
    return (
        level.level,
        "" if level.id is None else str(level.id),
        level.name or "",
        level.column,
        use,
        "none" if level.limit is None else f"{level.limit:,g}",
        Painted("full", Style.FULL) if level.full else "",
    )
