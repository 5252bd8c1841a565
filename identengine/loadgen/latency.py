"""How long answers took, in bounded memory: counts in buckets that grow with the time (HdrHistogram)."""

from __future__ import annotations

_BITS = 8
_EXACT = 1 << _BITS
"""Times below so many microseconds have a bucket each; the others share one with those up to 1/128 longer."""
_HALF = _EXACT // 2


class Histogram:
    """Counts of times from 0 to 2**40 microseconds (12 days); at most 4,352 buckets."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        """Microseconds of all of them."""
        self.largest = 0
        """Microseconds, exact."""
        self._counts = [0] * (_EXACT + (40 - _BITS) * _HALF)

    def add(self, nanoseconds: int) -> None:
        """Count one time."""
        micro = nanoseconds // 1000
        if micro >= _EXACT:
            shift = micro.bit_length() - _BITS
            # Within each doubling there are _HALF buckets.
            self._counts[_HALF * shift + (micro >> shift)] += 1
        else:
            self._counts[micro] += 1
        self.count += 1
        self.total += micro
        if micro > self.largest:  # noqa: PLR1730 - a call of max() for each answer
            self.largest = micro

    def at(self, share: float) -> int:
        """Return the microseconds within which ``share`` (0 to 1) of all answers came; 0 where there were none.

        It is the upper end of a bucket, so at most 1/128 more than the true time.
        """
        wanted = max(1, -int(-self.count * share // 1))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper(bucket), self.largest)
        return self.largest


def _upper(bucket: int) -> int:
    """Return the longest time of a bucket."""
    if bucket < _EXACT:
        return bucket
    shift = bucket // _HALF - 1
    return ((bucket - _HALF * shift + 1) << shift) - 1
