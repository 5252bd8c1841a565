"""Holds the listening sockets and keeps one decider running (engine.md 5.8; docs/decisions/one-decider.md).

Synchronous, one thread, no loop, no book, no set of calls: what does little dies of little. It keeps the sockets
and forks the decider, which inherits them; as the supervisor has them open, datagrams and new connections wait
in the kernel while a decider is replaced, and the next one answers them. It forks without exec: the config that
was checked is what every decider runs with, and a replacement imports nothing. It knows that code only as the
:class:`Entries` that it was given.

A decider that dies is replaced at once, or by the standby where there is one; one that dies again and again soon
after its start, after growing pauses. One that gives no sign of life is killed, and reaped before the next begins,
so that there are never two. When the supervisor itself dies, the decider drains and ends, and a standby ends.

All signals that matter are blocked and taken one by one (``sigtimedwait``): no handler, no moment in which one is
missed; what comes while a child starts waits in that child until it hears. SIGIO is the kernel's word that a child
or another supervisor has said something.
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
from identengine.server.supervisor.incoming import IncomingTakeover
from identengine.server.supervisor.lock import ServerLock
from identengine.server.supervisor.manager import ServiceManager
from identengine.server.supervisor.outgoing import OutgoingTakeover
from identengine.server.supervisor.reload import Reload
from identengine.server.supervisor.systemd import Notifier
from identengine.server.supervisor.takeover import Outcome, Takeover
from identengine.stats import file as counters

CYCLE_SECONDS = 0.25
"""Between two looks at the children, where no signal comes."""
END_SECONDS = DRAIN_SECONDS + 1.0
"""How long a child has from the first signal to its end."""
HTTP_FIRST = 0.5
"""Seconds for which the decider is not told to end yet: what HTTP clients have asked by now it still answers."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD, signal.SIGIO)
"""What is blocked and taken one by one."""


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
        """Serve with these sockets; ``mask``: the signals that were blocked before ours were.

        With ``incoming``, ``lock`` and ``outgoing`` come later (:class:`Takeover`).
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
        self._manager = ServiceManager(Notifier(os.environ))
        self._cycle = min(CYCLE_SECONDS, (self._manager.watchdog or 60.0) / 8)
        self._started = False
        """Whether a decider ever listened: before that, what ends it ends the server."""
        self._announced = False
        self._ending = False
        self._ending_for = 0.0
        """Seconds since we were told to end."""
        self._end_signal: int | None = None
        """What the decider is still to be told, once the HTTP process has ended or had its time."""
        self._status: int | None = None
        """Of the last decider."""

    @property
    def _decider(self) -> Child | None:
        return self._children.get(Role.DECIDER)

    def _private(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep."""
        return self._takeover.descriptors()

    def run(self) -> int:
        """Keep one decider deciding, until told to end or another server has taken over; returns the status."""
        gc.freeze()  # a child's collector should not touch, and so copy, what is ours
        looked = time.monotonic()
        # Even a process that was killed may stay, in a system call that never ends.
        while not self._ending or (self._children.all() and self._ending_for < 2 * END_SECONDS):
            if not self._ending:
                self._start_missing()
            got = signal.sigtimedwait(SIGNALS, self._cycle)
            if got is not None:
                self._obey(got.si_signo)
            for child in self._children.all():
                child.hear()
            self._look_at_states()
            self._bury()
            # Where we were not running (stopped, suspended, starved) nobody could be heard: that does not count.
            now = time.monotonic()
            passed = min(now - looked, 2 * self._cycle)
            if not self._ending:
                self._look_at_other(passed)
            self._reload.look()
            self._watch(passed)
            self._end_decider()
            self._tell_manager()
            looked = now
        if self._takeover.gone_to is not None:
            return 0
        self._takeover.release()
        if self._decider is not None:
            return 128 + signal.SIGKILL
        return 0 if self._status is None else self._status

    # ---- starting

    def _start_missing(self) -> None:
        if not self._takeover.decides:  # the other server's decider is to decide
            if self._takeover.loads and self._children.get(Role.STANDBY) is None:
                self._fork(Role.STANDBY)  # once: where it dies, the take-over has failed
            return
        decider = self._decider
        if decider is None:
            if self._children.deaths[Role.DECIDER].over() and not self._children.take_over():
                self._fork(Role.DECIDER)
        elif decider.state == READY:  # till then it loads the book, and should do so alone
            for role in self._wanted_beside():
                if self._children.get(role) is None and self._children.deaths[role].over():
                    self._fork(role)
        wanted = self._sockets.http is not None and self._children.get(Role.HTTP) is None
        # Once a decider has listened; whatever becomes of it then, the HTTP process says so.
        if wanted and self._started and self._children.deaths[Role.HTTP].over():
            self._fork(Role.HTTP)

    def _wanted_beside(self) -> Iterator[Role]:
        """Yield the roles that are wanted besides the decider."""
        if self._config.listen.standby:
            yield Role.STANDBY

    def _fork(self, role: Role) -> None:
        standby = role is Role.STANDBY

        def run(link: socket.socket) -> int:
            duty = Duty(self._sockets, link, self._mask, standby, self._started, not self._announced)
            entry = self._entries.serve_http if role is Role.HTTP else self._entries.decide
            return entry(self._config, duty)

        self._children.fork(role, run, IDLE if standby else TAKING_OVER)

    # ---- signals

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end(number)
        elif number == signal.SIGHUP and not self._ending:
            self._manager.begin_reload()
            self._config = self._reload.begin(self._config)
            self._takeover.pass_on(number)  # it read the file before it asked
        elif number == signal.SIGUSR2 and not self._ending:
            self._takeover.start_successor(self._mask, started=self._started)

    def _end(self, number: int) -> None:
        again = self._ending
        if not again:
            self._ending = True
            self._sockets.close()  # now the children's are the last ones
            self._takeover.refuse("it was told to end")
        for child in self._children.all():
            if child.role is Role.STANDBY:
                if not child.killed:
                    child.kill()
            elif child.role is Role.HTTP or (again and child.role is Role.LEAVING):
                child.signal(number)  # who leaves was told; twice would mean not to wait
        self._end_signal = number
        self._end_decider()

    def _end_decider(self) -> None:
        """Tell the decider to end, unless the HTTP process needs it for a moment still."""
        if self._end_signal is None or (self._children.get(Role.HTTP) and self._ending_for < HTTP_FIRST):
            return
        number, self._end_signal = self._end_signal, None
        if self._decider is not None:
            self._decider.signal(number)

    # ---- take-overs

    def _look_at_other(self, passed: float) -> None:
        """Go on with a take-over, and end where that is what came of it."""
        offered = listening.named(self._config.listen, self._sockets)
        outcome = self._takeover.look(passed, offered, started=self._started)
        if outcome is None:
            return
        if self._takeover.gone_to is not None:
            self._manager.leave_to(self._takeover.gone_to)
            self._takeover.close()
        self._end(signal.SIGTERM)
        if outcome is Outcome.FAILED:
            self._status = 1

    # ---- life and death

    def _look_at_states(self) -> None:
        if self._decider is not None:
            self._started = self._started or self._decider.state in (LISTENING, READY)
            self._announced = self._announced or self._decider.state == READY

    def _watch(self, passed: float) -> None:
        """Kill who hangs, and who takes too long to end."""
        self._ending_for += passed * self._ending
        for child in self._children.all():
            child.silent += passed
            if child.leaving is not None or self._ending:
                child.leaving = (child.leaving or 0.0) + passed
            if child.killed:
                if child.silent > HANG_SECONDS:
                    child.silent -= START_SECONDS  # not to say it all the time
                    PROCESS_STUCK.tell(child=str(child))
            elif child.silent > child.patience:
                PROCESS_SILENT.tell(child=str(child), seconds=child.patience)
                child.kill()
            elif child.leaving is not None and child.leaving > END_SECONDS:
                PROCESS_LATE.tell(child=str(child), seconds=END_SECONDS)
                child.kill()

    def _bury(self) -> None:
        """Reap who died. As the first process of a container we are heir to others too."""
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
                decider.hear()  # its last words count
                self._look_at_states()
            child = self._children.forget(pid)
            if child is not None:
                self._note_end(child, code)

    def _note_end(self, child: Child, code: int) -> None:
        """Say how a child ended, where that was not to be, and when the next one starts."""
        if child.role in (Role.DECIDER, Role.LEAVING):
            self._status = code if code >= 0 else 128 - code
            if (self._ending or child.role is Role.LEAVING) and code < 0 and not child.killed:
                PROCESS_CUT_OFF.tell(child=str(child), how=how(code))
        if self._ending or child.role is Role.LEAVING or self._takeover.lock is None:
            return
        if child.role is Role.DECIDER and not self._started and code > 0:
            self._end(signal.SIGTERM)  # it has said what is wrong, and would only say it again
            return
        deaths = self._children.deaths[child.role]
        pause = deaths.note(time.monotonic() - child.since)
        counters.bump(self._config.calls.path, f"restarts_{child.role.value}")
        if child.role is Role.DECIDER:
            standby = self._children.get(Role.STANDBY)
            who = "another" if standby is None or standby.killed else "the standby"
            DECIDER_DIED.tell(child=str(child), how=how(code), next=who, when=deaths.when(pause))
        else:
            PROCESS_DIED.tell(child=str(child), how=how(code), when=deaths.when(pause))

    # ---- the service manager

    def _tell_manager(self) -> None:
        if not self._takeover.leads:
            return  # it deals with the other one
        decider = self._decider
        well = decider is not None and decider.well
        if self._ending:
            self._manager.tell_end(well=well)
            return
        wrong = "; the last SIGHUP found a wrong config and changed nothing" if self._reload.refused else ""
        self._manager.tell(
            ready=self._announced,
            reread=self._reload.over,
            well=well,
            status=f"{self._how_it_is(decider)}{wrong}",
        )

    def _how_it_is(self, decider: Child | None) -> str:
        if self._takeover.heir is not None:
            return f"process {self._takeover.heir} is taking over"
        if decider is None:
            return "no process decides: the next one is still to start"
        if decider.state not in (LISTENING, READY):
            return f"process {decider.pid} is about to decide"
        others = [f", {child} beside it" for child in self._children.all() if child is not decider]
        book = "" if decider.state == READY else "; it loads the book"
        return f"process {decider.pid} decides{book}{''.join(others).replace(',', ';')}"
