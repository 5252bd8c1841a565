"""The writer: it never waits for the disk, its queue is bounded, and it recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import wait_for
from unit.record.test_reader import body, ids

from identengine.record import writer
from identengine.record.entry import encode
from identengine.record.ring import RingSettings
from identengine.record.segments import frame, segments
from identengine.record.writer import RecordWriter


class Later:
    """The calls that an event loop would make later."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, _: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        """Make them now."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def settings(folder: Path, *, active: bool = True) -> RingSettings:
    return RingSettings(folder=folder, max_bytes=64 << 20, max_age=30.0, active=active)


def add(made: RecordWriter, call_id: str, size: int = 0) -> None:
    encoded = encode(body(call_id, name="n" * size))
    made.add([frame(time.time(), encoded), encoded], 1)


@pytest.fixture
def later() -> Later:
    return Later()


def test_entries_are_collected_then_written(tmp_path: Path, later: Later) -> None:
    made = RecordWriter(settings(tmp_path / "r"), later)
    for number in range(3):
        add(made, f"c{number}")
    assert len(later.calls) == 1, "one call flushes all"
    later.run()
    wait_for(lambda: made.written == 3)
    assert ids(tmp_path / "r") == ["c2", "c1", "c0"]
    add(made, "last")
    made.close(10)
    assert (ids(tmp_path / "r")[0], made.lost, made.trouble) == ("last", 0, None)


def test_a_large_collection_is_passed_on_at_once(tmp_path: Path, later: Later) -> None:
    made = RecordWriter(settings(tmp_path / "r"), later)
    for number in range(writer.FLUSH_BYTES // 1000 + 1):
        add(made, f"c{number}", 1000)
    wait_for(lambda: made.written > 0)
    made.close(10)


def test_a_disk_that_hangs_delays_no_decision(
    tmp_path: Path, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, free = RecordWriter(settings(tmp_path / "r"), later), threading.Event()
    wait_for(lambda: segments(tmp_path / "r"))  # the first probe is over
    append = made._ring.append
    monkeypatch.setattr(made._ring, "append", lambda raw: (free.wait(20), append(raw)))
    began, count = time.thread_time(), writer.QUEUE_BYTES // 50_000 + 100
    for number in range(count):
        add(made, f"c{number}", 50_000)
        made.flush()
    assert time.thread_time() - began < 5
    assert 0 < made.lost < 200
    assert made.written == 0
    free.set()
    wait_for(lambda: made.written == count - made.lost)
    add(made, "again")
    made.close(10)
    assert ids(tmp_path / "r")[0] == "again"


def test_an_unusable_folder_is_tried_again(tmp_path: Path, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.02)
    (tmp_path / "r").write_text("")
    made = RecordWriter(settings(tmp_path / "r"), later)
    wait_for(lambda: made.trouble)
    assert made.trouble is not None
    assert "Not a directory" in made.trouble
    add(made, "lost")
    made.flush()
    wait_for(lambda: made.lost == 1)
    (tmp_path / "r").unlink()
    wait_for(lambda: made.trouble is None)
    add(made, "kept")
    made.close(10)
    assert ids(tmp_path / "r") == ["kept"]


def test_other_settings_hold_for_the_next_entries(tmp_path: Path, later: Later) -> None:
    made = RecordWriter(settings(tmp_path / "a"), later)
    add(made, "c1")
    made.use(settings(tmp_path / "b"))
    add(made, "c2")
    made.close(10)
    assert (ids(tmp_path / "a"), ids(tmp_path / "b")) == (["c1"], ["c2"])


def test_an_inactive_writer_makes_no_folder(tmp_path: Path, later: Later) -> None:
    RecordWriter(settings(tmp_path / "r", active=False), later).close(10)
    assert not (tmp_path / "r").exists()
