"""The use and limit of each level of a leg at one moment, for the record of decisions (engine.md 8.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from identengine.calls.buckets import LevelBuckets
from identengine.calls.counts import Counts
from identengine.calls.levels import Levels, clients_of
from identengine.model.records import Direction


class LevelUse(NamedTuple):
    """The use of one level, in the order of the fields of :class:`identengine.record.entry.LimitUse`."""

    level: str
    id: int | None
    column: str
    use: float
    limit: float | None
    full: bool


class LevelUses(Protocol):
    """A set of calls that reports the use of levels."""

    def level_uses(self, levels: Levels) -> list[LevelUse]:
        """Return the use and limit of each level, nearest the account first."""


def level_uses(levels: Levels, counts: Counts, buckets: LevelBuckets, now: float) -> list[LevelUse]:
    """Return the use of the buckets, the account, its clients, and all legs together."""
    return [*_paces(levels, buckets, now), *_capacities(levels, counts), *_totals(counts)]


def _paces(levels: Levels, buckets: LevelBuckets, now: float) -> Iterator[LevelUse]:
    if not levels.paced:
        return
    for level, number, rate, use, empty in buckets.uses(levels, now):
        yield LevelUse(level, number, "orig_cps", round(use, 3), rate, empty)


def _capacities(levels: Levels, counts: Counts) -> Iterator[LevelUse]:
    cells = levels.cells
    if levels.owner is not counts or cells[0].held < 0:
        cells = counts.cells(levels)
    column = "orig_capacity" if levels.direction is Direction.ORIGINATION else "term_capacity"
    held, most = cells[0].held, levels.capacity
    yield LevelUse("account", levels.account_id, column, held, most, most is not None and held >= most)
    limits = {index: limit for index, limit, _ in levels.client.limits}
    for above, client_id in enumerate(clients_of(levels.client.counters)):
        level = "reseller" if above else "client"
        index = 1 + 2 * above
        one_way, total = limits.get(index), limits.get(index + 1)
        held = cells[1 + above].held
        if one_way is not None:
            yield LevelUse(level, client_id, column, held, one_way, held >= one_way)
        if total is not None or one_way is None:
            held += counts.other_way(cells[1 + above]).held
            yield LevelUse(level, client_id, "capacity", held, total, total is not None and held >= total)


def _totals(counts: Counts) -> Iterator[LevelUse]:
    held, most = counts.held, counts.global_capacity
    yield LevelUse("global", None, "global_capacity", held, most, most is not None and held >= most)
    if not counts.has_room:
        yield LevelUse("server", None, "max_legs", held, counts.max_held, True)
