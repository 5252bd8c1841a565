"""The amount of work of a test: more in CI, less elsewhere, and most of all behind the marker ``long``."""

from __future__ import annotations

import os
from typing import Any

import pytest

IN_CI = bool(os.environ.get("CI"))
BUSY_SECONDS = 600
"""Time limit of a test that computes for tens of seconds if it has the machine for itself."""


def times(in_ci: int, else_: int) -> int:
    """Return the number of repetitions for this run."""
    return in_ci if IN_CI else else_


def amounts(ordinary: int, long: int, seconds: int) -> list[Any]:  # pytest.param has no public type
    """Return the values of a parametrized test: an amount for each run, and one that takes up to ``seconds``.

    The limit of the ordinary amount is that of a machine which other programs keep busy.
    """
    return [
        pytest.param(ordinary, marks=pytest.mark.timeout(BUSY_SECONDS)),
        pytest.param(long, marks=[pytest.mark.long, pytest.mark.timeout(seconds)]),
    ]
