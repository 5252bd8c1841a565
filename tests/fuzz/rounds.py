"""The rounds of a fuzz test: cases by seed, each of which can be run again alone.

The ordinary run has the same seeds each time, so that only a change can make it fail. With the marker ``long`` a
test runs for ``FUZZ_SECONDS`` with new seeds. ``FUZZ_SEED`` runs one case again.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from random import Random
from types import TracebackType
from typing import Self, TypeVar, cast

import pytest
from support.processes import resident
from support.thorough import times

T = TypeVar("T", bound=Callable[..., None])

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
"""Duration of each long test, in seconds."""
SEED = os.environ.get("FUZZ_SEED")
"""Seed of the only case to run; None for all."""
MEMORY = 10 << 20
"""Largest growth of a process over all cases of a test, in bytes."""
_WARM = 20
"""Number of cases after which a process has its usual size."""
_LONGEST = 20_000
"""Longest part of an input that a failure prints, in bytes."""
LESS = 5
"""Divisor of the number of rounds outside of CI."""


class Case(Random):
    """A seeded source of random choices. As a context manager it adds seed and input to an exception."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.number = seed
        self.input: object = None
        """Input of the case so far, for the report of a failure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, fault: BaseException | None, __: TracebackType | None) -> None:
        if fault is not None:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
            shown = repr(self.input)
            fault.add_note(f"Replay with: FUZZ_SEED={self.number} pytest -n 0 '{test}'")
            fault.add_note(f"Input: {shown[:_LONGEST]}{'…' if len(shown) > _LONGEST else ''}")

    def often(self, share: float) -> bool:
        """Return True in this share of the cases."""
        return self.random() < share


class Rounds:
    """The cases of one test: ``count`` of them, or as many as fit into :data:`SECONDS`."""

    def __init__(self, count: int | None) -> None:
        self._count = count

    def __repr__(self) -> str:
        return "long" if self._count is None else "ordinary"

    def __iter__(self) -> Iterator[Case]:
        if SEED is not None:
            yield Case(int(SEED))
        elif self._count is not None:
            yield from map(Case, range(self._count))
        else:
            seed, end = time.time_ns(), time.monotonic() + SECONDS
            while time.monotonic() < end:
                yield Case(seed)
                seed += 1

    def within_memory(self) -> Iterator[Case]:
        """Yield the cases. Fail if the process grows by more than :data:`MEMORY` meanwhile."""
        before = 0
        for place, case in enumerate(self):
            if place == _WARM:
                before = resident(os.getpid())
            yield case
        gc.collect()
        assert not before or resident(os.getpid()) - before < MEMORY


def rounds(in_ci: int) -> Callable[[T], T]:
    """Return the decorator of a test with an argument ``cases``. It has ``in_ci`` rounds in CI, and a long run."""
    long = pytest.param(Rounds(None), marks=[pytest.mark.long, pytest.mark.timeout(0)])
    ordinary = Rounds(times(in_ci, max(1, in_ci // LESS)))
    return cast("Callable[[T], T]", pytest.mark.parametrize("cases", [ordinary, long], ids=repr))
