"""Holds the listening sockets and sees to it that one process decides (engine.md 5.8; design.md, "One decider").

Synchronous, one thread, no loop, no book, no set of calls: what does little dies of little. It binds the sockets
and forks the decider, which inherits them; as the supervisor keeps them open, datagrams and new connections wait
in the kernel while a decider is replaced, and the next one answers them. It forks without exec: the config that
was checked is what every decider runs with, and a replacement imports nothing.

A decider that dies is replaced at once, or by the standby where there is one; one that dies again and again soon
after its start, after growing pauses. One that gives no sign of life is killed, and reaped before the next begins,
so that there are never two. When the supervisor itself dies, the decider drains and ends, and a standby ends.

All signals that matter are blocked and taken one by one (``sigtimedwait``): no handler, no moment in which one is
missed; what comes while a child starts waits in that child until it hears.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial

from identengine import config as configuration
from identengine import counters, logsetup
from identengine.config import Config
from identengine.decider import DRAIN_SECONDS, IDLE, LISTENING, READY, TAKE_OVER, TAKING_OVER, Duty, decide
from identengine.errors import ConfigError, StoreError
from identengine.events import (
    CONFIG_WARNING,
    DECIDER_DIED,
    PROCESS_CUT_OFF,
    PROCESS_DIED,
    PROCESS_LATE,
    PROCESS_SILENT,
    PROCESS_STUCK,
    RECEIVE_BUFFER,
    RECEIVE_BUFFER_SMALL,
)
from identengine.net import sockets as listening
from identengine.net.sockets import CannotListenError, Sockets
from identengine.net.tls import context_of
from identengine.supervisor.children import START_SECONDS, Child, Children, Role, how
from identengine.supervisor.claim import Claim

CYCLE_SECONDS = 0.25
"""Between two looks at the children, where no signal comes."""
END_SECONDS = DRAIN_SECONDS + 1.0
"""How long a decider has from the first signal to its end."""
FRONT_FIRST = 0.5
"""Seconds for which the decider is not told to end yet: what HTTP clients have asked by now it still answers."""
ORPHAN_SECONDS = 6.0
"""How long addresses are waited for that the orphans of a supervisor that was killed still have."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status: the decider's, 128 + n where signal n ended it.

    1, with the reason on standard error, where an address cannot be bound, another server has this set of calls,
    or the first decider cannot start. Raises ConfigError where the certificate for HTTP cannot be used.
    """
    if config.listen.http is not None and config.http.tls:
        context_of(config.tls)  # what is wrong is said now, and not by each process that is forked
    logsetup.set_up_direct(config.log)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have ignored it: then nobody is reaped
    mask = frozenset[int](signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))
    try:
        with Claim(config.calls.path) as claim:
            try:
                sockets = _bind(config, patience=ORPHAN_SECONDS if claim.orphans else 0.0)
            except CannotListenError:
                claim.release()
                raise
            status = 0
            if sockets is not None:
                for warning in config.warnings:
                    CONFIG_WARNING.tell(what=warning)
                for udp in sockets.udp:
                    _tell_room(udp)
                status = _Supervisor(config, sockets, claim, mask).run()
            claim.release()
            return status
    except (CannotListenError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


class _Supervisor:
    """One run of the server."""

    def __init__(self, config: Config, sockets: Sockets, claim: Claim, mask: frozenset[int]) -> None:
        self._config = config
        self._sockets = sockets
        self._mask = mask
        self._children = Children(lambda: (claim.fileno(),))
        self._started = False
        """Whether a decider ever listened: before that, what ends it ends the server."""
        self._announced = False
        self._ending = False
        self._ending_for = 0.0
        """Seconds since we were told to end."""
        self._end_signal: int | None = None
        """What the decider is still to be told, once the front has ended or had its time."""
        self._status: int | None = None
        """Of the last decider."""

    @property
    def _decider(self) -> Child | None:
        return self._children.get(Role.DECIDER)

    def run(self) -> int:
        """Keep one decider deciding, until told to end."""
        gc.freeze()  # a child's collector should not touch, and so copy, what is ours
        looked = time.monotonic()
        # Even a process that was killed may stay, in a system call that never ends.
        while not self._ending or (self._children.all() and self._ending_for < 2 * END_SECONDS):
            if not self._ending:
                self._start_missing()
            got = signal.sigtimedwait(_SIGNALS, CYCLE_SECONDS)
            if got is not None:
                self._obey(got.si_signo)
            for child in self._children.all():
                child.hear()
            self._look_at_states()
            self._bury()
            # Where we were not running (stopped, suspended, starved) nobody could be heard: that does not count.
            now = time.monotonic()
            self._watch(min(now - looked, 2 * CYCLE_SECONDS))
            looked = now
            self._end_decider()
        if self._decider is not None:
            return 128 + signal.SIGKILL
        return 0 if self._status is None else self._status

    # ---- starting

    def _start_missing(self) -> None:
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
        from identengine.front import process  # noqa: PLC0415

        return process.front(self._config, process.Duty(http, link, self._mask))

    # ---- signals

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end(number)
        elif number == signal.SIGHUP:
            self._reread()

    def _end(self, number: int) -> None:
        if not self._ending:
            self._ending = True
            self._sockets.close()  # now the children's are the last ones
        for child in self._children.all():
            if child.role is Role.FRONT:
                child.signal(number)
            elif child.role is Role.STANDBY and not child.killed:
                child.kill()
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
        if self._config.source is not None:
            with contextlib.suppress(ConfigError):
                self._config = configuration.reread(self._config)[0]
                logsetup.set_up_direct(self._config.log)
        for child in self._children.all():
            child.signal(signal.SIGHUP)

    # ---- life and death

    def _look_at_states(self) -> None:
        if self._decider is not None:
            self._started = self._started or self._decider.state in (LISTENING, READY)
            self._announced = self._announced or self._decider.state == READY

    def _watch(self, passed: float) -> None:
        """Kill who hangs, and who takes too long to end."""
        for child in self._children.all():
            child.silent += passed
            limit = child.patience
            if child.silent <= limit:
                continue
            if child.killed:
                child.silent -= START_SECONDS  # not to say it all the time
                PROCESS_STUCK.tell(child=str(child))
            else:
                PROCESS_SILENT.tell(child=str(child), seconds=limit)
                child.kill()
        if self._ending:
            self._ending_for += passed
            if self._ending_for > END_SECONDS:
                for child in self._children.all():
                    if not child.killed:
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
            if child is None:
                continue
            if child.role is Role.DECIDER:
                self._decider_died(child, code)
            elif not self._ending:
                deaths = self._children.deaths[child.role]
                pause = deaths.note(time.monotonic() - child.since)
                PROCESS_DIED.tell(child=str(child), how=how(code), when=deaths.when(pause))
                counters.bump(self._config.calls.path, f"restarts_{child.role.value}")

    def _decider_died(self, child: Child, code: int) -> None:
        self._status = code if code >= 0 else 128 - code
        if self._ending:
            if code < 0 and not child.killed:
                PROCESS_CUT_OFF.tell(child=str(child), how=how(code))
            return
        if not self._started and code > 0:  # it has said what is wrong, and would only say it again
            self._end(signal.SIGTERM)
            return
        deaths = self._children.deaths[Role.DECIDER]
        pause = deaths.note(time.monotonic() - child.since)
        standby = self._children.get(Role.STANDBY)
        next_one = "another" if standby is None or standby.killed else "the standby"
        DECIDER_DIED.tell(child=str(child), how=how(code), next=next_one, when=deaths.when(pause))
        counters.bump(self._config.calls.path, "restarts_decider")


def _bind(config: Config, patience: float) -> Sockets | None:
    """Bind the sockets, and try again for ``patience`` seconds; None where we are told to end meanwhile."""
    end = time.monotonic() + patience
    while True:
        try:
            return listening.bind(config.listen, config.calls.path)
        except CannotListenError:
            if time.monotonic() >= end:
                raise
        if signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), 0.05) is not None:
            return None


def _tell_room(udp: socket.socket) -> None:
    """Say how much can wait at a socket while nobody reads it, and what to do where that is little."""
    size, wanted = listening.receive_buffer(udp), 2 * listening.RECEIVE_BUFFER
    endpoint = str(listening.endpoint_of(udp))
    RECEIVE_BUFFER.tell(endpoint=endpoint, kib=size // 1024, datagrams=size // listening.DATAGRAM_BYTES)
    if size < wanted:
        RECEIVE_BUFFER_SMALL.tell(endpoint=endpoint, wanted_kib=wanted // 1024, rmem_max=listening.RECEIVE_BUFFER)
