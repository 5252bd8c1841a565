"""The mirror of the set of calls in LMDB, which outlives the process (engine.md 5.8).

Each batch is one transaction, so that the mirror holds a batch completely or not at all, whenever the process
dies. The legs that a batch took or changed are one value, a row (:mod:`identengine.calls.rows`). It is written
once, and deleted with its last leg. The places that legs left before are kept apart, so that values never change.

Once a second the journal compares its file and its lock with those in the folder. If the next decider would not
find them, the journal makes new ones, and :mod:`identengine.calls.mirroring` fills the new file from memory.
Without a mirror the set continues in memory alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Self

import lmdb

from identengine.calls import journalformats
from identengine.calls.clock import Clock
from identengine.calls.journalfile import FORMAT, RESERVE, CallsFile, DamagedError, environment, survives
from identengine.calls.journalformats import (
    BEAT,
    DATABASES,
    INCOMPLETE,
    OLD_DATABASES,
    SERIAL,
    Kept,
    encode,
    is_integer_key,
    key_of,
    places_of,
)
from identengine.calls.leg import Row
from identengine.calls.mirror import Changes, MirrorError, MirrorFullError, MirrorReports, RoomLeft
from identengine.calls.sync import Note
from identengine.calls.tombstones import TombstoneRow
from identengine.errors import StoreError

LEG_BYTES = 1024
"""Space for one held leg, in bytes.

A reserved leg takes some 600 bytes and an active one 300. Rows are merged before dead places waste more.
"""
LAPSED_BYTES = 512
"""Space for one lapsed leg, in bytes."""
_BASE_BYTES = 8 * 1024 * 1024
_BEAT_SECONDS = 1.0
_LOOK_BYTES = 256 * 1024
"""Written bytes of legs after which the free space is checked again."""
_CONVERTED = 2000
"""Legs of an earlier format that one transaction converts."""
_READING = "reading"
"""Name of a file that exists while the mirror is read, and in the first seconds after it.

If a process crashes because it reads or writes a damaged mirror, the next process finds this file. It then tries
the mirror in a child process first.
"""
_TRIAL_SECONDS = 3.0
"""Time after reading in which a death is suspicious, in seconds."""
_TRIED_TOGETHER = 100
"""Number of entries that are written in one transaction when a mirror is tried."""


_SILENT = MirrorReports()


class Journal:
    """An open mirror. It is a context manager."""

    _last = 0
    """Largest serial number of the rows in the file."""

    def __init__(
        self,
        folder: Path,
        max_legs: int,
        lapsed_max: int,
        alarm: Callable[[str], None],
        reports: MirrorReports = _SILENT,
    ) -> None:
        """Open the mirror in ``folder``, and create the folder if it is missing.

        Raise InUseError if another process uses the mirror. Raise StoreError if there is no space for ``max_legs``
        legs, or if the file cannot be created. A file that is damaged or of an unknown format is renamed, and
        ``alarm`` is called. ``reports`` are called if the files are lost later.
        """
        self.room_left = RoomLeft.AMPLE
        self.generation = 0
        """Number of files that replaced a lost one."""
        self.trouble: str | None = None
        """Reason why the file does not hold the whole set, or None if it does."""
        self.incomplete = False
        """True if :meth:`read` found a file that a process was writing again when it died."""
        self.clock = Clock()
        """The set's clock. It is correct only after :meth:`read`."""
        self._alarm = alarm
        self._reports = reports
        self._failure: str | None = None
        """Error of LMDB that makes the file unusable, or None."""
        self._writes = True
        """False while there is no file."""
        self._anew = ""
        """Reason why the file is being written again, or ``""``."""
        self._last_beat = -inf
        self._read_at = inf
        """Time at which the mirror was read, until that is too long ago for a suspicion."""
        self._written = 0
        taken = room(max_legs)
        self._file = CallsFile(folder, taken, taken + lapsed_max * LAPSED_BYTES)
        self.path = self._file.path
        self._reading = self.path.with_name(_READING)
        try:
            try:
                self._check()
                self._open()
            except DamagedError as error:
                self._put_aside(error)
            self.created = self._file.created
            """True if there was no file."""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the mirror. Its file is kept."""
        self._reading.unlink(missing_ok=True)
        self._file.close()

    @property
    def size(self) -> int:
        """Size of the file, in bytes."""
        return self._file.size

    def write(self, changes: Changes) -> None:
        """Store all changes or none. Raise MirrorFullError if there is no space, MirrorError after another fault.

        After another fault of LMDB, :meth:`beat` replaces the file. Without a file, nothing is stored.
        """
        while self._writes:
            try:
                self._write(changes)
                break
            except lmdb.MapFullError as error:
                if not self._file.grow():
                    self.room_left = RoomLeft.RESERVE
                    raise MirrorFullError from error
            except lmdb.Error as error:
                self._failure = str(error)
                raise MirrorError from error
        if self._written >= _LOOK_BYTES and self._writes:
            self._look()

    def _write(self, changes: Changes) -> None:
        with self._env.begin(write=True) as txn:
            for serial, row in changes.rows.items():
                key = key_of(serial)
                if not row.left:
                    if row.stored >= 0:
                        txn.delete(key, db=self._rows)
                    if row.marked:
                        txn.delete(key, db=self._dead)
                elif row.stored == self.generation:
                    txn.put(key, places_of(row), db=self._dead)
                else:  # appended rows fill their pages; a set that is written again appends only its first rows
                    value = encode(row.legs)
                    txn.put(key, value, db=self._rows, append=serial > self._last)
                    self._last = max(self._last, serial)
                    self._written += len(value)
            for serial, stops in changes.tombstones.items():
                if stops is None:
                    txn.delete(SERIAL.pack(serial), db=self._tombstones)
                else:
                    txn.put(SERIAL.pack(serial), stops, db=self._tombstones)
            for name, note in changes.notes.items():
                if note is None:
                    txn.delete(name.encode(), db=self._notes)
                else:
                    txn.put(name.encode(), encode(note), db=self._notes)

    def _look(self) -> None:
        """Check the free space, and grow the file in time."""
        self._written = 0
        left = self._file.size - self.used()
        if left < 2 * RESERVE and self._file.grow():
            left = self._file.size - self.used()
        if left >= 2 * RESERVE:
            self.room_left = RoomLeft.AMPLE
        else:
            self.room_left = RoomLeft.RESERVE if left < RESERVE else RoomLeft.SCARCE

    def used(self) -> int:
        """Return the number of bytes in use. Freed pages do not count."""
        if not self._writes:
            return 0
        with self._env.begin() as txn:
            counts = [txn.stat(db) for db in (self._rows, self._dead, self._tombstones, self._notes)]
        pages = sum(count["branch_pages"] + count["leaf_pages"] + count["overflow_pages"] for count in counts)
        return pages * int(counts[0]["psize"])

    def beat(self) -> None:
        """Once a second, look after the files, and store the time, so that leases remain valid after a reboot."""
        now = self.clock()
        if now - self._read_at >= _TRIAL_SECONDS:
            self._reading.unlink(missing_ok=True)
            self._read_at = inf
        if now - self._last_beat < _BEAT_SECONDS:
            return
        self._last_beat = now
        self._look_after_files()
        if self._writes:
            try:
                self._look()
                self._note_time()
            except lmdb.Error as error:
                self._failure = str(error)

    def _look_after_files(self) -> None:
        """Replace the file if it is lost. Report its loss, and each reason why it cannot be replaced, once."""
        try:
            why = self._failure or self._file.lost()
        except OSError as error:  # the open file is as good as before
            self._unsaved(f"{self.path.parent} cannot be examined: {error.strerror}")
            return
        if why is None and self._writes:
            self._set_trouble()
            return
        self._writes, self.room_left = False, RoomLeft.AMPLE  # writing to a truncated file would be SIGBUS
        if self.trouble is None:
            self._reports.lost(why or "")
        try:
            self._file.give_up_lost()
            self._open()
            self._note_time(incomplete=True)
        except (StoreError, DamagedError, lmdb.Error) as error:
            self._unsaved(str(error))
            return
        self._failure, self._writes = None, True
        self._anew = self._anew or why or ""
        self.generation += 1
        self._set_trouble()

    def complete(self) -> None:
        """Note that the file holds the whole set again."""
        if self._writes and self._failure is None:
            self._anew = ""
            self._note_time(incomplete=False)
            self._set_trouble()

    def _set_trouble(self) -> None:
        """Set :attr:`trouble` for a file that can be written. Report the end of the trouble."""
        before, self.trouble = self.trouble, None
        if self._anew:
            self.trouble = f"the set of calls is being written again: {self._anew}"
        elif before is not None:
            self._reports.over()

    def _unsaved(self, why: str) -> None:
        """Set and report the trouble that no other decider would find the calls."""
        trouble = f"only the memory of the decider holds the calls: {why}"
        if trouble != self.trouble:
            self.trouble = trouble
            self._reports.unsaved(why)

    def _note_time(self, *, incomplete: bool | None = None) -> None:
        """Store the time. With ``incomplete``, set or remove the mark of a file that is being written again."""
        try:
            with self._env.begin(write=True) as txn:
                txn.put(BEAT, encode(self.clock.beat(FORMAT)), db=self._meta)
                if incomplete:
                    txn.put(INCOMPLETE, b"", db=self._meta)
                elif incomplete is False:
                    txn.delete(INCOMPLETE, db=self._meta)
        except lmdb.MapFullError:
            self.room_left = RoomLeft.RESERVE

    def read(self) -> tuple[list[Row], list[tuple[int, TombstoneRow]], dict[str, Note]]:
        """Return the stored rows of legs and of stops, by ascending serial number, and the notes. Set the clock.

        Legs of an earlier format are converted in the file, too.
        """
        try:
            kept = journalformats.read(self._env)
            self._resume(kept)
        except (DamagedError, lmdb.Error) as error:  # a file that can be read is useless if it cannot be written
            self._put_aside(error)
            kept = Kept()
            self._resume(kept)
        self._read_at = self.clock()
        for row in kept.rows:
            row.stored = self.generation
        return kept.rows, kept.tombstones, kept.notes

    def _resume(self, kept: Kept) -> None:
        """Set the clock by the content of the file, and write to the file for the first time."""
        self.incomplete = kept.incomplete
        if kept.beat is not None:
            self.clock.resume(kept.beat, max(kept.renewed(), default=kept.beat.now))
        if kept.format != FORMAT:
            self._convert(kept)
        self._last = kept.rows[-1].serial if kept.rows else 0
        self._look()
        self._note_time(incomplete=False)

    def _convert(self, kept: Kept) -> None:
        """Move legs of an earlier format into rows.

        Several transactions do that, since one would need space for all legs twice. The beat keeps the earlier
        format until all are moved, so that an interrupted conversion continues with the legs that are left.
        """
        old = {name: self._env.open_db(name, integerkey=True) for name in OLD_DATABASES}
        for legs in kept.old.parts(_CONVERTED):
            rows = kept.rows_of(legs)
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        for leg in legs:
                            txn.delete(leg.key, db=old[leg.database])
                        for row in rows:
                            txn.put(key_of(row.serial), encode(row.legs), db=self._rows)
                    break
                except lmdb.MapFullError:
                    if not self._file.grow():
                        raise
            kept.rows += rows
        with self._env.begin(write=True) as txn:
            for db in old.values():
                txn.drop(db)

    def _check(self) -> None:
        """Raise DamagedError if a process that uses the file crashes, as LMDB may abort on damaged files."""
        if self._reading.exists() and self.path.exists() and not survives(lambda: _try_alone(self.path)):
            raise DamagedError("a process that reads or writes it crashes")
        try:
            self._reading.touch(mode=0o600)
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {self.path.parent}: {error.strerror}") from error

    def _open(self) -> None:
        self._file.open()
        env = self._env = self._file.env
        try:
            dbs = {name: env.open_db(name, integerkey=is_integer_key(name)) for name in DATABASES}
        except lmdb.Error as error:
            raise DamagedError(str(error)) from error
        self._rows, self._dead, self._tombstones, self._notes, self._meta = dbs.values()
        self._last = 0

    def _put_aside(self, why: Exception) -> None:
        """Rename the file, report that to the operator, and begin with an empty file."""
        aside = self._file.put_aside()
        self._alarm(
            f"the set of calls {self.path} cannot be used: {why}. It was renamed to {aside}. Its calls are not "
            "counted until their switches report them (update, sync)."
        )
        self._open()


def room(max_legs: int) -> int:
    """Return the initial size of a mirror for ``max_legs`` legs, in bytes."""
    return _BASE_BYTES + max_legs * LEG_BYTES


def _try_alone(path: Path) -> None:
    """Read a mirror, and write each of its entries without a commit, so that nothing changes."""
    with environment(path, path.stat().st_size, readonly=True) as env:
        journalformats.read(env)
    with environment(path, path.stat().st_size) as env:  # only now, since opening for writing extends a cut file
        for name in (*DATABASES, *OLD_DATABASES):
            try:
                db = env.open_db(name, integerkey=is_integer_key(name), create=False)
            except lmdb.NotFoundError:  # of another format
                continue
            with env.begin() as txn:
                entries = list(txn.cursor(db))
            for first in range(0, len(entries), _TRIED_TOGETHER):
                with env.begin(write=True) as txn, suppress(lmdb.MapFullError):
                    for key, value in entries[first : first + _TRIED_TOGETHER]:
                        txn.put(key, value, db=db)
                    txn.abort()
