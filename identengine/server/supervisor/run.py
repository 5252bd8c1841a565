"""Holds the listening sockets and keeps one decider running (engine.md 5.8; docs/decisions/one-decider.md).

The supervisor is synchronous: one thread, no event loop, no book and no set of calls. A small program has few ways
to die. It binds the sockets and forks the decider, which inherits them. While a decider is replaced, the
supervisor still has the sockets open, so datagrams and new connections wait in the kernel for the next decider.
The fork is without exec: each decider runs with the config that was checked, and a replacement imports nothing.
The code of the children comes as :class:`Entries`.

Rules:

- A decider that dies is replaced at once, by the standby if there is one. After repeated early deaths, the pauses
  before the next start grow.
- A decider without a sign of life is killed, and reaped before the next one starts. So two never decide at a time.
- When the supervisor itself dies, the decider drains and exits, and a standby exits.
- All handled signals are blocked and received one by one (``sigtimedwait``), without a handler. So no signal is
  lost: a signal that arrives while a child starts stays pending in that child. The kernel sends SIGIO when a child
  or another supervisor has sent a message.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Iterator

from identengine.config.schema import Config
from identengine.log.events import (
    DECIDER_DIED,
    PROCESS_CUT_OFF,
    PROCESS_DIED,
    PROCESS_LATE,
    PROCESS_SILENT,
    PROCESS_STUCK,
)
from identengine.net import sockets as listening
from identengine.net.sockets import Sockets
from identengine.server.link import DRAIN_SECONDS, IDLE, LISTENING, READY, TAKING_OVER, Duty, Entries
from identengine.server.supervisor.children import HANG_SECONDS, START_SECONDS, Child, Children, Role, how
from identengine.server.supervisor.folder import FolderWatch
from identengine.server.supervisor.incoming import IncomingTakeover
from identengine.server.supervisor.lock import ServerLock
from identengine.server.supervisor.manager import ServiceManager
from identengine.server.supervisor.outgoing import OutgoingTakeover
from identengine.server.supervisor.reload import Reload
from identengine.server.supervisor.systemd import Notifier
from identengine.server.supervisor.takeover import Outcome, Takeover
from identengine.stats import file as counters

CYCLE_SECONDS = 0.25
"""Interval between checks of the children if no signal arrives, in seconds."""
END_SECONDS = DRAIN_SECONDS + 1.0
"""Longest time from the first signal to the exit of a child, in seconds."""
HTTP_FIRST = 0.5
"""Longest wait of the decider for the end of the HTTP process, in seconds. It answers HTTP clients meanwhile."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD, signal.SIGIO)
"""The signals that are blocked and received one by one."""


class Supervisor:
    """One run of the server."""

    def __init__(
        self,
        config: Config,
        sockets: Sockets,
        mask: frozenset[int],
        entries: Entries,
        *,
        lock: ServerLock | None = None,
        outgoing: OutgoingTakeover | None = None,
        incoming: IncomingTakeover | None = None,
    ) -> None:
        """Serve with these sockets.

        ``mask`` holds the signals that were blocked before :data:`SIGNALS`. During a take-over from another
        server, ``incoming`` is given, and ``lock`` and ``outgoing`` follow when it is complete
        (:class:`Takeover`).
        """
        self._config = config
        self._sockets = sockets
        self._mask = mask
        self._entries = entries
        self._children = Children(self._private)
        self._takeover = Takeover(
            config.calls.path, self._children, lock=lock, outgoing=outgoing, incoming=incoming
        )
        self._reload = Reload(self._children)
        self._folder = FolderWatch(config.calls.path)
        self._manager = ServiceManager(Notifier(os.environ))
        self._cycle = min(CYCLE_SECONDS, (self._manager.watchdog or 60.0) / 8)
        self._started = False
        """True if a decider has ever listened. Before that, an error of the decider ends the server."""
        self._announced = False
        self._ending = False
        self._ending_for = 0.0
        """Time since the signal to stop, in seconds."""
        self._end_signal: int | None = None
        """The signal that the decider gets after the end of the HTTP process, or after :data:`HTTP_FIRST`."""
        self._status: int | None = None
        """Exit status of the last decider."""

    @property
    def _decider(self) -> Child | None:
        return self._children.get(Role.DECIDER)

    def _private(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep."""
        return self._takeover.descriptors()

    def run(self) -> int:
        """Keep a decider running until a signal or a take-over ends the server. Return the exit status."""
        gc.freeze()  # a collection in a child would touch, and so copy, the pages of this process
        looked = time.monotonic()
        # A killed process may still stay in a system call that never returns.
        while not self._ending or (self._children.all() and self._ending_for < 2 * END_SECONDS):
            if not self._ending:
                self._start_missing()
            got = signal.sigtimedwait(SIGNALS, self._cycle)
            if got is not None:
                self._on_signal(got.si_signo)
            for child in self._children.all():
                child.hear()
            self._note_states()
            self._reap()
            # While this process did not run (stopped, suspended, starved), it could not read signs of life.
            now = time.monotonic()
            passed = min(now - looked, 2 * self._cycle)
            if not self._ending:
                self._advance_takeover(passed)
            self._reload.look()
            self._look_after_folder()
            self._watch(passed)
            self._end_decider()
            self._report_to_manager()
            looked = now
        if self._takeover.replaced_by is not None:
            return 0
        self._takeover.release()
        if self._decider is not None:
            return 128 + signal.SIGKILL
        return 0 if self._status is None else self._status

    # ---- starting

    def _start_missing(self) -> None:
        if not self._takeover.decides:  # the decider of the other server decides
            if self._takeover.loads and self._children.get(Role.STANDBY) is None:
                self._fork(Role.STANDBY)  # once: if it dies, the take-over has failed
            return
        decider = self._decider
        if decider is None:
            if self._children.deaths[Role.DECIDER].over() and not self._children.take_over():
                self._fork(Role.DECIDER)
        elif decider.state == READY:  # before that it loads the book, which should not be slowed down
            for role in self._helpers():
                if self._children.get(role) is None and self._children.deaths[role].over():
                    self._fork(role)
        missing = self._sockets.http is not None and self._children.get(Role.HTTP) is None
        # After a decider has listened. If the decider is down later, the HTTP process reports it to its clients.
        if missing and self._started and self._children.deaths[Role.HTTP].over():
            self._fork(Role.HTTP)

    def _helpers(self) -> Iterator[Role]:
        """Yield the roles that start when the decider is ready."""
        if self._config.listen.standby:
            yield Role.STANDBY

    def _fork(self, role: Role) -> None:
        standby = role is Role.STANDBY

        def run(link: socket.socket) -> int:
            replaces = self._started or self._takeover.loads  # an earlier decider has answered switches
            duty = Duty(self._sockets, link, self._mask, standby, replaces, not self._announced)
            entry = self._entries.serve_http if role is Role.HTTP else self._entries.decide
            return entry(self._config, duty)

        self._children.fork(role, run, IDLE if standby else TAKING_OVER)

    # ---- signals

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end(number)
        elif number == signal.SIGHUP and not self._ending:
            self._manager.begin_reload()
            self._config = self._reload.begin(self._config)
            self._takeover.pass_on(number)  # the other server read the file before it asked
        elif number == signal.SIGUSR2 and not self._ending:
            self._takeover.start_successor(self._mask, started=self._started)

    def _end(self, number: int) -> None:
        again = self._ending
        if not again:
            self._ending = True
            self._sockets.close()  # the children have the last copies
            self._takeover.refuse("the server is stopping")
        for child in self._children.all():
            if child.role is Role.STANDBY:
                if not child.killed:
                    child.kill()
            elif child.role is Role.HTTP or (again and child.role is Role.LEAVING):
                child.signal(number)  # a leaving decider drains already: only a repeated signal stops that
        self._end_signal = number
        self._end_decider()

    def _end_decider(self) -> None:
        """Send the decider the signal to stop, unless the HTTP process still needs it."""
        if self._end_signal is None or (self._children.get(Role.HTTP) and self._ending_for < HTTP_FIRST):
            return
        number, self._end_signal = self._end_signal, None
        if self._decider is not None:
            self._decider.signal(number)

    # ---- take-overs

    def _advance_takeover(self, passed: float) -> None:
        """Advance a take-over, and end this server if the take-over has decided so."""
        offered = listening.named(self._config.listen, self._sockets)
        outcome = self._takeover.advance(passed, offered, started=self._started)
        if outcome is None:
            return
        if self._takeover.replaced_by is not None:
            self._manager.leave_to(self._takeover.replaced_by)
            self._takeover.close()
        self._end(signal.SIGTERM)
        if outcome is Outcome.FAILED:
            self._status = 1

    def _look_after_folder(self) -> None:
        """Make lost files of the folder again, and hand new sockets to the processes that serve them."""
        sockets = None if self._ending else self._folder.look(self._takeover, self._sockets)
        if sockets is not None:
            self._sockets = sockets
            for role in (Role.DECIDER, Role.STANDBY):
                if (child := self._children.get(role)) is not None:
                    child.hand_sockets(sockets.control, sockets.ask)

    # ---- life and death

    def _note_states(self) -> None:
        if self._decider is not None:
            self._started = self._started or self._decider.state in (LISTENING, READY)
            self._announced = self._announced or self._decider.state == READY

    def _watch(self, passed: float) -> None:
        """Kill children that hang, and children that take too long to end."""
        self._ending_for += passed * self._ending
        for child in self._children.all():
            child.silent += passed
            if child.leaving is not None or self._ending:
                child.leaving = (child.leaving or 0.0) + passed
            if child.killed:
                if child.silent > HANG_SECONDS:
                    child.silent -= START_SECONDS  # so that the alarm is not repeated at each check
                    PROCESS_STUCK.tell(child=str(child))
            elif child.silent > child.patience:
                PROCESS_SILENT.tell(child=str(child), seconds=child.patience)
                child.kill()
            elif child.leaving is not None and child.leaving > END_SECONDS:
                PROCESS_LATE.tell(child=str(child), seconds=END_SECONDS)
                child.kill()

    def _reap(self) -> None:
        """Reap dead processes. The first process of a container also gets orphans of other processes."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            decider = self._decider
            if decider is not None and decider.pid == pid:
                decider.hear()  # its last messages count
                self._note_states()
            child = self._children.forget(pid)
            if child is not None:
                self._note_end(child, code)

    def _note_end(self, child: Child, code: int) -> None:
        """Log the unexpected end of a child, and the time of the next start."""
        if child.role in (Role.DECIDER, Role.LEAVING):
            self._status = code if code >= 0 else 128 - code
            if (self._ending or child.role is Role.LEAVING) and code < 0 and not child.killed:
                PROCESS_CUT_OFF.tell(child=str(child), how=how(code))
        if self._ending or child.role is Role.LEAVING or self._takeover.lock is None:
            return
        if child.role is Role.DECIDER and not self._started and code > 0:
            self._end(signal.SIGTERM)  # it has reported an error that a restart would not remove
            return
        deaths = self._children.deaths[child.role]
        pause = deaths.note(time.monotonic() - child.since)
        counters.bump(self._config.calls.path, f"restarts_{child.role.value}")
        if child.role is Role.DECIDER:
            standby = self._children.get(Role.STANDBY)
            successor = "another" if standby is None or standby.killed else "the standby"
            DECIDER_DIED.tell(child=str(child), how=how(code), next=successor, when=deaths.when(pause))
        else:
            PROCESS_DIED.tell(child=str(child), how=how(code), when=deaths.when(pause))

    # ---- the service manager

    def _report_to_manager(self) -> None:
        if not self._takeover.leads:
            return  # the service manager still knows the other server
        decider = self._decider
        healthy = decider is not None and decider.healthy
        if self._ending:
            self._manager.report_end(healthy=healthy)
            return
        rejected = "; the config of the last SIGHUP is invalid and changed nothing" if self._reload.refused else ""
        self._manager.report(
            ready=self._announced,
            reloaded=self._reload.over,
            healthy=healthy,
            status=f"{self._status_line(decider)}{rejected}",
        )

    def _status_line(self, decider: Child | None) -> str:
        if self._takeover.successor is not None:
            return f"process {self._takeover.successor} is taking over"
        trouble = f"; {self._folder.trouble}" if self._folder.trouble else ""
        return f"{self._decider_line(decider)}{trouble}"

    def _decider_line(self, decider: Child | None) -> str:
        if decider is None:
            return "no decider runs; the next one will start"
        if decider.state not in (LISTENING, READY):
            return f"{decider} is starting"
        book = "" if decider.state == READY else " and loads the book"
        others = [f"; {child} runs" for child in self._children.all() if child is not decider]
        return f"{decider} decides{book}{''.join(others)}"
