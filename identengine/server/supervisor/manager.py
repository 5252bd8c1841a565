"""Reports the state of a server to the service manager: ready, reloading, stopping, status, signs of life."""

from __future__ import annotations

from identengine.server.supervisor.systemd import Notifier


class ServiceManager:
    """The service manager that started this server, if any."""

    def __init__(self, notifier: Notifier) -> None:
        self.watchdog = notifier.watchdog
        """Longest allowed time between two signs of life, in seconds, or None if the manager does not watch."""
        self._notifier = notifier
        self._ready = False
        self._reloading = False
        self._stopping = False

    def begin_reload(self) -> None:
        """Report that SIGHUP arrived. :meth:`report` reports when the new config is in force."""
        if self._ready:
            self._notifier.reloading()
            self._reloading = True

    def report(self, *, ready: bool, reloaded: bool, healthy: bool, status: str) -> None:
        """Report changes of the state.

        ``ready``: the server serves. ``reloaded``: the config of the last SIGHUP is in force. ``healthy``: a
        decider runs and sends signs of life.
        """
        if ready and not self._ready:
            self._ready = True
            self._notifier.ready()
        if self._reloading and reloaded:
            self._reloading = False
            self._notifier.ready()
        self._notifier.status(status)
        self._notifier.beat(healthy=healthy)

    def report_end(self, *, healthy: bool) -> None:
        """Report that the server is stopping; ``healthy`` as above."""
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()
        self._notifier.status("stopping; received requests are still answered")
        self._notifier.beat(healthy=healthy)

    def leave_to(self, pid: int) -> None:
        """Report that another process is the server now. Nothing more is reported afterwards."""
        self._notifier.main_process(pid)
