"""The ring of files: appends to the newest segment, begins new ones, and removes the oldest.

A process writes segments of its own, which it numbers above all others. So two deciders, as during a take-over,
never write to one file. A write that fails is undone. Rule: all files together never exceed ``max_bytes``. Each of
two processes keeps room for a whole segment of the other.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from identengine.record.segments import header, segment_path, segments

SEGMENTS = 64
"""Number of whole segments in a full ring."""
MOST_SEGMENTS = 512
"""Largest number of files, since each start of a process begins a new one."""
_BLOCK = 4096
"""Size on disk of the smallest file, in bytes."""
_DAY = 86_400.0
_SPANS = 30
"""A segment spans at most this part of ``max_age``. So no entry is kept for much longer."""


class RingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of ``[record]`` that concern the files."""

    folder: Path
    max_bytes: int
    max_age: float
    """Age at which entries are removed, in days."""
    active: bool = True
    """False if no entries will come, and the ring only removes old ones."""

    @property
    def segment_bytes(self) -> int:
        """Size at which a segment is complete, in bytes."""
        return self.max_bytes // SEGMENTS


class Ring:
    """The files of one process in one folder. ``clock`` is the wall clock, ``elapsed`` a monotonic one."""

    def __init__(self, settings: RingSettings, clock: Callable[[], float], elapsed: Callable[[], float]) -> None:
        self.settings = settings
        self._clock, self._elapsed = clock, elapsed
        self._file = -1
        """The open segment, or -1."""
        self._path = Path()
        self._size = 0
        self._began = 0.0

    def append(self, raw: bytes) -> None:
        """Append whole frames. Raise OSError if they cannot be written; the file is then as before."""
        if self._file >= 0 and (self._is_complete(len(raw)) or self._is_lost()):
            self.close()
        if self._file < 0:
            self._begin(len(raw))
        try:
            self._write(raw)
        except OSError:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:  # readers skip the torn frame
                self.close()
            raise
        self._size += len(raw)

    def probe(self) -> None:
        """Raise OSError if entries cannot be written now. Nothing remains of the attempt but an open segment."""
        if self._file >= 0 and self._is_lost():
            self.close()
        if self._file < 0:
            self._begin(_BLOCK)
        try:
            self._write(bytes(_BLOCK))
        finally:
            os.ftruncate(self._file, self._size)

    def sweep(self) -> None:
        """Remove segments whose newest entry is too old. Raise OSError if that fails."""
        self._remove(0)

    def close(self) -> None:
        """Close the open segment. The next entry begins a new one."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                if self._size == len(header()) and not self._is_lost():
                    self._path.unlink()  # it has no entry
                os.close(self._file)
            self._file = -1

    def _is_complete(self, more: int) -> bool:
        span = self.settings.max_age * _DAY / _SPANS
        return self._size + more > self.settings.segment_bytes or self._elapsed() - self._began > span

    def _is_lost(self) -> bool:
        """Return True if a reader would not find the open segment, since it or its folder was removed."""
        try:
            found, mine = self._path.stat(), os.fstat(self._file)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)

    def _begin(self, room: int) -> None:
        """Begin a new segment, and make room for it."""
        self._make_folder()
        number = self._remove(2 * max(room, self.settings.segment_bytes)) + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self._path = segment_path(self.settings.folder, number)
            try:
                self._file = os.open(self._path, flags, 0o600)
                break
            except FileExistsError:  # of another process
                number += 1
        self._size, self._began = 0, self._elapsed()
        try:
            self._write(header())
        except OSError:
            self._path.unlink(missing_ok=True)
            self.close()
            raise
        self._size = len(header())

    def _make_folder(self) -> None:
        folder = self.settings.folder
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.stat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
            folder.chmod(0o700)

    def _remove(self, room: int) -> int:
        """Remove segments that are too old, and the oldest for ``room`` more bytes. Return the highest number."""
        try:
            found = segments(self.settings.folder)
        except FileNotFoundError:
            return 0
        known = [(segment, status) for segment in found if (status := _status(segment.path)) is not None]
        oldest = self._clock() - self.settings.max_age * _DAY
        total = sum(max(status.st_size, _BLOCK) for _, status in known)
        count = len(known)
        for segment, status in known:
            too_many = room > 0 and (total + room > self.settings.max_bytes or count >= MOST_SEGMENTS)
            if too_many or status.st_mtime < oldest:
                if segment.path == self._path:
                    self.close()
                segment.path.unlink(missing_ok=True)
                total -= max(status.st_size, _BLOCK)
                count -= 1
        return found[-1].number if found else 0

    def _write(self, raw: bytes) -> None:
        left = memoryview(raw)
        while left:
            left = left[os.write(self._file, left) :]


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file, or None if another process has removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
