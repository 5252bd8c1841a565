"""Puts the memory of a book on huge pages, so that a look-up misses fewer translations of addresses.

The accounts of a call are anywhere in the memory of the book. With pages of 4 KiB, the processor knows the
translation of few of their addresses. Rule: this concerns speed alone, so a failure changes nothing. The call is
that of Linux (madvise(2), MADV_COLLAPSE, since Linux 6.1).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LEAST_ACCOUNTS = 10_000
"""Number of accounts from which a book is moved. The pages of a smaller one are few."""
_MADV_COLLAPSE = 25
_MAPS = Path("/proc/self/maps")
_HUGE_BYTES = 2 * 1024 * 1024
"""Size of a huge page on the usual machines. Smaller regions are skipped."""


def collapse() -> int:
    """Move the anonymous memory of this process to huge pages. Return the number of regions that were moved.

    Call it in a thread. Python runs meanwhile, as the system call is made without its lock.
    """
    moved = 0
    with suppress(OSError, ValueError, AttributeError):  # another system, or a sandbox without /proc
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for begin, end in _regions(_MAPS.read_text()):
            moved += not madvise(begin, end - begin, _MADV_COLLAPSE)
    return moved


def _regions(maps: str) -> Iterator[tuple[int, int]]:
    """Yield the bounds of writable private anonymous regions, rounded to whole huge pages (proc_pid_maps(5))."""
    for line in maps.splitlines():
        bounds, access, _, _, inode, *name = line.split()
        if access != "rw-p" or inode != "0" or (name and name != ["[heap]"]):
            continue
        begin, end = (int(bound, 16) for bound in bounds.split("-"))
        begin, end = -(-begin // _HUGE_BYTES) * _HUGE_BYTES, end // _HUGE_BYTES * _HUGE_BYTES
        if begin < end:
            yield begin, end
