"""The mirror of the set of calls in LMDB, which outlives the process (engine.md 5.8).

Each batch is one transaction, so that the mirror holds a batch completely or not at all, whenever the process
dies. Legs are keyed by their position. Freed positions are reused, the latest first. The number of pages that are
written therefore stays small, however many legs exist.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Self

import lmdb
import msgspec

from identengine.calls.clock import Beat, Clock
from identengine.calls.journalfile import RESERVE, CallsFile, DamagedError, environment, survives
from identengine.calls.legtable import Leg
from identengine.calls.mirror import Changes, MirrorFullError, RoomLeft
from identengine.calls.sync import Note
from identengine.calls.tombstones import TombstoneRow
from identengine.calls.tombstones import unpacked as unpacked_row
from identengine.errors import StoreError

FORMAT = 3
READABLE = (2, 3)
"""The formats that :meth:`Journal.read` accepts. Format 2 differs only in that a beat has no ``ahead``."""
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
_READING = "reading"
"""Name of a file that exists while the mirror is read, and in the first seconds after it.

If a process crashes because it reads or writes a damaged mirror, the next process finds this file. It then tries
the mirror in a child process first.
"""
_TRIAL_SECONDS = 3.0
"""Time after reading in which a death is suspicious, in seconds."""
_TRIED_TOGETHER = 100
"""Number of entries that are written in one transaction when a mirror is tried."""

_position = struct.Struct("=I")
_serial = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = _encode(None)
_decode_leg = msgspec.msgpack.Decoder(Leg).decode
_decode_note = msgspec.msgpack.Decoder(float | tuple[str, ...]).decode
_decode_beat = msgspec.msgpack.Decoder(Beat).decode


class Kept(msgspec.Struct):
    """The content of a mirror."""

    legs: list[Leg] = []
    tombstones: list[tuple[int, TombstoneRow]] = []
    """Rows of stops, by ascending serial number."""
    notes: dict[str, Note] = {}
    beat: Beat | None = None


class Journal:
    """An open mirror. It is a context manager."""

    def __init__(self, folder: Path, max_legs: int, lapsed_max: int, alarm: Callable[[str], None]) -> None:
        """Open the mirror in ``folder``, and create the folder if it is missing.

        Raise InUseError if another process uses the mirror. Raise StoreError if there is no space for ``max_legs``
        legs, or if the file cannot be created. A file that is damaged or of another format is renamed, and
        ``alarm`` is called.
        """
        self.room_left = RoomLeft.AMPLE
        self.clock = Clock()
        """The set's clock. It is correct only after :meth:`read`."""
        self._alarm = alarm
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
        """Store all changes or none. Raise MirrorFullError if there is no space."""
        while True:
            try:
                self._write(changes)
                break
            except lmdb.MapFullError as error:
                if not self._file.grow():
                    self.room_left = RoomLeft.RESERVE
                    raise MirrorFullError from error
        self._written += len(changes.large.changed) + len(changes.small.changed)
        if self._written >= _LOOK_EVERY:
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
                values = map(_encode, map(legs.__getitem__, changed))
                txn.cursor(db).putmulti(zip(map(_position.pack, changed), values, strict=True))
                if self.room_left is not RoomLeft.AMPLE:  # deleting returns the space
                    for position in changed:
                        if legs[position] is None:
                            txn.delete(_position.pack(position), db=db)
            for serial, row in changes.tombstones.items():
                if row is None:
                    txn.delete(_serial.pack(serial), db=self._tombstones)
                else:
                    txn.put(_serial.pack(serial), row, db=self._tombstones)
            for name, note in changes.notes.items():
                if note is None:
                    txn.delete(name.encode(), db=self._notes)
                else:
                    txn.put(name.encode(), _encode(note), db=self._notes)

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
        with self._env.begin() as txn:
            counts = [txn.stat(db) for db in (self._small, self._large, self._tombstones, self._notes)]
        pages = sum(count["branch_pages"] + count["leaf_pages"] + count["overflow_pages"] for count in counts)
        return pages * int(counts[0]["psize"])

    def beat(self) -> None:
        """Store the time about once a second, so that leases remain valid after a reboot."""
        now = self.clock()
        if now - self._read_at >= _TRIAL_SECONDS:
            self._reading.unlink(missing_ok=True)
            self._read_at = inf
        if now - self._last_beat >= _BEAT_SECONDS:
            self._last_beat = now
            self._look()
            self._note_time()

    def _note_time(self) -> None:
        try:
            with self._env.begin(write=True) as txn:
                txn.put(b"beat", _encode(self.clock.beat(FORMAT)), db=self._meta)
        except lmdb.MapFullError:
            self.room_left = RoomLeft.RESERVE

    def read(self) -> tuple[list[Leg], list[tuple[int, TombstoneRow]], dict[str, Note]]:
        """Return the stored legs, the rows of stops by ascending serial number, and the notes. Set the clock."""
        try:
            kept = _read(self._env)
            self._resume(kept)
        except (DamagedError, lmdb.Error) as error:  # a file that can be read is useless if it cannot be written
            self._put_aside(error)
            kept = Kept()
            self._resume(kept)
        self._read_at = self.clock()
        return kept.legs, kept.tombstones, kept.notes

    def _resume(self, kept: Kept) -> None:
        """Set the clock, and write to the file for the first time."""
        if kept.beat is not None:
            self.clock.resume(kept.beat, max((leg.since for leg in kept.legs), default=kept.beat.now))
        self._look()
        self._note_time()

    def _check(self) -> None:
        """Raise DamagedError if a process that uses the file crashes, as LMDB may abort on damaged files."""
        if self._reading.exists() and self.path.exists() and not survives(lambda: _try_alone(self.path)):
            raise DamagedError("a process that reads or writes it crashes")
        try:
            self._reading.touch()
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {self.path.parent}: {error.strerror}") from error

    def _open(self) -> None:
        self._file.open()
        env = self._env = self._file.env
        try:
            dbs = {name: env.open_db(name.encode(), integerkey=name in _BY_POSITION) for name in _DATABASES}
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


_DATABASES = ("small", "large", "stops", "notes", "meta")
_BY_POSITION = ("small", "large")


def _try_alone(path: Path) -> None:
    """Read a mirror, and write each of its entries without a commit, so that nothing changes."""
    with environment(path, path.stat().st_size, readonly=True) as env:
        _read(env)
    with environment(path, path.stat().st_size) as env:  # only now, since opening for writing extends a cut file
        for name in _DATABASES:
            db = env.open_db(name.encode(), integerkey=name in _BY_POSITION, create=False)
            with env.begin() as txn:
                entries = list(txn.cursor(db))
            for first in range(0, len(entries), _TRIED_TOGETHER):
                with env.begin(write=True) as txn, suppress(lmdb.MapFullError):
                    for key, value in entries[first : first + _TRIED_TOGETHER]:
                        txn.put(key, value, db=db)
                    txn.abort()


def _read(env: lmdb.Environment) -> Kept:
    """Return the content of a file. Raise DamagedError if any part of it is invalid."""
    try:
        dbs = {
            name: env.open_db(name.encode(), integerkey=name in _BY_POSITION, create=False) for name in _DATABASES
        }
        with env.begin() as txn:
            beat = txn.get(b"beat", db=dbs["meta"])
            if beat is not None and (found := msgspec.msgpack.decode(beat, type=list[Any])[0]) not in READABLE:
                raise DamagedError(f"it is of format {found}, and this program writes {FORMAT}")
            legs = _legs(txn, dbs["small"], large=False) + _legs(txn, dbs["large"], large=True)
            tombstones = [(_serial.unpack(key)[0], unpacked_row(value)) for key, value in txn.cursor(dbs["stops"])]
            if len(tombstones) != txn.stat(dbs["stops"])["entries"]:
                raise DamagedError("an entry is missing")
            notes: dict[str, Note] = {key.decode(): _decode_note(value) for key, value in txn.cursor(dbs["notes"])}
            return Kept(legs, tombstones, notes, None if beat is None else _decode_beat(beat))
    except (lmdb.Error, msgspec.MsgspecError, struct.error, ValueError, IndexError) as error:
        raise DamagedError(f"it is damaged ({error})") from error


def _legs(txn: lmdb.Transaction, db: Any, *, large: bool) -> list[Leg]:
    """Return the legs of one space. Raise DamagedError if a leg is missing or not at its position."""
    legs: list[Leg] = []
    before, entries = -1, 0
    for key, value in txn.cursor(db):
        (position,) = _position.unpack(key)
        if position <= before:
            raise DamagedError("an entry is at the wrong position")
        before = position
        entries += 1
        if value != _NOTHING:
            leg = _decode_leg(value)
            if leg.slot != (~position if large else position):
                raise DamagedError("an entry is at the wrong position")
            legs.append(leg)
    if entries != txn.stat(db)["entries"]:
        raise DamagedError("an entry is missing")
    return legs
