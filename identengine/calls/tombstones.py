"""Recent stops, so that a late ``start`` or ``update`` does not bring a call back (engine.md 5.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from identengine.calls.backend import LegSelector
from identengine.model.records import Direction

STOPPED_SECONDS = 60.0
"""Time for which a stop blocks a late ``start`` or ``update``, in seconds (engine.md 5.4)."""

Pattern: TypeAlias = tuple[Direction | None, str | None]

PARTS = 256
"""Stopped parts of one call that a generation remembers. With more, it treats the whole call as stopped."""
GENERATION = 2048
"""Stops of one generation. A generation is forgotten at once, in less than a millisecond."""
GENERATION_SECONDS = 2.0
"""Longest time for which a stop is kept after it expired, in seconds."""
_GENERATIONS = 16
"""Minimum number of generations that fit into the space for stops."""
_OVERHEAD = 64
"""Space that one stop takes in the mirror in addition to its ids, in bytes."""
_WHOLE: Pattern = (None, None)
_encode = msgspec.msgpack.Encoder().encode


class TombstoneRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The stops of one batch, as the mirror stores them."""

    until: float
    """Time when the stops expire."""
    stopped: list[LegSelector | str]
    """The selectors of the stops. The key of a call selects all its legs."""


unpacked = msgspec.msgpack.Decoder(TombstoneRow).decode
"""Return the row that was encoded."""


class _Generation:
    """Stops of about two seconds, which are forgotten together."""

    def __init__(self) -> None:
        self.calls: dict[str, float | dict[Pattern, float]] = {}
        """By call: the expiry time of the stop, or of each stopped part if only parts of the call were stopped."""
        self.serials: list[int] = []
        """Serial numbers of the rows."""
        self.count = self.size = 0
        """Number of stops, and the bytes that they take in the mirror."""
        self.first = self.last = 0.0
        """Expiry times of the first and the last row."""

    def note(self, stop: LegSelector | str, until: float) -> None:
        """Remember a stop."""
        if type(stop) is str:
            self.calls[stop] = until  # outlasts all earlier stops of the call
        else:
            assert isinstance(stop, LegSelector)  # noqa: S101 - tells mypy the other type
            if stop.whole:
                self.calls[stop.call] = until
            else:
                self._note_part(stop, until)

    def _note_part(self, selector: LegSelector, until: float) -> None:
        """Remember a stop of some legs of a call."""
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

    def stopped(self) -> Iterator[LegSelector | str]:
        """Return an iterator over all stops."""
        for call, stopped in self.calls.items():
            if isinstance(stopped, float):
                yield call
            else:
                yield from (LegSelector(call, direction, leg_id) for direction, leg_id in stopped)

    def forbids(self, selector: LegSelector, now: float) -> bool:
        """Return True if a message about these legs arrives too late."""
        stopped = self.calls.get(selector.call)
        if stopped is None:
            return False
        if isinstance(stopped, float):
            return stopped > now
        return any(until > now and _meet(pattern, selector) for pattern, until in stopped.items())


class Tombstones:
    """All recent stops. The mirror stores and drops the stops of a batch as one row.

    Stops are grouped into generations. Adding one writes to a small dict; expiring a generation drops it whole.
    One large dict would cost two cache misses for each stop, and would be rehashed as it grows.
    """

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes`` is the space for stops in the mirror. Above it, the oldest stops are forgotten early."""
        self._max_bytes = max_bytes
        self._taken = 0
        self._generations = deque([_Generation()])
        """Generations, the oldest first. New stops are added to the last one."""
        self._gone: deque[int] = deque()
        """Serial numbers of forgotten rows that the mirror still holds."""
        self._serial = 0
        self._until = 0.0
        self.calls: dict[str, None] = {}
        """Keys of the calls that were stopped whole since the last row. Such a stop only adds its call."""
        self.parts: list[LegSelector] = []
        """Other stops since the last row."""

    def __len__(self) -> int:
        return sum(len(each.calls) for each in self._generations)

    def add(self, selector: LegSelector, now: float) -> None:
        """Remember a stop. :meth:`row` returns its row for the mirror when the batch ends."""
        self._until = now + STOPPED_SECONDS
        if selector.whole:
            self.calls[selector.call] = None
        else:
            self.parts.append(selector)
            self._generations[-1].note(selector, self._until)

    def row(self, now: float | None = None) -> dict[int, bytes]:
        """Return the encoded stops since the last row, by serial number. They stopped their calls at ``now``.

        Without ``now``, it is the time of the last stop that :meth:`add` added. Call this method only if
        there are such stops.
        """
        if now is not None:
            self._until = now + STOPPED_SECONDS
        self._generations[-1].calls.update(dict.fromkeys(self.calls, self._until))
        row = TombstoneRow(self._until, [*self.calls, *self.parts])
        encoded = _encode(row)
        self._file(self._serial + 1, row, len(encoded))
        self.calls.clear()
        self.parts.clear()
        return {self._serial: encoded}

    def rows(self) -> dict[int, bytes | None]:
        """Return all stops as new rows, for a new mirror. Each generation is one row, whose stops expire together.

        So after a restart a stop may be kept for :data:`GENERATION_SECONDS` longer.
        """
        rows: dict[int, bytes | None] = {}
        self._gone.clear()
        for each in self._generations:
            if each.serials:
                self._serial += 1
                each.serials = [self._serial]
                rows[self._serial] = _encode(TombstoneRow(each.last, list(each.stopped())))
        return rows

    def restore(self, serial: int, row: TombstoneRow) -> None:
        """Restore a row from the mirror. Rows must arrive by ascending serial number."""
        for stop in row.stopped:
            self._generations[-1].note(stop, row.until)
        self._file(serial, row, len(_encode(row)))

    def forbid(self, selector: LegSelector, now: float) -> bool:
        """Return True if a message about these legs arrives too late. Only messages for unknown calls ask this."""
        if selector.call in self.calls:
            return True
        return any(each.forbids(selector, now) for each in reversed(self._generations))

    def due(self, now: float) -> bool:
        """Return True if there are stops to forget, because they expired or exceed their space."""
        oldest = self._generations[0]
        return bool(self._gone or (oldest.serials and (oldest.last <= now or self._taken > self._max_bytes)))

    def forget(self, now: float, most: int) -> list[int]:
        """Forget the oldest generation if it is due. Return at most ``most`` serial numbers of rows to drop."""
        if not self._gone and self.due(now):
            if len(self._generations) == 1:
                self._generations.append(_Generation())
            oldest = self._generations.popleft()
            self._taken -= oldest.size
            self._gone.extend(oldest.serials)
        return [self._gone.popleft() for _ in range(min(most, len(self._gone)))]

    def _file(self, serial: int, row: TombstoneRow, encoded: int) -> None:
        """Count a row whose stops the last generation holds. Begin a new generation if that one is full.

        ``encoded`` is the length of the encoded row, in bytes.
        """
        size = encoded + len(row.stopped) * _OVERHEAD
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
            or last.size >= self._max_bytes // _GENERATIONS
            or last.last - last.first >= GENERATION_SECONDS
        ):
            self._generations.append(_Generation())


def _meet(pattern: Pattern, selector: LegSelector) -> bool:
    """Return True if a leg can match both the pattern and the selector."""
    direction, leg_id = pattern
    if direction is not None and selector.direction is not None and direction is not selector.direction:
        return False
    return leg_id is None or selector.leg_id is None or leg_id == selector.leg_id
