"""What the service manager hears of a server: ready, reloading, stopping, a line of how it is, signs of life."""

from __future__ import annotations

import time

from identengine.server.supervisor.systemd import Notifier

RELOAD_SECONDS = 5.0
"""How long the decider may take to obey a SIGHUP, as far as the service manager is told."""


class ServiceManager:
    """The one that started us, if any."""

    def __init__(self, notifier: Notifier) -> None:
        self.watchdog = notifier.watchdog
        """Seconds within which it wants a sign of life; None: it wants none."""
        self.mistaken = False
        """Whether the last SIGHUP found a wrong config."""
        self._notifier = notifier
        self._ready = False
        self._reloads_until: float | None = None
        self._stopping = False

    def begin_reload(self) -> None:
        """Say that SIGHUP came; :meth:`tell` says when it is obeyed."""
        if self._ready:
            self._notifier.reloading()
            self._reloads_until = time.monotonic() + RELOAD_SECONDS

    def tell(self, *, ready: bool, reread: bool, well: bool, status: str) -> None:
        """Say how it is, where that is new.

        ``ready``: the server serves; ``reread``: the last SIGHUP is obeyed; ``well``: a decider lives and beats.
        """
        if ready and not self._ready:
            self._ready = True
            self._notifier.ready()
        until = self._reloads_until
        if until is not None and (reread or time.monotonic() > until):
            self._reloads_until = None
            self._notifier.ready()
        wrong = "; the last SIGHUP found a wrong config and changed nothing" if self.mistaken else ""
        self._notifier.status(f"{status}{wrong}")
        self._notifier.beat(well=well)

    def tell_end(self, *, well: bool) -> None:
        """Say that we were told to end; ``well`` as above."""
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()
        self._notifier.status("ending: what was received is answered")
        self._notifier.beat(well=well)

    def leave_to(self, pid: int) -> None:
        """Say that another process is the server, and nothing more from now on."""
        self._notifier.main_process(pid)
