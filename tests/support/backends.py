"""The backends of the set of calls, for tests that hold for each (identengine/calls/backend.py)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from identengine.calls.backend import Backend, Overview, Settings
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls


class Set(Backend, Overview, Protocol):
    """What a backend has to be."""


class Running(Protocol):
    """A set of calls that is in use, with all that keeps it."""

    calls: Set

    def restart(self, now: float) -> None:
        """Close it and open it again."""

    def die(self, now: float) -> None:
        """Open it again as a process finds it whose forerunner was killed."""

    def close(self) -> None:
        """Drop it with all that it kept."""


class InMemory:
    """In memory, with a mirror in LMDB."""

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
        """Read a copy of the mirror that nobody has closed."""
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
"""What opens each, by name."""
