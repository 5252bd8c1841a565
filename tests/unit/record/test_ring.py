"""The ring of files: its bounds, ages, faults and other processes."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
from support.disk import fill, mounted
from unit.record.test_reader import body, framed, ids

from identengine.record.reader import RecordReader
from identengine.record.ring import MOST_SEGMENTS, Ring, RingSettings
from identengine.record.segments import segment_path, segments

DAY = 86_400.0


class Time:
    """A wall clock and a monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now, self.elapsed = 1e9, 0.0


def ring(folder: Path, time: Time | None = None, **more: object) -> Ring:
    time = time or Time()
    settings = {"folder": folder, "max_bytes": 1 << 20, "max_age": 30.0} | more
    return Ring(RingSettings(**settings), lambda: time.now, lambda: time.elapsed)  # type: ignore[arg-type]  # of the tests


def size(folder: Path) -> int:
    return sum(one.path.stat().st_size for one in segments(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "record"


def test_the_ring_is_bounded_and_keeps_the_newest(folder: Path) -> None:
    one, largest = ring(folder), 0
    for number in range(500):
        one.append(framed(body(f"c{number}", name="n" * 3000)))
        largest = max(largest, size(folder))
    assert (1 << 20) * 0.9 < largest <= 1 << 20
    found = ids(folder)
    assert found == [f"c{499 - place}" for place in range(len(found))]
    assert len(found) > 250


def test_two_rings_together_are_bounded(folder: Path) -> None:
    both = ring(folder), ring(folder)
    for number in range(600):
        both[number % 2].append(framed(body(f"c{number}", name="n" * 3000)))
        assert size(folder) <= 1 << 20
    assert "c599" in ids(folder)


def test_a_process_never_writes_to_the_file_of_another(folder: Path) -> None:
    old, new = ring(folder), ring(folder)
    old.append(framed(body("o1")))
    new.append(framed(body("n1")))
    old.append(framed(body("o2")))
    new.append(framed(body("n2")))
    assert [segment.number for segment in segments(folder)] == [1, 2]
    assert ids(folder) == ["n2", "n1", "o2", "o1"]
    assert RecordReader(folder).damaged == 0


def test_modes(folder: Path) -> None:
    folder.mkdir(0o755)
    ring(folder).append(framed(body()))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert segment_path(folder, 1).stat().st_mode & 0o777 == 0o600


def test_many_short_lives_leave_a_bounded_number_of_files(folder: Path) -> None:
    folder.mkdir()
    for number in range(1, MOST_SEGMENTS + 5):
        segment_path(folder, number).write_bytes(b"")
    one = ring(folder, max_bytes=1 << 30)
    one.append(framed(body()))
    assert len(segments(folder)) == MOST_SEGMENTS
    one.close()
    assert ids(folder) == ["c1"]


def test_a_life_without_entries_leaves_no_file(folder: Path) -> None:
    one = ring(folder)
    one.probe()
    assert len(segments(folder)) == 1
    one.close()
    assert segments(folder) == []


def test_old_segments_are_removed(folder: Path) -> None:
    time = Time()
    one = ring(folder, time)
    for number in range(3):
        one.append(framed(body(f"c{number}")))
        os.utime(segment_path(folder, number + 1), (time.now, time.now))
        time.now, time.elapsed = time.now + 20 * DAY, time.elapsed + 20 * DAY
    assert ids(folder) == ["c2", "c1"], "each segment spans a day, and the first was too old"
    one.sweep()
    assert ids(folder) == ["c2"], "60, 40 and 20 days old"
    time.now += 20 * DAY
    one.sweep()
    assert segments(folder) == []
    one.append(framed(body("new")))
    assert ids(folder) == ["new"], "its open segment was removed"


def test_a_clock_that_steps_back_removes_nothing(folder: Path) -> None:
    time = Time()
    one = ring(folder, time)
    one.append(framed(body("c1"), time.now))
    os.utime(segment_path(folder, 1), (time.now, time.now))
    time.now -= 1000 * DAY
    one.append(framed(body("c2"), time.now))
    one.sweep()
    assert ids(folder) == ["c2", "c1"]
    assert ids(folder, since=5e8) == ["c2", "c1"]


@pytest.mark.parametrize("kind", ["file", "folder", "replaced"])
def test_a_lost_file_is_made_again(folder: Path, kind: str) -> None:
    one = ring(folder)
    one.append(framed(body("c1")))
    segment_path(folder, 1).unlink()
    if kind == "replaced":
        segment_path(folder, 1).write_bytes(b"of another program")
    elif kind == "folder":
        folder.rmdir()
    one.append(framed(body("c2")))
    assert ids(folder) == ["c2"]


def test_a_file_in_place_of_the_folder_is_an_error(folder: Path) -> None:
    one = ring(folder)
    folder.write_text("")
    for work in (one.probe, lambda: one.append(framed(body()))):
        with pytest.raises(NotADirectoryError):
            work()
    folder.unlink()
    one.append(framed(body()))
    assert ids(folder) == ["c1"]


def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1) as disk:
        one = ring(disk / "record", max_bytes=1 << 24)
        one.append(framed(body("c1")))
        fill(disk)
        before = size(disk / "record")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            one.probe()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            one.append(framed(body("f", name="n" * 60_000)))
        assert size(disk / "record") <= before, "a torn entry is cut off"
        (disk / "ballast").unlink()
        one.append(framed(body("c2")))
        assert ids(disk / "record") == ["c2", "c1"]
        one.close()


def test_a_limit_on_the_size_of_files(folder: Path) -> None:
    one = ring(folder)
    one.append(framed(body("c1")))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            one.append(framed(body("big", name="n" * 3000)))
        one.append(framed(body("c2")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ids(folder) == ["c2", "c1"]
    assert RecordReader(folder).damaged == 0
