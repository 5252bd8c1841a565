"""Holds the listening sockets and keeps one decider running (engine.md 5.8; docs/decisions/one-decider.md).

Synchronous, one thread, no loop, no book, no set of calls: what does little dies of little. It keeps the sockets
and forks the decider, which inherits them; as the supervisor has them open, datagrams and new connections wait
in the kernel while a decider is replaced, and the next one answers them. It forks without exec: the config that
was checked is what every decider runs with, and a replacement imports nothing.

A decider that dies is replaced at once, or by the standby where there is one; one that dies again and again soon
after its start, after growing pauses. One that gives no sign of life is killed, and reaped before the next begins,
so that there are never two. When the supervisor itself dies, the decider drains and ends, and a standby ends.

All signals that matter are blocked and taken one by one (``sigtimedwait``): no handler, no moment in which one is
missed; what comes while a child starts waits in that child until it hears. SIGIO is the kernel's word that a child
or another supervisor has said something.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial

from identengine.config import schema as configuration
from identengine.config.schema import Config
from identengine.errors import ConfigError, StoreError
from identengine.log import handlers as logsetup
from identengine.log.events import (
    DECIDER_DIED,
    HAND_OVER_FAILED,
    HANDING_OVER,
    NO_DOOR,
    NO_SUCCESSOR,
    PROCESS_CUT_OFF,
    PROCESS_DIED,
    PROCESS_LATE,
    PROCESS_SILENT,
    PROCESS_STUCK,
    SUCCESSOR_IGNORED,
    SUCCESSOR_IMPOSSIBLE,
    SUCCESSOR_STARTED,
    TAKE_OVER_FAILED,
    TAKEN_OVER,
    TOOK_OVER,
)
from identengine.net import sockets as listening
from identengine.net.sockets import Sockets
from identengine.server.decider.process import (
    DRAIN_SECONDS,
    HAND_OVER,
    IDLE,
    LISTENING,
    READY,
    TAKE_OVER,
    TAKING_OVER,
    Duty,
    decide,
)
from identengine.server.supervisor.children import HANG_SECONDS, START_SECONDS, Child, Children, Role, how
from identengine.server.supervisor.handover import HandoverError
from identengine.server.supervisor.incoming import Stage, Taker
from identengine.server.supervisor.lock import Claim
from identengine.server.supervisor.manager import ServiceManager
from identengine.server.supervisor.outgoing import Giver, Step
from identengine.server.supervisor.processes import start_successor
from identengine.server.supervisor.systemd import Notifier
from identengine.stats import file as counters

CYCLE_SECONDS = 0.25
"""Between two looks at the children, where no signal comes."""
END_SECONDS = DRAIN_SECONDS + 1.0
"""How long a child has from the first signal to its end."""
FRONT_FIRST = 0.5
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
        *,
        claim: Claim | None = None,
        giver: Giver | None = None,
        taker: Taker | None = None,
    ) -> None:
        """Serve with these sockets; ``mask``: the signals that were blocked before ours were.

        ``claim`` and ``giver``, the lock and who lets others take over, come later where there is a ``taker``.
        """
        self._config = config
        self._sockets = sockets
        self._mask = mask
        self._claim = claim
        self._giver = giver
        self._taker = taker
        self._children = Children(self._private)
        self._manager = ServiceManager(Notifier(os.environ))
        self._cycle = min(CYCLE_SECONDS, (self._manager.watchdog or 60.0) / 8)
        self._started = False
        """Whether a decider ever listened: before that, what ends it ends the server."""
        self._announced = False
        self._ending = False
        self._ending_for = 0.0
        """Seconds since we were told to end."""
        self._end_signal: int | None = None
        """What the decider is still to be told, once the front has ended or had its time."""
        self._gone_to: int | None = None
        """The process that has taken over."""
        self._status: int | None = None
        """Of the last decider."""

    @property
    def _decider(self) -> Child | None:
        return self._children.get(Role.DECIDER)

    def _private(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep: what is to end with us."""
        if self._claim is not None:
            yield self._claim.fileno()
        if self._giver is not None:
            yield from self._giver.descriptors()
        if self._taker is not None:
            yield from self._taker.descriptors()

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
            self._watch(passed)
            self._end_decider()
            self._tell_manager()
            looked = now
        if self._gone_to is not None:
            return 0
        if self._claim is not None:
            self._claim.release()
        if self._decider is not None:
            return 128 + signal.SIGKILL
        return 0 if self._status is None else self._status

    # ---- starting

    def _start_missing(self) -> None:
        if self._taker is not None and self._claim is None:
            if self._taker.stage is Stage.LOADING and self._children.get(Role.STANDBY) is None:
                self._fork(Role.STANDBY)  # once: where it dies, the take-over has failed
            return
        if self._giver is not None and self._giver.committed:
            return  # the other one's decider is to decide
        decider = self._decider
        if decider is None:
            if self._children.deaths[Role.DECIDER].over() and not self._promote():
                self._fork(Role.DECIDER)
        elif decider.state == READY:  # till then it loads the book, and should do so alone
            for role in self._wanted_beside():
                if self._children.get(role) is None and self._children.deaths[role].over():
                    self._fork(role)
        http, front = self._sockets.http, self._children.get(Role.FRONT)
        # Once a decider has listened; whatever becomes of it then, the front says so.
        if http is not None and front is None and self._started and self._children.deaths[Role.FRONT].over():
            self._children.fork(Role.FRONT, partial(self._serve_http, http), TAKING_OVER)

    def _wanted_beside(self) -> Iterator[Role]:
        """Yield the roles that are wanted besides the decider."""
        if self._config.listen.standby:
            yield Role.STANDBY

    def _promote(self) -> bool:
        """Let the standby decide, if there is one that can hear."""
        standby = self._children.get(Role.STANDBY)
        if standby is None or not standby.tell(TAKE_OVER):
            return False
        self._children.promote(Role.STANDBY, Role.DECIDER)
        return True

    def _fork(self, role: Role) -> None:
        standby = role is Role.STANDBY

        def run(link: socket.socket) -> int:
            duty = Duty(self._sockets, link, self._mask, standby, self._started, not self._announced)
            return decide(self._config, duty)

        self._children.fork(role, run, IDLE if standby else TAKING_OVER)

    def _serve_http(self, http: socket.socket, link: socket.socket) -> int:
        """Be the front; in the child."""
        self._sockets.close_deciders()
        # Only here, since nobody else needs the framework, and it takes more memory than a whole supervisor.
        from identengine.server.http import process  # noqa: PLC0415

        return process.front(self._config, process.Duty(http, link, self._mask))

    # ---- signals

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end(number)
        elif number == signal.SIGHUP:
            self._reread()
        elif number == signal.SIGUSR2 and not self._ending:
            self._start_successor()

    def _end(self, number: int) -> None:
        again = self._ending
        if not again:
            self._ending = True
            self._sockets.close()  # now the children's are the last ones
            if self._giver is not None:
                self._giver.refuse("it was told to end")
            if self._taker is not None and self._claim is None:
                self._taker.give_up("it was told to end")
        for child in self._children.all():
            if child.role is Role.STANDBY:
                if not child.killed:
                    child.kill()
            elif child.role is Role.FRONT or (again and child.role is Role.LEAVING):
                child.signal(number)  # who leaves was told; twice would mean not to wait
        self._end_signal = number
        self._end_decider()

    def _end_decider(self) -> None:
        """Tell the decider to end, unless the front needs it for a moment still."""
        if self._end_signal is None or (self._children.get(Role.FRONT) and self._ending_for < FRONT_FIRST):
            return
        number, self._end_signal = self._end_signal, None
        if self._decider is not None:
            self._decider.signal(number)

    def _reread(self) -> None:
        """Read the config again for those who are still to be forked; those who are there do it themselves.

        They also say what is wrong with it. Ours comes first, so that whoever sees theirs done finds ours done.
        """
        self._manager.begin_reload()
        if self._config.source is not None:
            try:
                self._config = configuration.reread(self._config)[0]
                logsetup.set_up_direct(self._config.log)
                self._manager.mistaken = False
            except ConfigError:
                self._manager.mistaken = True
        for child in self._children.all():
            child.reread = False
            child.signal(signal.SIGHUP)

    def _start_successor(self) -> None:
        """Start the program as it is installed now, to take over from us."""
        if self._giver is None or self._taker is not None or self._giver.awaited or not self._started:
            SUCCESSOR_IGNORED.tell()
            return
        if os.getpid() == 1:
            SUCCESSOR_IMPOSSIBLE.tell()
            return
        try:
            pid = start_successor(self._mask)
            self._giver.expect(pid)
        except OSError as error:
            NO_SUCCESSOR.tell(why=error.strerror)
            return
        SUCCESSOR_STARTED.tell(pid=pid)

    # ---- take-overs

    def _look_at_other(self, passed: float) -> None:
        """Go on with a take-over, of another server or by another one."""
        if self._taker is not None:
            self._take(self._taker, passed)
        elif self._giver is not None:
            refusal = None if self._started else "it is still starting; try again when it is READY"
            if self._children.get(Role.LEAVING) is not None and not self._giver.committed:
                refusal = "the last take-over is not over yet; try again in a moment"
            step = self._giver.look(passed, listening.named(self._config.listen, self._sockets), refusal)
            if step is Step.COMMIT:
                self._hand_over(self._giver)
            elif step is Step.DONE:
                self._go(self._giver)
            elif step is Step.FAILED:
                self._go_on(self._giver.why)

    def _take(self, taker: Taker, passed: float) -> None:
        try:
            taker.look(passed, self._children.get(Role.STANDBY), self._decider)
            if self._claim is None and taker.claim is not None:
                self._claim = taker.claim
                self._promote()  # at once: nobody decides now
            if taker.stage is Stage.OVER:
                self._taker = None
                self._giver = Giver(self._config.calls.path)
                TOOK_OVER.tell(pid=taker.pid)
        except (HandoverError, StoreError) as error:
            if self._claim is not None:
                NO_DOOR.tell(why=str(error))
                return
            TAKE_OVER_FAILED.tell(why=str(error))
            taker.give_up(str(error))
            self._end(signal.SIGTERM)
            self._status = 1

    def _hand_over(self, giver: Giver) -> None:
        """Let go of lock and calls for another server. What we need to go on stays until it decides."""
        if self._claim is None or not giver.give(self._claim.fileno()):
            return  # its end is heard with the next look
        HANDING_OVER.tell(pid=giver.pid)
        decider = self._decider
        if decider is not None:
            decider.tell(HAND_OVER)
            decider.leaving = 0.0
            self._children.promote(Role.DECIDER, Role.LEAVING)

    def _go_on(self, why: str) -> None:
        """Stay the server."""
        if self._claim is not None:
            with contextlib.suppress(OSError):  # no room; the lock is ours all the same, whoever it names
                self._claim.name_us()
        HAND_OVER_FAILED.tell(why=why)

    def _go(self, giver: Giver) -> None:
        """End, as another one is the server now."""
        assert giver.pid is not None  # noqa: S101 - it has just said that it decides
        TAKEN_OVER.tell(pid=giver.pid)
        self._gone_to = giver.pid
        self._manager.leave_to(giver.pid)
        giver.close()
        self._end(signal.SIGTERM)

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
        if self._ending or child.role is Role.LEAVING or self._claim is None:
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
        if self._taker is not None or self._gone_to is not None:
            return  # it deals with the other one
        decider = self._decider
        well = decider is not None and decider.well
        if self._ending:
            self._manager.tell_end(well=well)
            return
        self._manager.tell(
            ready=self._announced,
            reread=decider is None or decider.reread,
            well=well,
            status=self._how_it_is(decider),
        )

    def _how_it_is(self, decider: Child | None) -> str:
        if self._giver is not None and self._giver.committed:
            return f"process {self._giver.pid} is taking over"
        if decider is None:
            return "no process decides: the next one is still to start"
        if decider.state not in (LISTENING, READY):
            return f"process {decider.pid} is about to decide"
        others = [f", {child} beside it" for child in self._children.all() if child is not decider]
        book = "" if decider.state == READY else "; it loads the book"
        return f"process {decider.pid} decides{book}{''.join(others).replace(',', ';')}"
