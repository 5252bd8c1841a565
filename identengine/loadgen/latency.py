"""Response times in bounded memory: counts in buckets that grow with the time (as in HdrHistogram)."""

from __future__ import annotations

_BITS = 8
_EXACT = 1 << _BITS
"""Times below this many microseconds have a bucket each. Longer ones share it with times up to 1/128 longer."""
_HALF = _EXACT // 2


class Histogram:
    """Counts of times from 0 to 2**40 microseconds (12 days), in 4,352 buckets."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        """Sum of all times, in microseconds."""
        self.largest = 0
        """Longest time, exact, in microseconds."""
        self._counts = [0] * (_EXACT + (40 - _BITS) * _HALF)

    def add(self, nanoseconds: int) -> None:
        """Count one time."""
        micro = nanoseconds // 1000
        if micro >= _EXACT:
            shift = micro.bit_length() - _BITS
            # Each doubling of the time has _HALF buckets.
            self._counts[_HALF * shift + (micro >> shift)] += 1
        else:
            self._counts[micro] += 1
        self.count += 1
        self.total += micro
        if micro > self.largest:  # noqa: PLR1730 - a call of max() for each answer
            self.largest = micro

    def at(self, share: float) -> int:
        """Return the time within which ``share`` (0 to 1) of all answers arrived, in microseconds; 0 if none did.

        The result is the upper end of a bucket, so it exceeds the true time by at most 1/128.
        """
        wanted = max(1, -int(-self.count * share // 1))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper(bucket), self.largest)
        return self.largest


def _upper(bucket: int) -> int:
    """Return the longest time that a bucket counts, in microseconds."""
    if bucket < _EXACT:
        return bucket
    shift = bucket // _HALF - 1
    return ((bucket - _HALF * shift + 1) << shift) - 1
