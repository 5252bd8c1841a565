"""How much a long test does: all of it in CI, less where somebody waits for it."""

from __future__ import annotations

import os

IN_CI = bool(os.environ.get("CI"))


def times(in_ci: int, else_: int) -> int:
    """Return how often something is done, or with how much."""
    return in_ci if IN_CI else else_
