"""Waiting for a condition, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0
"""Time after which an expected event counts as missing, in seconds."""


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the result of ``what`` as soon as it is true. Raise AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"{what}: not true after {seconds} s"
        time.sleep(0.01)
    return value
