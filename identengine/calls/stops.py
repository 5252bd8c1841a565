"""What was stopped a moment ago, so that a late ``start`` or ``update`` does not bring it back (engine.md 5.4)."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from identengine.calls.messages import Named
from identengine.model import Direction

REMEMBERED = 60.0
"""How long, in seconds."""

Pattern: TypeAlias = tuple[Direction | None, str | None]
Row: TypeAlias = tuple[float, list[Named]]
"""What was stopped together: until when it counts, and the calls with what was named of each."""

_WHOLE: Pattern = (None, None)


class Stops:
    """Stopped calls; those of one batch are one row in the mirror, written and dropped as a whole."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: dict[str, float | dict[Pattern, float]] = {}
        """Until when what was named of a call stays stopped; a call that was named whole has the time alone."""
        self._rows: deque[tuple[int, Row]] = deque()
        self._serial = 0
        self._now = self._until = 0.0
        self._batch: list[Named] = []

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, named: Named, now: float) -> None:
        """Remember what is stopped; a row of it goes to the mirror with the batch (:meth:`row`)."""
        if now != self._now:  # one number for all of a batch
            self._now, self._until = now, now + REMEMBERED
        self._batch.append(named)
        if named.direction is None and named.leg_id is None:
            self._calls[named.call] = self._until  # later than all that was stopped of it before
        else:
            self._note_part(named, self._until)

    def row(self) -> dict[int, Row]:
        """Return what was stopped since the last row, by its serial number; nothing where nothing was."""
        if not self._batch:
            return {}
        self._serial += 1
        row = (self._until, self._batch)
        self._rows.append((self._serial, row))
        self._batch = []
        return {self._serial: row}

    def restore(self, serial: int, row: Row) -> None:
        """Take up a row from the mirror; the rows come by ascending serial number."""
        until, stopped = row
        for named in stopped:
            if named.whole:
                self._calls[named.call] = until
            else:
                self._note_part(named, until)
        self._serial = serial
        self._rows.append((serial, row))

    def forbid(self, named: Named, now: float) -> bool:
        """Whether a message of these legs comes too late."""
        stopped = self._calls.get(named.call)
        if stopped is None:
            return False
        if isinstance(stopped, float):
            return stopped > now
        return any(until > now and _meet(pattern, named) for pattern, until in stopped.items())

    def forget(self, now: float, most: int) -> list[int]:
        """Drop rows whose time is over, and the oldest of too many; returns their serials, ``most`` of them."""
        gone: list[int] = []
        while self._rows and len(gone) < most and (self._rows[0][1][0] <= now or len(self._calls) > self._most):
            serial, (until, stopped) = self._rows.popleft()
            gone.append(serial)
            for named in stopped:
                self._drop(named.call, until)
        return gone

    def _drop(self, call: str, until: float) -> None:
        """Drop what was stopped till then; not what was stopped again since."""
        stopped = self._calls.get(call)
        if isinstance(stopped, dict):
            for pattern in [pattern for pattern, end in stopped.items() if end <= until]:
                del stopped[pattern]
            if not stopped:
                del self._calls[call]
        elif stopped is not None and stopped <= until:
            del self._calls[call]

    def _note_part(self, named: Named, until: float) -> None:
        """Remember some legs of a call."""
        pattern = (named.direction, named.leg_id)
        stopped = self._calls.get(named.call)
        if isinstance(stopped, dict):
            stopped[pattern] = until
        elif stopped is None:
            self._calls[named.call] = {pattern: until}
        else:
            self._calls[named.call] = {_WHOLE: stopped, pattern: until}


def _meet(pattern: Pattern, named: Named) -> bool:
    """Whether some leg may be meant by both."""
    direction, leg_id = pattern
    if direction is not None and named.direction is not None and direction is not named.direction:
        return False
    return leg_id is None or named.leg_id is None or leg_id == named.leg_id
