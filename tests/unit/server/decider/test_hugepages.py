"""The memory of a book moves to huge pages, and nothing depends on it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from identengine.server.decider import hugepages
from identengine.server.decider.hugepages import _regions

MAPS = """\
5581c0000000-5581c0a00000 rw-p 00000000 00:00 0                          [heap]
7f0000100000-7f0000900000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-p 00000000 00:00 0                          [anon: a name]
7f0002000000-7f0002400000 r--p 00000000 00:00 0
7f0003000000-7f0003400000 rw-s 00000000 00:01 8                          /dev/zero (deleted)
7f0004000000-7f0004400000 rw-p 00000000 fe:00 1234                       /usr/lib/a library.so
7f0005000000-7f0005100000 rw-p 00000000 00:00 0
"""

MOVED = """
import platform
from pathlib import Path
from identengine.server.decider.hugepages import collapse

def huge():
    rows = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(rows["AnonHugePages:"])

objects = [str(number) * 4 for number in range(500_000)]
before = huge()
moved = collapse()
has_call = tuple(map(int, platform.release().split("-")[0].split(".")[:2])) >= (6, 1)
print(huge() > before if has_call and moved else True, objects == [str(number) * 4 for number in range(500_000)])
"""


def test_regions_are_private_anonymous_memory_in_whole_pages() -> None:
    assert [(hex(begin), hex(end)) for begin, end in _regions(MAPS)] == [
        ("0x5581c0000000", "0x5581c0a00000"),
        ("0x7f0000200000", "0x7f0000800000"),
    ]


def test_memory_is_moved_and_stays_as_it_was() -> None:
    run = subprocess.run([sys.executable, "-c", MOVED], capture_output=True, text=True, check=False, timeout=60)
    assert (run.stdout, run.stderr) == ("True True\n", "")


def test_a_system_without_the_maps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugepages, "_MAPS", hugepages._MAPS / "nothing")
    assert hugepages.collapse() == 0
