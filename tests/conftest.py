"""Settings and fixtures for all tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.clocks import Clocks

pytest.register_assert_rewrite("conformance", "fuzz", "property", "support", "unit")

# The time of one example says little on a busy machine. Tests of time measure it themselves.
settings.register_profile("identengine", deadline=None)
settings.load_profile("identengine")

# A process in the background of a shell, and all of its children, would ignore the Ctrl-C that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks for the servers of a test."""
    from support.clocks import Clocks  # only now, so that its assertions are rewritten

    return Clocks(tmp_path, monkeypatch)
