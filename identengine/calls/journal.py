"""The mirror of the set of calls, which outlives the process (engine.md 5.8): how it is written and read.

A transaction per batch makes a batch whole or not there, whenever the process dies. Legs are keyed by their place.
Places are used again, the last freed first, so that the pages that are written stay few however many legs there
are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
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
"""The one before knew no time ahead of the machine's; else they are the same."""
LEG_BYTES = 1024
"""Room for one leg that is held: one reserved takes some 600 bytes, an active one 300, pages are never full."""
LAPSED_BYTES = 512
"""The same for one that is remembered."""
_BASE_BYTES = 8 * 1024 * 1024
_BEAT_SECONDS = 1.0
_LOOK_EVERY = 500
"""Legs written between two looks at how much room there is."""
_READING = "reading"
"""A file beside the mirror while it is read: who died of it shall not die of it again."""

_place = struct.Struct("=I")
_serial = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = _encode(None)
_decode_leg = msgspec.msgpack.Decoder(Leg).decode
_decode_note = msgspec.msgpack.Decoder(float | tuple[str, ...]).decode
_decode_beat = msgspec.msgpack.Decoder(Beat).decode


class Kept(msgspec.Struct):
    """What a mirror holds."""

    legs: list[Leg] = []
    tombstones: list[tuple[int, TombstoneRow]] = []
    """By ascending serial number."""
    notes: dict[str, Note] = {}
    beat: Beat | None = None


class Journal:
    """One open mirror; a context manager."""

    def __init__(self, folder: Path, max_legs: int, lapsed_max: int, alarm: Callable[[str], None]) -> None:
        """Open the mirror in ``folder``, which is made where it is missing.

        Raises InUseError where another process has it, StoreError where there is no room for ``max_legs`` legs or
        it cannot be made. A file that is damaged or of another format is set aside, and ``alarm`` is told.
        """
        self.room_left = RoomLeft.AMPLE
        self.clock = Clock()
        """The set's clock; right only after :meth:`read`."""
        self._alarm = alarm
        self._last_beat = -inf
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
                self._set_aside(error)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the mirror; it stays."""
        self._reading.unlink(missing_ok=True)
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes that are taken."""
        return self._file.size

    def write(self, changes: Changes) -> None:
        """Keep what changed, all or nothing. Raises MirrorFullError."""
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
                # Each place once: who stops frees the one that the next call takes. In their order, so that what
                # is on one page is written together.
                changed, legs = sorted(set(space.changed)), space.places
                # What is gone is written as nothing: its place is used again soon.
                values = map(_encode, map(legs.__getitem__, changed))
                txn.cursor(db).putmulti(zip(map(_place.pack, changed), values, strict=True))
                if self.room_left is not RoomLeft.AMPLE:  # it gives back its room
                    for place in changed:
                        if legs[place] is None:
                            txn.delete(_place.pack(place), db=db)
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
        """See how much room there is, and take more in time."""
        self._written = 0
        left = self._file.size - self.used()
        if left < 2 * RESERVE and self._file.grow():
            left = self._file.size - self.used()
        if left >= 2 * RESERVE:
            self.room_left = RoomLeft.AMPLE
        else:
            self.room_left = RoomLeft.RESERVE if left < RESERVE else RoomLeft.SCARCE

    def used(self) -> int:
        """Return how many bytes are in use; what was freed is not among them."""
        with self._env.begin() as txn:
            counts = [txn.stat(db) for db in (self._small, self._large, self._tombstones, self._notes)]
        pages = sum(count["branch_pages"] + count["leaf_pages"] + count["overflow_pages"] for count in counts)
        return pages * int(counts[0]["psize"])

    def beat(self) -> None:
        """Note the time, about once a second: for leases after the machine was started anew."""
        now = self.clock()
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
        """Return what was kept: legs, rows of stops by ascending serial, notes. The clock goes on from there."""
        try:
            kept = _read(self._env)
        except DamagedError as error:
            self._set_aside(error)
            kept = Kept()
        self._reading.unlink(missing_ok=True)
        if kept.beat is not None:
            self.clock.go_on(kept.beat, max((leg.since for leg in kept.legs), default=kept.beat.now))
        self._look()
        self._note_time()
        return kept.legs, kept.tombstones, kept.notes

    def _check(self) -> None:
        """Raise DamagedError where whoever reads the file dies of it: LMDB may abort on what is damaged."""
        if self._reading.exists() and self.path.exists() and not survives(lambda: _read_alone(self.path)):
            raise DamagedError("whoever reads it dies of it")
        try:
            self._reading.touch()
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {self.path.parent}: {error.strerror}") from error

    def _open(self) -> None:
        self._file.open()
        env = self._env = self._file.env
        try:
            dbs = {name: env.open_db(name.encode(), integerkey=name in _BY_PLACE) for name in _DATABASES}
        except lmdb.Error as error:
            raise DamagedError(str(error)) from error
        self._small, self._large, self._tombstones, self._notes, self._meta = dbs.values()

    def _set_aside(self, why: DamagedError) -> None:
        """Put the file out of the way, say so, and begin with an empty one."""
        aside = self._file.put_aside()
        self._alarm(
            f"the set of calls {self.path} cannot be used: {why}. It was put aside as {aside}, and the calls in "
            "it are not counted until their switches name them (update, sync)"
        )
        self._open()


def room(max_legs: int) -> int:
    """Return how many bytes a set of so many legs takes at the start."""
    return _BASE_BYTES + max_legs * LEG_BYTES


_DATABASES = ("small", "large", "stops", "notes", "meta")
_BY_PLACE = ("small", "large")


def _read_alone(path: Path) -> None:
    with environment(path, path.stat().st_size, readonly=True) as env:
        _read(env)


def _read(env: lmdb.Environment) -> Kept:
    """Return all that a file holds; raises DamagedError where that is not all right."""
    try:
        dbs = {name: env.open_db(name.encode(), integerkey=name in _BY_PLACE, create=False) for name in _DATABASES}
        with env.begin() as txn:
            beat = txn.get(b"beat", db=dbs["meta"])
            if beat is not None and (found := msgspec.msgpack.decode(beat, type=list[Any])[0]) not in READABLE:
                raise DamagedError(f"it is of format {found}, and this program writes {FORMAT}")
            legs = _legs(txn, dbs["small"], large=False) + _legs(txn, dbs["large"], large=True)
            tombstones = [(_serial.unpack(key)[0], unpacked_row(value)) for key, value in txn.cursor(dbs["stops"])]
            if len(tombstones) != txn.stat(dbs["stops"])["entries"]:
                raise DamagedError("some of it is missing")
            notes: dict[str, Note] = {key.decode(): _decode_note(value) for key, value in txn.cursor(dbs["notes"])}
            return Kept(legs, tombstones, notes, None if beat is None else _decode_beat(beat))
    except (lmdb.Error, msgspec.MsgspecError, struct.error, ValueError, IndexError) as error:
        raise DamagedError(f"it is damaged ({error})") from error


def _legs(txn: lmdb.Transaction, db: Any, *, large: bool) -> list[Leg]:
    """Return the legs of one space; each has to stand where it says, and none may be missing."""
    legs: list[Leg] = []
    before, entries = -1, 0
    for key, value in txn.cursor(db):
        (place,) = _place.unpack(key)
        if place <= before:
            raise DamagedError("some of it is at the wrong place")
        before = place
        entries += 1
        if value != _NOTHING:
            leg = _decode_leg(value)
            if leg.slot != (~place if large else place):
                raise DamagedError("some of it is at the wrong place")
            legs.append(leg)
    if entries != txn.stat(db)["entries"]:
        raise DamagedError("some of it is missing")
    return legs
