"""Settings and fixtures for all tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.clocks import Clocks

pytest.register_assert_rewrite("conformance", "fuzz", "property", "support", "unit")

# A process in the background of a shell, and all of its children, would ignore the Ctrl-C that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks for the servers of a test."""
    from support.clocks import Clocks  # only now, so that its assertions are rewritten

    return Clocks(tmp_path, monkeypatch)
