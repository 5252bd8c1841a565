"""A mirror of a set of calls in memory, and a comparison of a set with its mirror and its counters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from identengine.calls.backend import (
    LegSelector,
)
from identengine.calls.journalformats import encode
from identengine.calls.leg import Leg
from identengine.calls.legs import LAPSED
from identengine.calls.levels import account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, MirrorError, RoomLeft
from identengine.calls.overview import (
    LegFilter,
    LegView,
)

_decode_legs = msgspec.msgpack.Decoder(list[Leg | None]).decode


class Copy:
    """A mirror that keeps the encoded rows and their dead places, and can refuse all changes."""

    room_left = RoomLeft.AMPLE
    generation = 0
    broken = False

    def __init__(self) -> None:
        self.rows: dict[int, tuple[bytes, int]] = {}
        self.complete_at = -1

    def write(self, changes: Changes) -> None:
        if self.broken:
            raise MirrorError
        new = dict(self.rows)
        for serial, row in changes.rows.items():
            if not row.left:
                new.pop(serial, None)
            elif row.stored == self.generation:
                new[serial] = new[serial][0], row.dead
            else:
                new[serial] = encode(row.legs), 0
        self.rows = new

    def complete(self) -> None:
        self.complete_at = self.generation

    def legs(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        kept = [
            leg
            for value, dead in self.rows.values()
            for place, leg in enumerate(_decode_legs(value))
            if leg is not None and not dead >> place & 1
        ]
        legs = {
            (leg.call, leg.leg): (leg.row, leg.place, leg.state, leg.switch, leg.since, leg.due) for leg in kept
        }
        assert len(legs) == len(kept)
        return legs


def key(leg: LegView) -> tuple[str, str]:
    return leg.call, leg.leg


def all_legs(calls: Calls) -> list[LegView]:
    found: list[LegView] = []
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = calls.page(cursor, 256, LegFilter())
        found += page
    return found


def held(calls: Calls) -> set[tuple[str, str]]:
    return {key(leg) for leg in all_legs(calls) if leg.state != LAPSED}


def is_consistent(calls: Calls, mirror: Copy, where: str) -> None:
    """Fail unless counters, look-ups, mirror and leases are those of the legs."""
    legs = all_legs(calls)
    gauges = calls.gauges()
    assert len({key(leg) for leg in legs}) == len(legs), where
    assert gauges.held == sum(leg.state != LAPSED for leg in legs), where
    assert gauges.lapsed == sum(leg.state == LAPSED for leg in legs), where
    for of in ("accounts", "clients"):
        counted: Counter[int] = Counter()
        for leg in (leg for leg in legs if leg.state != LAPSED):
            if of == "accounts":
                counted[account_counter(leg.account_id, leg.direction)] += 1
            else:
                counted.update(
                    counter for client in leg.client_ids for counter in client_counters(client, leg.direction)
                )
        assert dict(calls.usage(of, 0, 100) or []) == counted, where
    for leg in legs:
        assert calls.matching(LegSelector(leg.call, leg.direction, leg.leg[1:] or None), LegFilter()), where
    mirrored = mirror.legs()
    assert {key(leg): (leg.state, leg.switch, leg.since, leg.due) for leg in legs} == {
        name: values[2:] for name, values in mirrored.items()
    }, where
    assert len({values[:2] for values in mirrored.values()}) == len(legs), where
