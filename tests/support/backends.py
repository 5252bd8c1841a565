"""The backends of the set of calls, for tests that hold for each (identengine/calls/backend.py)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from identengine.calls.backend import (
    Backend,
    Settings,
)
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.calls.overview import (
    Overview,
)


class Set(Backend, Overview, Protocol):
    """The protocols that a backend implements."""


class Running(Protocol):
    """A set of calls in use, together with everything that persists it."""

    calls: Set

    def restart(self, now: float) -> None:
        """Close the set and reopen it."""

    def die(self, now: float) -> None:
        """Reopen the set as a new process finds it after the previous one was killed."""

    def close(self) -> None:
        """Close the set and delete everything that persists it."""


class InMemory:
    """A set in memory with a mirror in LMDB."""

    calls: Set

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="calls"))
        self._open(now)

    def restart(self, now: float) -> None:
        """Close the mirror and read it again."""
        self._journal.close()
        self._open(now)

    def die(self, now: float) -> None:
        """Read a copy of the mirror that was not closed."""
        before, journal = self._folder, self._journal
        self._folder = Path(tempfile.mkdtemp(prefix="calls"))
        shutil.copy(journal.path, self._folder)
        self._open(now)
        journal.close()
        shutil.rmtree(before)

    def close(self) -> None:
        """Close the mirror and remove it."""
        self._journal.close()
        shutil.rmtree(self._folder)

    def _open(self, now: float) -> None:
        self._journal = Journal(self._folder, 100, 1000, _no_alarm)
        calls = Calls(self._settings, self._journal)
        calls.restore(*self._journal.read(), now)
        self.calls = calls


def _no_alarm(text: str) -> None:
    raise AssertionError(text)


BACKENDS = {"memory": InMemory}
"""Class of each backend by name."""
