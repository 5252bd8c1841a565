"""A mirror of each earlier format is read and converted, also after an interruption (engine.md 8.1)."""

from __future__ import annotations

from pathlib import Path

import lmdb
import msgspec
import pytest
from support.mirrors import ACTIVE, RESERVED, OldLeg, now, write

from identengine.calls import journal as journals
from identengine.calls.backend import LegSelector, Settings, unpacked
from identengine.calls.journal import Journal
from identengine.calls.journalfile import FORMAT, READABLE
from identengine.calls.journalformats import encode
from identengine.calls.memory import Calls
from identengine.model.records import Decision

ANSWER = {"accepted": True, "account_id": 7, "src_number": "44171"}


def legs() -> list[OldLeg]:
    began = now()
    reserved = [OldLeg(f"s\0r{n}", RESERVED, n % 5 + 1, 3, began, began + 200, ANSWER) for n in range(30)]
    return reserved + [OldLeg(f"s\0a{n}", ACTIVE, n % 5 + 1, 3, began, began + 7200) for n in range(30)]


def beat_format(path: Path) -> object:
    with lmdb.open(str(path), subdir=False, lock=False, readonly=True, max_dbs=5) as env:
        meta = env.open_db(b"meta", create=False)
        with env.begin() as txn:
            return msgspec.msgpack.decode(bytes(txn.get(b"beat", db=meta) or b""))[0]


def test_the_current_format_is_the_last_that_is_read() -> None:
    assert tuple(range(1, FORMAT + 1)) == READABLE, "each earlier format has a writer in tests/support/mirrors.py"


@pytest.mark.parametrize("mirror_format", READABLE)
def test_a_mirror_of_each_format(tmp_path: Path, mirror_format: int) -> None:
    path = write(tmp_path, mirror_format, legs(), stopped=["s\0stopped"])
    for _ in range(2):  # after the first time, the file has the current format
        with Journal(tmp_path, 100, 100, pytest.fail) as journal:
            assert not journal.created
            calls = Calls(Settings(max_legs=100), journal)
            kept, tombstones, notes = journal.read()
            calls.restore(kept, tombstones, notes, journal.clock())
            assert (calls.gauges().held, calls.gauges().reserved) == (60, 30)
            assert dict(calls.usage("accounts", 0, 10) or []) == {account << 1: 12 for account in range(1, 6)}
            assert dict(calls.usage("clients", 0, 10) or []) == {6: 60, -3: 60}
            (leg,) = (leg for row in kept for leg in row.living() if leg.call == "s\0r7")
            assert leg.answer is not None
            assert unpacked(leg.answer) == Decision(accepted=True, account_id=7, src_number="44171")
            assert 190 < leg.due - journal.clock() <= 200
            assert tombstones[0][1].stopped == [LegSelector("s\0stopped", None, None)]
            assert notes == {"lists:sbc1": ("list 1",)}
        assert beat_format(path) == FORMAT


def test_an_interrupted_conversion_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 1, legs())
    monkeypatch.setattr(journals, "_CONVERTED", 7)
    calls = 0
    for stop in (1, 3, 2):
        with monkeypatch.context() as patch:

            def encodes(value: object, most: int = stop) -> bytes:
                nonlocal calls
                calls += 1
                if calls > most:
                    raise KeyboardInterrupt
                return bytes(encode(value))

            calls = 0
            patch.setattr(journals, "encode", encodes)
            with pytest.raises(KeyboardInterrupt), Journal(tmp_path, 100, 100, pytest.fail) as journal:
                journal.read()
        assert beat_format(path) == 1
    with Journal(tmp_path, 100, 100, pytest.fail) as journal:
        kept, _, _ = journal.read()
        found = sorted(leg.call for row in kept for leg in row.living())
        assert found == sorted(leg.call for leg in legs())
    assert beat_format(path) == FORMAT


def test_a_mirror_of_a_later_format_is_renamed_with_an_alarm(tmp_path: Path) -> None:
    write(tmp_path, FORMAT + 1, legs())
    alarms: list[str] = []
    with Journal(tmp_path, 100, 100, alarms.append) as journal:
        assert journal.read() == ([], [], {})
    (alarm,) = alarms
    assert f"it is of format {FORMAT + 1}; this program reads the formats 1 to {FORMAT}" in alarm
