"""The clock of the set of calls, which goes on over boots of the machine (engine.md 5.5, 5.8).

It is the machine's own clock since its boot, sleep included, which nobody can set. That one begins anew with each
boot, so ours is ahead of it by what had passed before: times that were kept mean the same for whoever reads them.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """When a mirror was known to be in use: it tells who reads it next what time it is. Written once a second."""

    format: int
    """Of the mirror."""
    boot: str
    """Which boot of the machine it was."""
    now: float
    """By the set's clock (:class:`Clock`)."""
    wall: float
    """Unix seconds: they tell how long the machine was off."""
    ahead: float = 0.0
    """By how many seconds the clock was ahead of the machine's."""


class Clock:
    """Tells the time in seconds. Until it goes on from a beat, it is the machine's own."""

    def __init__(self) -> None:
        self._boot = boot_id()
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._ahead

    def go_on(self, beat: Beat, newest: float) -> None:
        """Go on from the last beat, or from the ``newest`` that was kept since.

        A wall clock that was set back since means that no time has passed.
        """
        if beat.boot == self._boot:
            self._ahead = beat.ahead
        else:
            self._ahead += max(newest, beat.now + time.time() - beat.wall, beat.now) - self()

    def beat(self, mirror_format: int) -> Beat:
        """Return what tells the time to who reads the mirror next."""
        return Beat(mirror_format, self._boot, self(), time.time(), self._ahead)


def boot_id() -> str:
    """Return what tells this run of the machine from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
