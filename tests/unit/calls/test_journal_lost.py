"""A mirror whose file is lost or fails is written again from memory (engine.md 5.8)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from identengine.calls.backend import (
    Admit,
    LegSelector,
    Refused,
    Settings,
    Stop,
)
from identengine.calls.journal import Journal
from identengine.calls.journalfile import InUseError
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.mirror import MirrorReports
from identengine.calls.overview import (
    LegFilter,
)
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

COUNT = 600
LEVELS = Levels(
    account_counter(1, Direction.ORIGINATION), None, None, ClientLevels(client_counters(1, Direction.ORIGINATION))
)


class Reports:
    """The reports of a mirror."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def reports(self) -> MirrorReports:
        return MirrorReports(
            lambda why: self.lines.append(f"lost: {why}"),
            lambda why: self.lines.append(f"unsaved: {why}"),
            lambda: self.lines.append("over"),
        )


@pytest.fixture
def heard() -> Reports:
    return Reports()


@pytest.fixture
def journal(tmp_path: Path, heard: Reports) -> Iterator[Journal]:
    with Journal(tmp_path / "calls", 1000, 100, pytest.fail, heard.reports()) as opened:
        yield opened


@pytest.fixture
def calls(journal: Journal) -> Calls:
    made = Calls(Settings(max_legs=1000), journal)
    made.restore(*journal.read(), journal.clock())
    for first in range(0, COUNT, 50):
        made.apply([admit(f"c{n}") for n in range(first, first + 50)], journal.clock())
    made.apply([Stop(LegSelector(call_key("s", "gone"), None, None))], journal.clock())
    return made


def admit(call_id: str) -> Admit:
    return Admit(call_key("s", call_id), "o", "s", b"", Decision(accepted=True), LEVELS)


def beat(journal: Journal) -> None:
    journal._last_beat = 0.0
    journal.beat()


def write_anew(calls: Calls, journal: Journal) -> int:
    """Do all steps. Return their number."""
    steps = 1
    while calls.work(journal.clock()):
        steps += 1
    return steps


def kept(folder: Path) -> tuple[int, bool, int]:
    """Return the number of legs that the next decider finds, if it finds a mark, and the number of stops."""
    with Journal(folder / "calls", 1000, 100, pytest.fail) as journal:
        rows, tombstones, _ = journal.read()
        return sum(row.left for row in rows), journal.incomplete, sum(len(row.stopped) for _, row in tombstones)


def test_a_lost_file_is_written_anew_in_steps(
    tmp_path: Path, journal: Journal, calls: Calls, heard: Reports
) -> None:
    shutil.rmtree(tmp_path / "calls")
    beat(journal)
    assert heard.lines == [f"lost: {tmp_path}/calls/lock is missing"]
    calls.work(journal.clock())
    calls.apply([admit("meanwhile"), Stop(LegSelector(call_key("s", "c0"), None, None))], journal.clock())
    assert write_anew(calls, journal) > COUNT / 256
    assert journal.trouble is None
    assert heard.lines[1:] == ["over"]
    journal.close()
    assert kept(tmp_path) == (COUNT, False, 2)


def test_a_death_while_the_file_is_written_anew_leaves_a_mark(
    tmp_path: Path, journal: Journal, calls: Calls
) -> None:
    (tmp_path / "calls" / "calls.mdb").unlink()
    beat(journal)
    calls.work(journal.clock())
    journal.close()
    legs, incomplete, _ = kept(tmp_path)
    assert 0 < legs < COUNT
    assert incomplete
    assert kept(tmp_path)[1] is False, "it is reported once"


def test_a_file_that_fails_is_replaced(tmp_path: Path, journal: Journal, calls: Calls, heard: Reports) -> None:
    journal._env.close()  # each use of it is an error of LMDB now
    (answer,) = calls.apply([admit("rejected")], journal.clock())
    assert answer == Refused(Reason.OVERLOAD)
    assert not calls.matching(LegSelector(call_key("s", "rejected"), None, None), LegFilter())
    beat(journal)
    calls.work(journal.clock())
    (answer,) = calls.apply([admit("accepted")], journal.clock())
    assert isinstance(answer, Decision)
    write_anew(calls, journal)
    assert [line.partition(":")[0] for line in heard.lines] == ["lost", "over"]
    journal.close()
    assert kept(tmp_path)[:2] == (COUNT + 1, False)


def test_without_a_folder_the_calls_continue_in_memory(
    tmp_path: Path, journal: Journal, calls: Calls, heard: Reports
) -> None:
    shutil.rmtree(tmp_path / "calls")
    (tmp_path / "calls").write_text("")
    for _ in range(3):
        beat(journal)
        assert isinstance(calls.apply([admit(str(len(heard.lines)))], journal.clock())[0], Decision)
    assert [line.partition(":")[0] for line in heard.lines] == ["lost", "unsaved"], "each once"
    assert journal.used() == 0
    (tmp_path / "calls").unlink()
    beat(journal)
    write_anew(calls, journal)
    assert heard.lines[2:] == ["over"]
    journal.close()
    assert kept(tmp_path)[:2] == (calls.gauges().held, False)


def test_a_lock_that_another_process_took_is_left_to_it(
    tmp_path: Path, journal: Journal, calls: Calls, heard: Reports
) -> None:
    shutil.rmtree(tmp_path / "calls")
    with Journal(tmp_path / "calls", 1000, 100, pytest.fail) as other:
        other.read()
        beat(journal)
        assert "another process uses the set of calls" in heard.lines[1]
        calls.apply([admit("in memory")], journal.clock())
        assert other.read()[0] == []
    beat(journal)
    with pytest.raises(InUseError):
        Journal(tmp_path / "calls", 1000, 100, pytest.fail)
    write_anew(calls, journal)
    journal.close()
    assert kept(tmp_path)[0] == COUNT + 1


def test_a_lost_lock_makes_the_whole_file_new(tmp_path: Path, journal: Journal, calls: Calls) -> None:
    """Another process may have had the lock, and may have changed the file."""
    before = (tmp_path / "calls" / "calls.mdb").stat().st_ino
    (tmp_path / "calls" / "lock").unlink()
    beat(journal)
    write_anew(calls, journal)
    journal.close()
    assert (tmp_path / "calls" / "calls.mdb").stat().st_ino != before
    assert kept(tmp_path)[:2] == (COUNT, False)
