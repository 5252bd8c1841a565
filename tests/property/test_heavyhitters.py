"""The guarantees of the sketch of most frequent values hold for every stream."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from identengine.stats.heavyhitters import Counts, HeavyHitters

STREAMS = st.lists(st.integers(0, 30).map(lambda n: f"10.0.0.{n * n // 30}"), max_size=300)


@given(STREAMS, st.integers(1, 8), st.integers(0, 300))
def test_counts_are_within_the_bound(stream: list[str], keep: int, restart: int) -> None:
    sketch = HeavyHitters(keep)
    for place, value in enumerate(stream):
        if place == restart:  # another process continues with the stored counts
            sketch = HeavyHitters(keep, sketch.counts())
        sketch.add(value)
    known = sketch.counts()
    assert len(known.counts) <= 2 * keep
    assert known.floor * (keep + 1) <= len(stream)
    true = Counter(stream)
    for value, count in true.items():
        if count > known.floor:
            assert value in known.counts
    for value, count in known.counts.items():
        assert count <= true[value] <= count + known.floor
        assert count > 0


@given(STREAMS, st.integers(1, 4))
def test_a_larger_sketch_is_cut_within_the_bound(stream: list[str], keep: int) -> None:
    large = HeavyHitters(40)
    for value in stream:
        large.add(value)
    known = HeavyHitters(keep, large.counts()).counts()
    assert len(known.counts) <= 2 * keep
    for value, count in Counter(stream).items():
        assert known.counts.get(value, 0) <= count <= known.counts.get(value, 0) + known.floor


def test_the_largest_come_first() -> None:
    known = Counts({"b": 2, "a": 2, "c": 9, "d": 1})
    assert known.largest(3) == [("c", 9), ("a", 2), ("b", 2)]
