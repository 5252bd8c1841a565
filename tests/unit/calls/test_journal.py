"""The mirror of the set of calls across boots, each of which restarts the machine's clock (engine.md 5.8)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import lmdb
import msgspec
import pytest

from identengine.calls import clock, journal
from identengine.calls.backend import LegSelector
from identengine.calls.journal import Journal
from identengine.calls.leg import Leg, Row
from identengine.calls.legs import ACTIVE, RESERVED
from identengine.calls.levels import Counter
from identengine.calls.mirror import Changes, MirrorFullError, RoomLeft
from identengine.calls.tombstones import TombstoneRow

HOUR = 3600.0


class Machine:
    """A machine with simulated clocks and boots."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot, self.up, self.wall = "one", 5_000_000.0, 1e9
        monkeypatch.setattr(clock, "boot_id", lambda: self.boot)
        monkeypatch.setattr(time, "clock_gettime", lambda _: self.up)
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def pass_time(self, seconds: float) -> None:
        """Advance both clocks while the machine is on."""
        self.up += seconds
        self.wall += seconds

    def start_anew(self, boot: str, up: float, off: float) -> None:
        """Reboot after ``off`` seconds. ``up`` is the time of its own clock after the boot."""
        self.boot, self.up = boot, up
        self.wall += off


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def keep(mirror: Journal, call: str) -> None:
    """Store a leg with a lease of an hour, a stop and a note of the current time."""
    now = mirror.clock()
    leg = Leg(1, 0, call, "o", "sbc1", RESERVED, (Counter(2),), now, now + HOUR, 60.0)
    row = msgspec.msgpack.encode(TombstoneRow(now + 60, [LegSelector("\0b", None, None)]))
    mirror.write(Changes({1: Row(1, RESERVED, [leg], 1)}, {1: row}, {"switched:sbc1": now}))


def left(folder: Path) -> tuple[float, float, float]:
    """Return the remaining times of the leg and the stop, and the age of the note."""
    with Journal(folder, 10, 0, pytest.fail) as mirror:
        (legs,), ((_, row),), notes = mirror.read()
        (leg,) = legs.living()
        noted = notes["switched:sbc1"]
        assert isinstance(noted, float)
        now = mirror.clock()
        return round(leg.due - now, 3), round(row.until - now, 3), round(now - noted, 3)


def test_a_lease_loses_exactly_the_time_that_passed(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        keep(mirror, "\0a")
    machine.pass_time(10)
    assert left(tmp_path) == (HOUR - 10, 50, 10)
    machine.start_anew("two", 100.0, off=20)
    for _ in range(2):  # the next reader sees the same
        assert left(tmp_path) == (HOUR - 30, 30, 30)
    machine.pass_time(5)
    assert left(tmp_path) == (HOUR - 35, 25, 35)
    machine.start_anew("three", 9_000_000.0, off=1)
    assert left(tmp_path) == (HOUR - 36, 24, 36)
    machine.pass_time(9)
    assert left(tmp_path) == (HOUR - 45, 15, 45)


def test_a_crash_before_the_first_beat_of_a_boot(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
    machine.start_anew("two", 100.0, off=20)
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        machine.pass_time(0.5)
        keep(mirror, "\0a")
    machine.pass_time(2)
    assert left(tmp_path) == (HOUR - 2, 58, 2)


@pytest.mark.parametrize("boot", ["one", "two"])
def test_a_mirror_of_the_previous_format(tmp_path: Path, machine: Machine, boot: str) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        keep(mirror, "\0a")
        beat = mirror.clock.beat(2)
        before = msgspec.msgpack.encode((beat.format, beat.boot, beat.now, beat.wall))
        with mirror._env.begin(write=True) as txn:
            txn.put(b"beat", before, db=mirror._meta)
    machine.pass_time(10)
    if boot == "two":
        machine.start_anew(boot, 100.0, off=10)
        machine.pass_time(-10)
    for _ in range(2):
        assert left(tmp_path) == (HOUR - 10, 50, 10)


def test_the_clock_never_starts_before_stored_times(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        machine.pass_time(0.9)
        keep(mirror, "\0a")
    machine.start_anew("two", 100.0, off=-HOUR)
    assert left(tmp_path) == (HOUR, 60, 0)


def test_setting_the_wall_clock_matters_only_across_a_boot(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        keep(mirror, "\0a")
        machine.wall -= 1000 * HOUR
    assert left(tmp_path) == (HOUR, 60, 0)
    machine.start_anew("two", 100.0, off=-500 * HOUR)
    assert left(tmp_path) == (HOUR, 60, 0)


def test_a_clock_that_is_back_within_a_boot_makes_no_lease_longer(tmp_path: Path, machine: Machine) -> None:
    """Another time namespace, or a restored virtual machine, has an earlier time since boot."""
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        machine.pass_time(0.9)
        keep(mirror, "\0a")
    machine.up -= 1_000_000
    machine.wall += 10
    for _ in range(2):
        due, until, age = left(tmp_path)
        assert HOUR - 11 <= due <= HOUR - 9
        assert 49 <= until <= 51
        assert 9 <= age <= 11
    machine.pass_time(5)
    assert left(tmp_path)[0] <= HOUR - 14


def test_a_clock_that_runs_back_stands_still(machine: Machine) -> None:
    time_of_the_set = clock.Clock()
    before = time_of_the_set()
    machine.up -= 1000
    assert time_of_the_set() == before
    machine.up += 7
    assert time_of_the_set() == before + 7


def test_a_renewed_lease_is_not_longer_after_a_boot(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        machine.pass_time(0.9)
        now = mirror.clock()
        leg = Leg(1, 0, "\0a", "o", "sbc1", ACTIVE, (Counter(2),), now - 300, now + HOUR, HOUR)
        mirror.write(Changes({1: Row(1, ACTIVE, [leg], 1)}, {}, {}))
    machine.start_anew("two", 100.0, off=-HOUR)
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        ((row,), _, _) = mirror.read()
        (renewed,) = row.living()
        assert renewed.due - mirror.clock() <= HOUR


def test_a_mirror_reports_the_space_that_is_left(tmp_path: Path, machine: Machine) -> None:
    def write(**notes: tuple[str, ...] | None) -> RoomLeft:
        mirror.write(Changes({}, {}, dict(notes)))
        machine.pass_time(2)
        mirror.beat()
        return mirror.room_left

    large = ("x" * 10_000,) * 100
    with Journal(tmp_path, 1, 0, pytest.fail) as mirror:
        assert write() is RoomLeft.AMPLE
        seen = [write(**{str(number): large}) for number in range(7)]
        assert seen == [RoomLeft.AMPLE] * 4 + [RoomLeft.SCARCE] * 2 + [RoomLeft.RESERVE]
        with pytest.raises(MirrorFullError):
            write(more=large, again=large)
        assert mirror.room_left is RoomLeft.RESERVE
        assert write(**dict.fromkeys(map(str, range(7)))) is RoomLeft.AMPLE


def test_a_mirror_that_cannot_be_written_is_renamed(tmp_path: Path, machine: Machine) -> None:
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        keep(mirror, "\0a")
    alarms: list[str] = []
    with Journal(tmp_path, 10, 0, alarms.append) as mirror:
        noted = mirror._note_time

        def damaged_at_first(*, incomplete: bool | None = None) -> None:
            if not alarms:
                raise lmdb.CorruptedError("Located page was wrong type")
            noted(incomplete=incomplete)

        mirror._note_time = damaged_at_first  # type: ignore[method-assign]
        assert mirror.read() == ([], [], {})
        keep(mirror, "\0b")
    (alarm,) = alarms
    assert "Located page was wrong type" in alarm
    assert len([*tmp_path.glob("calls.mdb?*")]) == 1
    assert left(tmp_path) == (HOUR, 60, 0)


def test_a_mirror_whose_process_died_soon_after_reading_is_tried_first(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, alarms = tmp_path / "reading", list[str]()
    with Journal(tmp_path, 10, 0, pytest.fail) as mirror:
        mirror.read()
        keep(mirror, "\0a")
        mirror.beat()
        assert mark.exists()
        machine.pass_time(3)
        mirror.beat()
        assert not mark.exists()
    mark.touch()
    assert left(tmp_path) == (HOUR - 3, 57, 3)  # the trial changes nothing
    monkeypatch.setattr(journal, "_try_alone", lambda _: os.abort())
    mark.touch()
    with Journal(tmp_path, 10, 0, alarms.append) as mirror:
        assert mirror.read() == ([], [], {})
    (alarm,) = alarms
    assert "a process that reads or writes it crashes" in alarm
