"""Reads the content of a mirror, in the format of this program and in each earlier one (engine.md 8.1).

Rule: a leg of an earlier format is decoded by its own type, which never changes, and then converted. A mirror of
an earlier format may hold rows of the current one too, since a conversion may have been interrupted.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import lmdb
import msgspec

from identengine.calls.clock import Beat
from identengine.calls.journalfile import FORMAT, READABLE, DamagedError, unreadable
from identengine.calls.leg import Leg, Row
from identengine.calls.legs import State
from identengine.calls.levels import Counter
from identengine.calls.numbers import packed
from identengine.calls.rows import ROW_LEGS
from identengine.calls.sync import Note
from identengine.calls.tombstones import TombstoneRow
from identengine.calls.tombstones import unpacked as unpacked_row
from identengine.model.records import Decision

DATABASES = (b"rows", b"dead", b"stops", b"notes", b"meta")
"""The databases of the current format. ``dead`` holds the places of each row that legs left."""
OLD_DATABASES = (b"small", b"large")
"""The databases of legs up to format 3. Reserved legs are large."""
BEAT, INCOMPLETE = b"beat", b"incomplete"
"""Keys in the database ``meta``. INCOMPLETE exists while the mirror is being written again."""
SERIAL = struct.Struct(">Q")
encode = msgspec.msgpack.Encoder().encode
"""Return a value as the mirror stores it."""
key_of = struct.Struct("=Q").pack
"""Return the key of a row of legs."""
_PLACES = 8
"""Length of the dead places of a row, in bytes, for rows of at most 64 legs."""
_POSITION = struct.Struct("=I")
_NOTHING = encode(None)
"""The value of a free position up to format 3."""

_decode_legs = msgspec.msgpack.Decoder(list[Leg | None]).decode
_decode_note = msgspec.msgpack.Decoder(float | tuple[str, ...]).decode
_decode_beat = msgspec.msgpack.Decoder(Beat).decode


def is_integer_key(database: bytes) -> bool:
    """Return True if the keys of a database are integers in the order of this machine's bytes."""
    return database in (b"rows", b"dead", *OLD_DATABASES)


def places_of(row: Row) -> bytes:
    """Return the dead places of a row as the mirror stores them."""
    return row.dead.to_bytes(_PLACES, "little")


class OldLeg(NamedTuple):
    """A leg of an earlier format, with its place in the file."""

    database: bytes
    key: bytes
    leg: Leg


class OldLegs(list[OldLeg]):
    """The legs of an earlier format."""

    def parts(self, most: int) -> Iterator[list[OldLeg]]:
        """Return an iterator over parts of at most ``most`` legs."""
        return (self[first : first + most] for first in range(0, len(self), most))


class Kept(msgspec.Struct):
    """The content of a mirror."""

    rows: list[Row] = []
    """Rows of legs, by ascending serial number."""
    old: OldLegs = msgspec.field(default_factory=OldLegs)
    """Legs of an earlier format that no row holds."""
    tombstones: list[tuple[int, TombstoneRow]] = []
    """Rows of stops, by ascending serial number."""
    notes: dict[str, Note] = {}
    beat: Beat | None = None
    format: int = FORMAT
    """The format of the mirror."""
    incomplete: bool = False
    """True if a process died while it wrote the mirror again, so that legs may be missing."""

    def renewed(self) -> Iterator[float]:
        """Return an iterator over the latest times that the legs prove."""
        yield from (leg.renewed for row in self.rows for leg in row.living())
        yield from (old.leg.renewed for old in self.old)

    def rows_of(self, legs: list[OldLeg]) -> list[Row]:
        """Return new rows with legs of an earlier format, after all other rows."""
        serials = count(self.rows[-1].serial + 1 if self.rows else 1)
        rows = []
        for state in _STATES:
            some = [old.leg for old in legs if old.leg.state == state]
            for first in range(0, len(some), ROW_LEGS):
                row = Row(next(serials), state, [*some[first : first + ROW_LEGS]])
                row.left = len(row.legs)
                for place, leg in enumerate(row.living()):
                    leg.row, leg.place = row.serial, place
                rows.append(row)
        return rows


_STATES: tuple[State, ...] = (1, 2, 3)


class _Leg1(msgspec.Struct, array_like=True):
    """A leg of format 1. The fields without comments are those of :class:`Leg`."""

    slot: int
    """The position of a small leg, or the complement of that of a large leg."""
    call: str
    leg: str
    switch: str
    state: State
    standing: tuple[int, tuple[int, ...]]
    """The number of the account's counter, and those of the clients' counters."""
    since: float
    due: float
    lease: float
    missed: str | None = None
    content: bytes | None = None
    answer: Decision | None = None


class _Leg3(msgspec.Struct, array_like=True):
    """A leg of the formats 2 and 3. The fields without comments are those of :class:`_Leg1`."""

    slot: int
    call: str
    leg: str
    switch: str
    state: State
    cells: tuple[tuple[int, int], ...]
    """The counters: the number of each, and the legs that it counted. The first one is that of the account."""
    since: float
    due: float
    lease: float
    missed: str | None = None
    content: bytes | None = None
    answer: bytes | None = None


_decode_leg_1 = msgspec.msgpack.Decoder(_Leg1).decode
_decode_leg_3 = msgspec.msgpack.Decoder(_Leg3).decode


def _leg_of_old(value: bytes, found: int) -> tuple[int, Leg]:
    """Return the slot and the leg of a value of an earlier format."""
    old: _Leg1 | _Leg3
    if found == 1:
        try:
            old = _decode_leg_1(value)
        except msgspec.ValidationError:  # a program of format 2 or 3 was interrupted when it converted the mirror
            old = _decode_leg_3(value)
    else:
        old = _decode_leg_3(value)
    if isinstance(old, _Leg1):
        numbers = [old.standing[0], *old.standing[1]]
        answer = None if old.answer is None else packed(old.answer)
    else:
        numbers = [number for number, _ in old.cells]
        answer = old.answer
    # A client had a counter for both directions together, with a negative number.
    cells = tuple(Counter(number) for number in numbers if number >= 0)
    return old.slot, Leg(
        0, 0, old.call, old.leg, old.switch, old.state, cells, old.since, old.due, old.lease, old.missed,
        old.content, answer,
    )  # fmt: skip


def read(env: lmdb.Environment) -> Kept:
    """Return the content of a mirror. Raise DamagedError if any part of it is invalid or of an unknown format."""
    try:
        meta = env.open_db(b"meta", create=False)
        with env.begin() as txn:
            beat = txn.get(BEAT, db=meta)
            found = FORMAT if beat is None else msgspec.msgpack.decode(bytes(beat), type=list[Any])[0]
            if found not in READABLE:
                raise DamagedError(unreadable(found))
        dbs = {name: _open(env, name, needed=found == FORMAT or name not in DATABASES[:2]) for name in DATABASES}
        old = {name: _open(env, name, needed=False) for name in OLD_DATABASES}
        with env.begin() as txn:
            tombstones = [
                (SERIAL.unpack(key)[0], unpacked_row(bytes(value))) for key, value in txn.cursor(dbs[b"stops"])
            ]
            if len(tombstones) != txn.stat(dbs[b"stops"])["entries"]:
                raise DamagedError("an entry is missing")
            notes: dict[str, Note] = {
                key.decode(): _decode_note(value) for key, value in txn.cursor(dbs[b"notes"])
            }
            return Kept(
                _rows(txn, dbs[b"rows"], dbs[b"dead"]),
                _old_legs(txn, old, found) if found != FORMAT else OldLegs(),
                tombstones,
                notes,
                None if beat is None else _decode_beat(bytes(beat)),
                found,
                txn.get(INCOMPLETE, db=meta) is not None,
            )
    except (lmdb.Error, msgspec.MsgspecError, struct.error, ValueError, IndexError) as error:
        raise DamagedError(f"it is damaged ({error})") from error


def _open(env: lmdb.Environment, name: bytes, *, needed: bool) -> Any:
    """Return a database, or None if it does not exist and is not needed."""
    try:
        return env.open_db(name, integerkey=is_integer_key(name), create=False)
    except lmdb.NotFoundError:
        if needed:
            raise
        return None


def _rows(txn: lmdb.Transaction, rows_db: Any, dead_db: Any) -> list[Row]:
    """Return the rows of legs. Raise DamagedError if a row is missing, or a leg is not at its place."""
    if rows_db is None:
        return []
    rows: list[Row] = []
    before, entries = 0, 0
    for key, value in txn.cursor(rows_db):
        serial = int.from_bytes(key, sys.byteorder)
        if serial <= before or len(key) != len(key_of(0)):
            raise DamagedError("an entry is at the wrong position")
        before = serial
        entries += 1
        row = Row(serial, 1, _decode_legs(bytes(value)))
        places = None if dead_db is None else txn.get(key, db=dead_db)
        if places is not None:
            row.dead, row.marked = int.from_bytes(places, "little"), True
        for place, leg in enumerate(row.legs):
            if leg is None or row.dead >> place & 1:
                row.legs[place] = None
                row.dead |= 1 << place
            elif (leg.row, leg.place) != (serial, place):
                raise DamagedError("an entry is at the wrong position")
            elif row.left and row.kind != leg.state:
                raise DamagedError("a row has legs of several states")
            else:
                row.kind = leg.state
                row.left += 1
        if row.left:
            rows.append(row)
    if entries != txn.stat(rows_db)["entries"]:
        raise DamagedError("an entry is missing")
    return rows


def _old_legs(txn: lmdb.Transaction, dbs: dict[bytes, Any], found: int) -> OldLegs:
    """Return the legs of an earlier format. Raise DamagedError if a leg is missing or not at its position."""
    legs = OldLegs()
    for name, db in dbs.items():
        before, entries = -1, 0
        for key, value in () if db is None else txn.cursor(db):
            (position,) = _POSITION.unpack(key)
            if position <= before:
                raise DamagedError("an entry is at the wrong position")
            before = position
            entries += 1
            if value != _NOTHING:
                slot, leg = _leg_of_old(bytes(value), found)
                if slot != (~position if name == b"large" else position):
                    raise DamagedError("an entry is at the wrong position")
                legs.append(OldLeg(name, bytes(key), leg))
        if db is not None and entries != txn.stat(db)["entries"]:
            raise DamagedError("an entry is missing")
    return legs
