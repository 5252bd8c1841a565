"""How long tests wait, and for what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0
"""Seconds after which something that should have happened is taken for not happening."""


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return what ``what`` returns as soon as that is true; AssertionError where that takes too long."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return value
