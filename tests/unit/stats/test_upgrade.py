"""Counters of a file that an earlier version of the program wrote."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import pytest

from identengine.errors import StoreError
from identengine.stats.file import CounterFile, read
from identengine.stats.registry import HISTOGRAMS, PLACE
from identengine.stats.upgrade import earlier

FORMAT_2 = b"identengine/cnt\n\2\0\0\0" + bytes.fromhex("fed53806650458df7b843caa")
SIZE_2 = 16384 + 2 * 160 * 1024
CELLS_2 = 550
"""Cells of format 2, in which the HTTP process was called the front."""
ADDRESSES = {"counts": {"192.0.2.1": 9, "2001:db8::1": 4}, "floor": 2}


def of_format_2() -> bytearray:
    """Return a file of format 2 in which each cell holds its own number, plus 1000."""
    raw = bytearray(SIZE_2)
    raw[: len(FORMAT_2)] = FORMAT_2
    struct.pack_into(f"={CELLS_2}Q", raw, 64, *range(1000, 1000 + CELLS_2))
    for number, addresses in ((6, {"counts": {"192.0.2.9": 1}, "floor": 0}), (7, ADDRESSES)):
        body = msgspec.msgpack.encode(addresses)
        begin = 16384 + number % 2 * 160 * 1024
        struct.pack_into("=QII", raw, begin, number, len(body), zlib.crc32(body, number))
        raw[begin + 16 : begin + 16 + len(body)] = body
    return raw


def written(folder: Path, raw: bytes | bytearray) -> Path:
    (folder / "counters").write_bytes(raw)
    return folder


def test_counters_survive_an_upgrade(tmp_path: Path) -> None:
    written(tmp_path, of_format_2())
    with CounterFile(tmp_path, pytest.fail) as file:
        assert file.cells[PLACE["requests_authorize"]] == 1000
        assert list(file.cells[PLACE["accepted"] : PLACE["accepted"] + 12]) == list(range(1054, 1066))
        places = {"restarts_decider": 493, "restarts_standby": 494, "restarts_http": 495, "began": 498}
        assert {name: file.cells[PLACE[name]] - 1000 for name in places} == places
        for histogram, first in zip(HISTOGRAMS, (519, 537), strict=True):
            begin = PLACE[histogram.name]
            assert list(file.cells[begin : begin + histogram.cells]) == list(
                range(1000 + first, 1000 + first + histogram.cells)
            )
        file.cells[PLACE["restarts_http"]] += 1
    with CounterFile(tmp_path, pytest.fail) as file:
        assert file.cells[PLACE["restarts_http"]] == 1496
    snapshot = read(tmp_path)
    assert snapshot.addresses.largest(5) == [("192.0.2.1", 9), ("2001:db8::1", 4)]
    assert snapshot.addresses.floor == 2


def test_a_command_reads_a_file_that_no_new_server_has_converted(tmp_path: Path) -> None:
    before = bytes(of_format_2())
    written(tmp_path, before)
    assert read(tmp_path).values["restarts_http"] == 1495
    assert (tmp_path / "counters").read_bytes() == before


def test_torn_addresses_leave_the_other_copy(tmp_path: Path) -> None:
    raw = of_format_2()
    raw[16384 + 160 * 1024 + 20] ^= 1
    found = earlier(bytes(raw))
    assert found is not None
    assert found.addresses.counts == {"192.0.2.9": 1}
    raw[16384 + 20] ^= 1
    found = earlier(bytes(raw))
    assert found is not None
    assert found.addresses.counts == {}
    assert read(written(tmp_path, raw)).values["accepted"] == sum(range(1054, 1066))


@pytest.mark.parametrize("size", [0, 20, 1000, SIZE_2 - 1])
def test_a_truncated_file_is_not_converted(tmp_path: Path, size: int) -> None:
    written(tmp_path, of_format_2()[:size])
    with pytest.raises(StoreError, match="cannot read the counters"):
        read(tmp_path)
    warnings: list[str] = []
    with CounterFile(tmp_path, warnings.append) as file:
        assert file.cells[PLACE["restarts_http"]] == 0
    assert len(warnings) == 1
