"""The mirror of the set of calls: what it keeps over a boot, after which the clock begins anew (engine.md 5.8)."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from identengine.calls import journal
from identengine.calls.journal import Journal
from identengine.calls.legs import RESERVED, Leg
from identengine.calls.levels import Counter
from identengine.calls.memory import Changes, MirrorFullError
from identengine.calls.messages import Named
from identengine.calls.slots import Slots
from identengine.calls.stops import Row


def opened(folder: Path) -> Journal:
    return Journal(folder, 1, 0, pytest.fail)


def fill(mirror: Journal, legs: int, now: float) -> int:
    """Keep so many legs, or as many as there is room for, in one batch each hundred; returns how many."""
    slots = Slots[Leg]()
    kept = 0
    row = msgspec.msgpack.encode(Row(now + 60, [Named("\0b", None, None)]))
    while kept < legs:
        for _ in range(min(100, legs - kept)):
            leg = Leg(
                0, "\0call", "o", "sbc1", RESERVED, (Counter(2),), now, now + 200, 60.0, None, None, b"x" * 500
            )
            leg.slot = ~slots.large.add(leg)
        try:
            mirror.write(Changes(slots.small, slots.large, {kept: row}))
        except MirrorFullError:
            break
        slots.large.changed.clear()
        kept += min(100, legs - kept)
    return kept


@pytest.mark.parametrize("legs", [3, 100_000], ids=["few", "as many as there is room for"])
def test_what_is_kept_over_a_boot_is_by_the_new_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legs: int
) -> None:
    monkeypatch.setattr(journal, "boot_id", lambda: "one")
    with opened(tmp_path) as mirror:
        mirror.read(5_000.0)
        kept = fill(mirror, legs, 5_000.0)
        assert kept == 3 or 1000 < kept < legs
    for boot, now in (("two", 100.0), ("three", 9_000.0)):
        monkeypatch.setattr(journal, "boot_id", lambda boot=boot: boot)
        for _ in range(2):  # it is the same to who reads it next, in this boot
            with opened(tmp_path) as mirror:
                found, stops, notes = mirror.read(now)
                assert len(found) == kept
                assert all(leg.due == pytest.approx(now + 200, abs=20) for leg in found)
                assert all(row.until == pytest.approx(now + 60, abs=20) for _, row in stops)
                assert not notes


def test_the_time_is_known_before_anything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "boot_id", lambda: "one")
    with opened(tmp_path) as mirror:
        mirror.read(5_000.0)
        fill(mirror, 1, 5_000.0)
    monkeypatch.setattr(journal, "boot_id", lambda: "two")
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 50)
    with opened(tmp_path) as mirror:
        (leg,), _, _ = mirror.read(100.0)
    assert leg.due == pytest.approx(250.0, abs=5)
