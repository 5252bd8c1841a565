"""Clocks of servers that a test can set."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import pytest

_CLOCKS = struct.Struct("=ddd36s")
_SITE = """\
# Written by tests/support/clocks.py: the clocks of this process stand where a test says.
import builtins, io, mmap, struct, time

with builtins.open({path!r}, "rb") as _file:
    _map = mmap.mmap(_file.fileno(), 0, access=mmap.ACCESS_READ)
_clocks = struct.Struct("=ddd36s")
_gettime, _monotonic, _time, _open = time.clock_gettime, time.monotonic, time.time, io.open


def _clock_gettime(which):
    now = _gettime(which)
    shifted = {{time.CLOCK_BOOTTIME: 0, time.CLOCK_REALTIME: 1}}.get(which)
    return now if shifted is None else now + _clocks.unpack(_map[:])[shifted]


def _opened(file, *args, **more):
    if str(file) == "/proc/sys/kernel/random/boot_id":
        boot = _clocks.unpack(_map[:])[3].decode()
        if boot.strip(chr(0)):
            return io.StringIO(boot)
    return _open(file, *args, **more)


time.clock_gettime = _clock_gettime
time.monotonic = lambda: _monotonic() + _clocks.unpack(_map[:])[2]
time.time = lambda: _time() + _clocks.unpack(_map[:])[1]
builtins.open = io.open = _opened
"""


class Clocks:
    """The clocks of all servers that are started afterwards, and the machine's boot id as they see it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site = folder / "site"
        site.mkdir()
        path = folder / "clocks"
        path.write_bytes(bytes(_CLOCKS.size))
        (site / "sitecustomize.py").write_text(_SITE.format(path=str(path)))
        before = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep + before if before else ''}")
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._boot_id = b""
        self._boot = self._wall = self._monotonic = 0.0

    def _set(self) -> None:
        self._map[:] = _CLOCKS.pack(self._boot, self._wall, self._monotonic, self._boot_id)

    def stand_still(self, seconds: float) -> None:
        """Advance only ``time.monotonic``, as for processes that were stopped meanwhile."""
        self._monotonic += seconds
        self._set()

    def forward(self, seconds: float) -> None:
        """Advance every clock that calls depend on."""
        self._boot += seconds
        self._wall += seconds
        self._set()

    def set_wall(self, seconds: float) -> None:
        """Set only the wall clock back by ``seconds``."""
        self._wall += seconds
        self._set()

    def set_boot(self, boot_id: str, base: float) -> None:
        """Simulate a reboot: the clock that counts from the boot starts at another value."""
        self._boot_id = boot_id.encode()
        self._boot += base
        self._set()
