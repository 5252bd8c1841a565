"""The use and limit of each level of a leg at one moment, for the record of decisions (engine.md 8.8).

A flood of calls above a limit causes as many of these lists. So they are plain tuples, of 1.5 microseconds a list.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from identengine.calls.buckets import LevelBuckets
from identengine.calls.counts import Counts
from identengine.calls.levels import Levels

LevelUse: TypeAlias = tuple[str, int | None, str, float, float | None, bool]
"""The use of one level: the fields of :class:`identengine.record.entry.LimitUse`."""


class LevelUses(Protocol):
    """A set of calls that reports the use of levels."""

    def level_uses(self, levels: Levels) -> list[LevelUse]:
        """Return the use and limit of each level, nearest the account first."""


def level_uses(levels: Levels, counts: Counts, buckets: LevelBuckets, now: float) -> list[LevelUse]:
    """Return the use of the buckets, the account, its clients, and all legs together."""
    cells = levels.cells
    if levels.owner is not counts or cells[0].held < 0:
        cells = counts.cells(levels)
    counter = levels.counter
    column = "term_capacity" if counter & 1 else "orig_capacity"
    uses: list[LevelUse] = []
    if levels.paced:
        uses += [
            (level, number, "orig_cps", round(use, 3), rate, empty)
            for level, number, rate, use, empty in buckets.uses(levels, now)
        ]
    held, most = cells[0].held, levels.capacity
    uses.append(("account", counter >> 1, column, held, most, most is not None and held >= most))
    limits = {index: limit for index, limit, _ in levels.client.limits}
    level = "client"
    for above in range(1, len(cells)):
        cell = cells[above]
        held, client_id, index = cell.held, cell.number >> 1, 2 * above - 1
        most = limits.get(index)
        if most is not None:
            uses.append((level, client_id, column, held, most, held >= most))
        if most is None or index + 1 in limits:
            held += counts.other_way(cell).held
            most = limits.get(index + 1)
            uses.append((level, client_id, "capacity", held, most, most is not None and held >= most))
        level = "reseller"
    held, most = counts.held, counts.global_capacity
    uses.append(("global", None, "global_capacity", held, most, most is not None and held >= most))
    if not counts.has_room:
        uses.append(("server", None, "max_legs", held, counts.max_held, True))
    return uses
