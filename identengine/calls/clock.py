"""The clock of the set of calls, which continues across boots of the machine (engine.md 5.5, 5.8).

It is based on the machine's clock since boot, which includes sleep and which no one can set. That clock restarts
at 0 with each boot. The set's clock therefore adds the time that passed before the boot, so that stored times
remain valid. Rule: it never runs back, so no lease becomes longer than its own length.
"""

from __future__ import annotations

import time
from math import inf
from pathlib import Path

import msgspec


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """A timestamp that is written into a mirror once a second. The next reader sets its clock by it."""

    format: int
    """Format of the mirror."""
    boot: str
    """Id of the boot during which the beat was written."""
    now: float
    """Time of the set's clock (:class:`Clock`), in seconds."""
    wall: float
    """Unix time in seconds. The next reader computes from it how long the machine was off."""
    ahead: float = 0.0
    """Lead of the set's clock over the machine's clock, in seconds."""


class Clock:
    """A clock in seconds. It equals the machine's clock since boot until :meth:`resume` sets it by a beat."""

    def __init__(self) -> None:
        self._boot = boot_id()
        self._ahead = 0.0
        self._latest = -inf

    def __call__(self) -> float:
        """Return the current time, which is never before an earlier one."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME) + self._ahead
        if now < self._latest:
            self._ahead += self._latest - now
            return self._latest
        self._latest = now
        return now

    def resume(self, beat: Beat, newest: float) -> None:
        """Continue from the last beat, or from ``newest``, the latest stored time, if that is later.

        After a reboot, the wall clock shows how long the machine was off. If that clock was set back, the set's
        clock continues as if no time had passed. The machine's clock can also be back within a boot: a process in
        another time namespace, or a restored virtual machine, reads an earlier time.
        """
        self._latest, kept = -inf, max(newest, beat.now)
        if beat.boot == self._boot:
            self._ahead = beat.ahead
            if self() >= kept:
                return
            self._latest = -inf
        self._ahead += max(kept, beat.now + time.time() - beat.wall) - self()
        self._latest = -inf

    def beat(self, mirror_format: int) -> Beat:
        """Return the beat to store now, from which the next reader continues."""
        return Beat(mirror_format, self._boot, self(), time.time(), self._ahead)


def boot_id() -> str:
    """Return the id of the current boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
