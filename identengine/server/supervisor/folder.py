"""Watches the files of the supervisor in the folder of the set of calls, and makes lost ones again.

These are the lock, the socket for take-overs, and the Unix sockets for operators and for our own processes. The
decider watches its own files (:mod:`identengine.calls.journal`). Rule: without the lock, nothing else is made.
"""

from __future__ import annotations

import time
from pathlib import Path

from identengine.calls.journalfile import identity
from identengine.errors import StoreError
from identengine.log.events import FOLDER_COMPLETE, FOLDER_LOST, FOLDER_UNUSABLE
from identengine.net.operator import FILE as CONTROL
from identengine.net.sockets import ASK, Sockets
from identengine.net.unix import bind_unix
from identengine.server.supervisor.takeover import Takeover

LOOK_SECONDS = 1.0
"""Interval of the checks of the files, in seconds."""


class FolderWatch:
    """A watch over the files of one folder."""

    def __init__(self, folder: Path) -> None:
        """Watch the sockets that are bound in ``folder`` now."""
        self.trouble: str | None = None
        """Reason why the folder cannot be used, or None."""
        self._folder = folder
        self._bound = {name: identity(folder / name) for name in (CONTROL, ASK)}
        self._looked = time.monotonic()
        self._lost: list[str] = []
        """The lost files that the last look found."""

    def look(self, takeover: Takeover, sockets: Sockets) -> Sockets | None:
        """Once a second, make lost files again. Return the sockets if some of them are new, else None."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS or not takeover.settled:
            return None
        self._looked = now
        try:
            lost = takeover.lost()
            unbound = [name for name, bound in self._bound.items() if identity(self._folder / name) != bound]
            if not lost and not unbound:
                self._report_complete()
                return None
            self._report_lost([*lost, *unbound])
            takeover.restore(lost)
            made = self._bind(sockets) if unbound else None
        except (StoreError, OSError) as error:
            self._report_unusable(error)
            return None
        self._report_complete()
        return made

    def _bind(self, sockets: Sockets) -> Sockets:
        """Bind both Unix sockets again, since a child gets them together. Raise StoreError."""
        control = bind_unix(self._folder, CONTROL)
        try:
            ask = bind_unix(self._folder, ASK)
        except StoreError:
            control.close()
            raise
        self._bound = {name: identity(self._folder / name) for name in (CONTROL, ASK)}
        sockets.control.close()
        sockets.ask.close()
        return sockets._replace(control=control, ask=ask)

    def _report_lost(self, lost: list[str]) -> None:
        if not self._lost:
            FOLDER_LOST.tell(what=", ".join(lost))
        self._lost = lost

    def _report_unusable(self, error: StoreError | OSError) -> None:
        why = str(error) if isinstance(error, StoreError) else f"{self._folder}: {error.strerror}"
        if why != self.trouble:
            self.trouble = why
            FOLDER_UNUSABLE.tell(why=why)

    def _report_complete(self) -> None:
        if self._lost or self.trouble is not None:
            FOLDER_COMPLETE.tell(path=str(self._folder))
        self._lost, self.trouble = [], None
