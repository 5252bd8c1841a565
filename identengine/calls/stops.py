"""What was stopped a moment ago, so that a late ``start`` or ``update`` does not bring it back (engine.md 5.4)."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TypeAlias

import msgspec

from identengine.calls.messages import Named
from identengine.model import Direction

REMEMBERED = 60.0
"""How long, in seconds."""

Pattern: TypeAlias = tuple[Direction | None, str | None]

PARTS = 256
"""Parts of one call that are remembered; of more, the whole call is taken for stopped."""
_OVERHEAD = 64
"""Bytes that one stop takes in the mirror besides its ids."""
_WHOLE: Pattern = (None, None)
_TABLES = 256
"""One dict of all stops would be made anew every so many of them, which takes 10 ms; small ones are so in turn."""
_MASK = _TABLES - 1
_encode = msgspec.msgpack.Encoder().encode


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What was stopped together."""

    until: float
    """Until when it counts."""
    stopped: list[Named]
    """The calls, with what was named of each."""


unpacked = msgspec.msgpack.Decoder(Row).decode
"""Return a row as it was before it was packed."""


class _Remembered(msgspec.Struct, frozen=True, gc=False):
    """A row, packed: as objects, the collector would walk over all that is remembered."""

    serial: int
    until: float
    packed: bytes
    size: int
    """Bytes that it takes in the mirror."""


class Stops:
    """Stopped calls; those of one batch are one row in the mirror, written and dropped as a whole."""

    def __init__(self, room: int) -> None:
        """``room``: bytes that they may take in the mirror; of more, the oldest go before their time."""
        self._room = room
        self._taken = 0
        self._tables: list[dict[str, float | dict[Pattern, float]]] = [{} for _ in range(_TABLES)]
        """By call: until when what was named of it stays stopped; where it was named whole, the time alone."""
        self._rows: deque[_Remembered] = deque()
        self._serial = 0
        self._now, self._until = -inf, 0.0
        self._batch: list[Named] = []
        self._batch_size = 0

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def add(self, named: Named, now: float) -> None:
        """Remember what is stopped; a row of it goes to the mirror with the batch (:meth:`row`)."""
        if now != self._now:  # one number for all of a batch
            self._now, self._until = now, now + REMEMBERED
        self._batch.append(named)
        self._batch_size += len(named.call) + len(named.leg_id or "") + _OVERHEAD
        if named.direction is None and named.leg_id is None:
            self._tables[hash(named.call) & _MASK][named.call] = (
                self._until
            )  # later than all that was stopped of it before
        else:
            self._note_part(named, self._until)

    def row(self) -> dict[int, bytes]:
        """Return what was stopped since the last row, packed, by its serial number; nothing where nothing was."""
        if not self._batch:
            return {}
        self._serial += 1
        packed = _encode(Row(self._until, self._batch))
        self._rows.append(_Remembered(self._serial, self._until, packed, self._batch_size))
        self._taken += self._batch_size
        self._batch, self._batch_size = [], 0
        return {self._serial: packed}

    def restore(self, serial: int, row: Row) -> None:
        """Take up a row from the mirror; the rows come by ascending serial number."""
        for named in row.stopped:
            if named.whole:
                self._table(named.call)[named.call] = row.until
            else:
                self._note_part(named, row.until)
        self._serial = serial
        size = sum(len(named.call) + len(named.leg_id or "") + _OVERHEAD for named in row.stopped)
        self._rows.append(_Remembered(serial, row.until, _encode(row), size))
        self._taken += size

    def forbid(self, named: Named, now: float) -> bool:
        """Whether a message of these legs comes too late."""
        stopped = self._table(named.call).get(named.call)
        if stopped is None:
            return False
        if isinstance(stopped, float):
            return stopped > now
        return any(until > now and _meet(pattern, named) for pattern, until in stopped.items())

    def due(self, now: float) -> bool:
        """Whether there is a row whose time is over, or that there is no room for."""
        return bool(self._rows) and (self._rows[0].until <= now or self._taken > self._room)

    def forget(self, now: float, most: int) -> list[int]:
        """Drop the rows that are due, the oldest first, of ``most`` stops or a few more; returns their serials."""
        gone: list[int] = []
        dropped = 0
        while dropped < most and self.due(now):
            oldest = self._rows.popleft()
            self._taken -= oldest.size
            gone.append(oldest.serial)
            until = oldest.until
            stopped = unpacked(oldest.packed).stopped
            dropped += len(stopped)
            for named in stopped:
                table = self._table(named.call)
                if table.get(named.call) == until:  # as most are: named whole, and not stopped again since
                    del table[named.call]
                else:
                    self._drop(named, until)
        return gone

    def _table(self, call: str) -> dict[str, float | dict[Pattern, float]]:
        return self._tables[hash(call) & _MASK]

    def _drop(self, named: Named, until: float) -> None:
        """Drop what was stopped till then; not what was stopped again since."""
        table = self._table(named.call)
        stopped = table.get(named.call)
        if isinstance(stopped, dict):
            for pattern in ((named.direction, named.leg_id), _WHOLE):
                if stopped.get(pattern, inf) <= until:
                    del stopped[pattern]
            if not stopped:
                del table[named.call]
        elif stopped is not None and stopped <= until:
            del table[named.call]

    def _note_part(self, named: Named, until: float) -> None:
        """Remember some legs of a call."""
        pattern = (named.direction, named.leg_id)
        table = self._table(named.call)
        stopped = table.get(named.call)
        if stopped is None:
            table[named.call] = {pattern: until}
        elif isinstance(stopped, float):
            table[named.call] = {_WHOLE: stopped, pattern: until}
        elif len(stopped) < PARTS or pattern in stopped:
            stopped[pattern] = until
        else:
            table[named.call] = until


def _meet(pattern: Pattern, named: Named) -> bool:
    """Whether some leg may be meant by both."""
    direction, leg_id = pattern
    if direction is not None and named.direction is not None and direction is not named.direction:
        return False
    return leg_id is None or named.leg_id is None or leg_id == named.leg_id
