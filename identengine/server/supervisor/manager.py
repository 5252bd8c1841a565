"""What the service manager hears of a server: ready, reloading, stopping, a line of how it is, signs of life."""

from __future__ import annotations

from identengine.server.supervisor.systemd import Notifier


class ServiceManager:
    """The one that started us, if any."""

    def __init__(self, notifier: Notifier) -> None:
        self.watchdog = notifier.watchdog
        """Seconds within which it wants a sign of life; None: it wants none."""
        self._notifier = notifier
        self._ready = False
        self._reloading = False
        self._stopping = False

    def begin_reload(self) -> None:
        """Say that SIGHUP came; :meth:`tell` says when it is obeyed."""
        if self._ready:
            self._notifier.reloading()
            self._reloading = True

    def tell(self, *, ready: bool, reread: bool, well: bool, status: str) -> None:
        """Say how it is, where that is new.

        ``ready``: the server serves; ``reread``: the last SIGHUP is obeyed; ``well``: a decider lives and beats.
        """
        if ready and not self._ready:
            self._ready = True
            self._notifier.ready()
        if self._reloading and reread:
            self._reloading = False
            self._notifier.ready()
        self._notifier.status(status)
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
