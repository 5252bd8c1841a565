"""Which slots are due in which second: what lapses costs by the lapse, whatever is held (engine.md 5.5)."""

from __future__ import annotations


class Wheel:
    """Slots by the second in which they are due; one that is renewed leaves its old second: each is there once."""

    def __init__(self) -> None:
        self._seconds: dict[int, set[int]] = {}
        self._first = 0
        """No second before this one holds a slot."""

    def add(self, slot: int, due: float) -> None:
        """Put a slot into the first second that begins after ``due``."""
        second = int(due) + 1
        there = self._seconds.get(second)
        if there is not None:
            there.add(slot)
            return
        if second < self._first or not self._seconds:
            self._first = second
        self._seconds[second] = {slot}

    def remove(self, slot: int, due: float) -> None:
        """Take out a slot that was put in by the same ``due``."""
        second = int(due) + 1
        there = self._seconds[second]
        there.remove(slot)
        if not there:
            del self._seconds[second]

    def due(self, now: float, most: int) -> list[int]:
        """Return slots that are due at ``now``, at most so many; they stay until they are removed."""
        found: list[int] = []
        second = self.first()
        while second is not None and second <= now and len(found) < most:
            for slot in self._seconds.get(second, ()):
                found.append(slot)
                if len(found) == most:
                    break
            second += 1
        return found

    def first(self) -> int | None:
        """Return the earliest second that holds a slot; None where there is none."""
        if not self._seconds:
            return None
        while self._first not in self._seconds:
            self._first += 1
        return self._first

    def earliest(self) -> int | None:
        """Return a slot of the earliest second; None where there is none."""
        second = self.first()
        return None if second is None else next(iter(self._seconds[second]))
