"""What was stopped a moment ago, so that a late ``start`` or ``update`` does not bring it back (engine.md 5.4)."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TypeAlias

import msgspec

from identengine.calls.backend import LegSelector
from identengine.model.records import Direction

STOPPED_SECONDS = 60.0
"""How long a stop forbids a late ``start`` or ``update``, in seconds (engine.md 5.4)."""

Pattern: TypeAlias = tuple[Direction | None, str | None]

PARTS = 256
"""Parts of one call that are remembered by one generation; of more, the whole call is taken for stopped."""
GENERATION = 2048
"""Stops that are kept together, and forgotten at once: in less than a millisecond."""
GENERATION_SECONDS = 2.0
"""They are not kept longer than so much beyond their time."""
_GENERATIONS = 16
"""Generations that there is room for, at least."""
_OVERHEAD = 64
"""Bytes that one stop takes in the mirror besides its ids."""
_WHOLE: Pattern = (None, None)
_encode = msgspec.msgpack.Encoder().encode


class TombstoneRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What was stopped together, as it is in the mirror."""

    until: float
    """Until when it counts."""
    stopped: list[LegSelector]
    """The calls, with what was named of each."""


unpacked = msgspec.msgpack.Decoder(TombstoneRow).decode
"""Return a row as it was before it was packed."""


class _Generation:
    """What was stopped within two seconds or so."""

    def __init__(self) -> None:
        self.calls: dict[str, float | dict[Pattern, float]] = {}
        """Until when what was named of a call stays stopped; a call that was named whole has the time alone."""
        self.serials: list[int] = []
        """Of its rows."""
        self.count = self.size = 0
        """Stops, and the bytes that they take in the mirror."""
        self.first = self.last = 0.0
        """Until when the first and the last of its rows count."""

    def note(self, selector: LegSelector, until: float) -> None:
        """Remember what is stopped."""
        if selector.direction is None and selector.leg_id is None:
            self.calls[selector.call] = until  # later than all that was stopped of it before
        else:
            self._note_part(selector, until)

    def _note_part(self, selector: LegSelector, until: float) -> None:
        """Remember some legs of a call."""
        pattern = (selector.direction, selector.leg_id)
        stopped = self.calls.get(selector.call)
        if stopped is None:
            self.calls[selector.call] = {pattern: until}
        elif isinstance(stopped, float):
            self.calls[selector.call] = {_WHOLE: stopped, pattern: until}
        elif len(stopped) < PARTS or pattern in stopped:
            stopped[pattern] = until
        else:
            self.calls[selector.call] = until

    def forbids(self, selector: LegSelector, now: float) -> bool:
        """Whether a message of these legs comes too late."""
        stopped = self.calls.get(selector.call)
        if stopped is None:
            return False
        if isinstance(stopped, float):
            return stopped > now
        return any(until > now and _meet(pattern, selector) for pattern, until in stopped.items())


class Tombstones:
    """Stopped calls; those of one batch are one row in the mirror, written and dropped as a whole.

    Stops are grouped into generations. Adding one writes to a small dict; expiring a generation drops it whole.
    One large dict would cost two cache misses for each stop, and would be rehashed as it grows.
    """

    def __init__(self, room: int) -> None:
        """``room``: bytes that they may take in the mirror; of more, the oldest go before their time."""
        self._room = room
        self._taken = 0
        self._generations = deque([_Generation()])
        """The oldest first; what is stopped now goes to the last."""
        self._gone: deque[int] = deque()
        """Serial numbers of rows that are forgotten here, and are to be dropped from the mirror."""
        self._serial = 0
        self._now, self._until = -inf, 0.0
        self.pending: list[LegSelector] = []
        """What was stopped since the last row."""

    def __len__(self) -> int:
        return sum(len(each.calls) for each in self._generations)

    def add(self, selector: LegSelector, now: float) -> None:
        """Remember what is stopped; a row of it goes to the mirror with the batch (:meth:`row`)."""
        if now != self._now:  # one number for all of a batch
            self._now, self._until = now, now + STOPPED_SECONDS
        self.pending.append(selector)
        last = self._generations[-1]
        if selector.direction is None and selector.leg_id is None:  # as most are; what `note` does
            last.calls[selector.call] = self._until
        else:
            last.note(selector, self._until)

    def row(self) -> dict[int, bytes]:
        """Return what was stopped since the last row, packed, by its serial number; see :attr:`pending`."""
        row = TombstoneRow(self._until, self.pending)
        self._file(self._serial + 1, row)
        self.pending = []
        return {self._serial: _encode(row)}

    def restore(self, serial: int, row: TombstoneRow) -> None:
        """Take up a row from the mirror; the rows come by ascending serial number."""
        for selector in row.stopped:
            self._generations[-1].note(selector, row.until)
        self._file(serial, row)

    def forbid(self, selector: LegSelector, now: float) -> bool:
        """Whether a message of these legs comes too late. It is asked of calls alone that nobody knows."""
        return any(each.forbids(selector, now) for each in reversed(self._generations))

    def due(self, now: float) -> bool:
        """Whether there is anything to forget: its time is over, or there is no room for it."""
        oldest = self._generations[0]
        return bool(self._gone or (oldest.serials and (oldest.last <= now or self._taken > self._room)))

    def forget(self, now: float, most: int) -> list[int]:
        """Forget the oldest generation if it is due; returns serial numbers of rows to drop, ``most`` at once."""
        if not self._gone and self.due(now):
            oldest = self._generations.popleft()
            if not self._generations:
                self._generations.append(_Generation())
            self._taken -= oldest.size
            self._gone.extend(oldest.serials)
        return [self._gone.popleft() for _ in range(min(most, len(self._gone)))]

    def _file(self, serial: int, row: TombstoneRow) -> None:
        """Count a row, whose stops the last generation has noted, and begin another one where that is full."""
        size = sum(len(selector.call) + len(selector.leg_id or "") + _OVERHEAD for selector in row.stopped)
        self._serial = serial
        self._taken += size
        last = self._generations[-1]
        if not last.serials:
            last.first = row.until
        last.serials.append(serial)
        last.last = row.until
        last.count += len(row.stopped)
        last.size += size
        if (
            last.count >= GENERATION
            or last.size >= self._room // _GENERATIONS
            or last.last - last.first >= GENERATION_SECONDS
        ):
            self._generations.append(_Generation())


def _meet(pattern: Pattern, selector: LegSelector) -> bool:
    """Whether some leg may be meant by both."""
    direction, leg_id = pattern
    if direction is not None and selector.direction is not None and direction is not selector.direction:
        return False
    return leg_id is None or selector.leg_id is None or leg_id == selector.leg_id
