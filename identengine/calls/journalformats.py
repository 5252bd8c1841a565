"""Reads the content of a mirror, in the format of this program and in each earlier one (engine.md 8.1).

Rule: a row of an earlier format is decoded by its own type, which never changes, and then converted. A row of the
current format is accepted in a mirror of an earlier one too, since a conversion may have been interrupted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import lmdb
import msgspec

from identengine.calls.backend import packed
from identengine.calls.clock import Beat
from identengine.calls.counts import Counter
from identengine.calls.journalfile import FORMAT, READABLE, DamagedError, unreadable
from identengine.calls.legs import State
from identengine.calls.legtable import Leg
from identengine.calls.sync import Note
from identengine.calls.tombstones import TombstoneRow
from identengine.calls.tombstones import unpacked as unpacked_row
from identengine.model.records import Decision

DATABASES = ("small", "large", "stops", "notes", "meta")
BY_POSITION = ("small", "large")
"""The databases whose keys are positions."""
BEAT, INCOMPLETE = b"beat", b"incomplete"
"""Keys in the database ``meta``. INCOMPLETE exists while the mirror is being written again."""
POSITION = struct.Struct("=I")
SERIAL = struct.Struct(">Q")
encode = msgspec.msgpack.Encoder().encode
"""Return a value as the mirror stores it."""
NOTHING = encode(None)
"""The value of a free position."""

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
    format: int = FORMAT
    """The format of the rows."""
    incomplete: bool = False
    """True if a process died while it wrote the mirror again, so that legs may be missing."""


class _Leg1(msgspec.Struct, array_like=True):
    """A leg of format 1. The fields without comments are those of :class:`Leg`."""

    slot: int
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


_decode_leg_1 = msgspec.msgpack.Decoder(_Leg1).decode


def _leg_of_1(row: bytes) -> Leg:
    """Return the leg of a row of format 1."""
    try:
        old = _decode_leg_1(row)
    except msgspec.ValidationError:  # converted before an interruption
        return _decode_leg(row)
    account, clients = old.standing
    answer = None if old.answer is None else packed(old.answer)
    cells = tuple(map(Counter, (account, *clients)))
    return Leg(
        old.slot, old.call, old.leg, old.switch, old.state, cells, old.since, old.due, old.lease, old.missed,
        old.content, answer,
    )  # fmt: skip


_DECODERS: dict[int, Callable[[bytes], Leg]] = {1: _leg_of_1}
"""The decoder of a leg, for formats whose legs differ from the current ones."""


def read(env: lmdb.Environment) -> Kept:
    """Return the content of a mirror. Raise DamagedError if any part of it is invalid or of an unknown format."""
    try:
        dbs = {
            name: env.open_db(name.encode(), integerkey=name in BY_POSITION, create=False) for name in DATABASES
        }
        with env.begin() as txn:
            beat = txn.get(BEAT, db=dbs["meta"])
            found = FORMAT if beat is None else msgspec.msgpack.decode(bytes(beat), type=list[Any])[0]
            if found not in READABLE:
                raise DamagedError(unreadable(found))
            decode = _DECODERS.get(found, _decode_leg)
            legs = _legs(txn, dbs["small"], decode, large=False) + _legs(txn, dbs["large"], decode, large=True)
            tombstones = [
                (SERIAL.unpack(key)[0], unpacked_row(bytes(value))) for key, value in txn.cursor(dbs["stops"])
            ]
            if len(tombstones) != txn.stat(dbs["stops"])["entries"]:
                raise DamagedError("an entry is missing")
            notes: dict[str, Note] = {key.decode(): _decode_note(value) for key, value in txn.cursor(dbs["notes"])}
            return Kept(
                legs,
                tombstones,
                notes,
                None if beat is None else _decode_beat(bytes(beat)),
                found,
                txn.get(INCOMPLETE, db=dbs["meta"]) is not None,
            )
    except (lmdb.Error, msgspec.MsgspecError, struct.error, ValueError, IndexError) as error:
        raise DamagedError(f"it is damaged ({error})") from error


def _legs(txn: lmdb.Transaction, db: Any, decode: Callable[[bytes], Leg], *, large: bool) -> list[Leg]:
    """Return the legs of one space. Raise DamagedError if a leg is missing or not at its position."""
    legs: list[Leg] = []
    before, entries = -1, 0
    for key, value in txn.cursor(db):
        (position,) = POSITION.unpack(key)
        if position <= before:
            raise DamagedError("an entry is at the wrong position")
        before = position
        entries += 1
        if value != NOTHING:
            leg = decode(bytes(value))
            if leg.slot != (~position if large else position):
                raise DamagedError("an entry is at the wrong position")
            legs.append(leg)
    if entries != txn.stat(db)["entries"]:
        raise DamagedError("an entry is missing")
    return legs
