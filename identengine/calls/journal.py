"""The mirror of the set of calls in LMDB, which outlives the process (engine.md 5.8).

Each batch is one transaction, so that the mirror holds a batch completely or not at all, whenever the process
dies. Legs are keyed by their position. Freed positions are reused, the latest first. The number of pages that are
written therefore stays small, however many legs exist.

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
    BY_POSITION,
    DATABASES,
    INCOMPLETE,
    POSITION,
    SERIAL,
    Kept,
    encode,
)
from identengine.calls.legtable import Leg
from identengine.calls.mirror import Changes, MirrorError, MirrorFullError, MirrorReports, RoomLeft
from identengine.calls.sync import Note
from identengine.calls.tombstones import TombstoneRow
from identengine.errors import StoreError

LEG_BYTES = 1024
"""Space for one held leg, in bytes.

A reserved leg takes some 600 bytes and an active one 300, and pages are never full.
"""
LAPSED_BYTES = 512
"""Space for one lapsed leg, in bytes."""
_BASE_BYTES = 8 * 1024 * 1024
_BEAT_SECONDS = 1.0
_LOOK_EVERY = 500
"""Number of written legs after which the free space is checked again."""
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
        self._written += len(changes.large.changed) + len(changes.small.changed)
        if self._written >= _LOOK_EVERY and self._writes:
            self._look()

    def _write(self, changes: Changes) -> None:
        with self._env.begin(write=True) as txn:
            for db, space in ((self._large, changes.large), (self._small, changes.small)):
                if not space.changed:
                    continue
                # Each position is written once, since a call often reuses the position of a call that stopped in
                # the same batch. Sorted positions write each page once.
                changed, legs = sorted(set(space.changed)), space.items
                # A freed position is overwritten with nil, not deleted, since it will be reused soon.
                values = map(encode, map(legs.__getitem__, changed))
                txn.cursor(db).putmulti(zip(map(POSITION.pack, changed), values, strict=True))
                if self.room_left is not RoomLeft.AMPLE:  # deleting returns the space
                    for position in changed:
                        if legs[position] is None:
                            txn.delete(POSITION.pack(position), db=db)
            for serial, row in changes.tombstones.items():
                if row is None:
                    txn.delete(SERIAL.pack(serial), db=self._tombstones)
                else:
                    txn.put(SERIAL.pack(serial), row, db=self._tombstones)
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
            counts = [txn.stat(db) for db in (self._small, self._large, self._tombstones, self._notes)]
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

    def read(self) -> tuple[list[Leg], list[tuple[int, TombstoneRow]], dict[str, Note]]:
        """Return the stored legs, the rows of stops by ascending serial number, and the notes. Set the clock.

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
        return kept.legs, kept.tombstones, kept.notes

    def _resume(self, kept: Kept) -> None:
        """Set the clock by the content of the file, and write to the file for the first time."""
        self.incomplete = kept.incomplete
        if kept.beat is not None:
            self.clock.resume(kept.beat, max((leg.renewed for leg in kept.legs), default=kept.beat.now))
        if kept.format != FORMAT:
            self._convert(kept.legs)
        self._look()
        self._note_time(incomplete=False)

    def _convert(self, legs: list[Leg]) -> None:
        """Write legs of an earlier format in the current one.

        Several transactions do that, since one would need space for all legs twice. The beat keeps the earlier
        format until all are written, so that an interrupted conversion is repeated.
        """
        dbs = {False: self._small, True: self._large}
        for first in range(0, len(legs), _CONVERTED):
            rows = [(leg.slot, encode(leg)) for leg in legs[first : first + _CONVERTED]]
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        for slot, row in rows:
                            txn.put(POSITION.pack(~slot if slot < 0 else slot), row, db=dbs[slot < 0])
                    break
                except lmdb.MapFullError:
                    if not self._file.grow():
                        raise

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
            dbs = {name: env.open_db(name.encode(), integerkey=name in BY_POSITION) for name in DATABASES}
        except lmdb.Error as error:
            raise DamagedError(str(error)) from error
        self._small, self._large, self._tombstones, self._notes, self._meta = dbs.values()

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
        for name in DATABASES:
            db = env.open_db(name.encode(), integerkey=name in BY_POSITION, create=False)
            with env.begin() as txn:
                entries = list(txn.cursor(db))
            for first in range(0, len(entries), _TRIED_TOGETHER):
                with env.begin(write=True) as txn, suppress(lmdb.MapFullError):
                    for key, value in entries[first : first + _TRIED_TOGETHER]:
                        txn.put(key, value, db=db)
                    txn.abort()
