"""How much a test does: more in CI, less elsewhere, and most of all behind the marker ``long``."""

from __future__ import annotations

import os
from typing import Any

import pytest

IN_CI = bool(os.environ.get("CI"))


def times(in_ci: int, else_: int) -> int:
    """Return how often something is done, or with how much."""
    return in_ci if IN_CI else else_


def amounts(ordinary: int, long: int, seconds: int) -> list[Any]:  # pytest.param is of no public type
    """Return what a test is parametrized by: an amount for each run, and one that takes up to ``seconds``."""
    return [ordinary, pytest.param(long, marks=[pytest.mark.long, pytest.mark.timeout(seconds)])]
