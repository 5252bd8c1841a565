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
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from identengine import config as configuration
from identengine import counters, logsetup
from identengine.calls.file import InUseError
from identengine.config import Config
from identengine.decider import DRAIN_SECONDS, IDLE, LISTENING, READY, TAKE_OVER, TAKING_OVER, Duty, decide
from identengine.errors import ConfigError, StoreError
from identengine.events import (
    CONFIG_WARNING,
    DECIDER_DIED,
    NO_PROCESS,
    PROCESS_CUT_OFF,
    PROCESS_FAULT,
    PROCESS_LATE,
    PROCESS_SILENT,
    PROCESS_STUCK,
    RECEIVE_BUFFER,
    RECEIVE_BUFFER_SMALL,
    STANDBY_DIED,
)
from identengine.net import sockets as listening
from identengine.net.sockets import CannotListenError, Sockets

CYCLE_SECONDS = 0.25
"""Between two looks at the children, where no signal comes."""
HANG_SECONDS = 5.0
"""A child that is silent for so long hangs."""
START_SECONDS = 60.0
"""The same while it starts or restores the calls, when its loop does not turn."""
END_SECONDS = DRAIN_SECONDS + 1.0
"""How long a decider has from the first signal to its end."""
SOON_SECONDS = 10.0
"""Who dies within so long of its start, died soon."""
SOUND_SECONDS = 60.0
"""Who lived for so long makes earlier deaths forgotten."""
PAUSES = 0.5, 30.0
"""Before the start after the second death that came soon, and at most; they double."""
ORPHAN_SECONDS = 6.0
"""How long addresses are waited for that the orphans of a supervisor that was killed still have."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LOCK = "serve.lock"


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status: the decider's, 128 + n where signal n ended it.

    1, with the reason on standard error, where an address cannot be bound, another server has this set of calls,
    or the first decider cannot start.
    """
    logsetup.set_up_direct(config.log)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have ignored it: then nobody is reaped
    mask = frozenset[int](signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))
    try:
        with _claim(config.calls.path) as (lock, orphans):
            sockets = _bind(config, patience=ORPHAN_SECONDS if orphans else 0.0)
            if sockets is None:
                return 0
            for warning in config.warnings:
                CONFIG_WARNING.tell(what=warning)
            for udp in sockets.udp:
                _tell_room(udp)
            return _Supervisor(config, sockets, lock, mask).run()
    except (CannotListenError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


class _Child:
    """A decider, or a standby, which becomes one."""

    def __init__(self, pid: int, link: socket.socket, *, standby: bool) -> None:
        self.pid = pid
        self.link = link
        """Ours of two connected sockets; the other end is the child's."""
        self.standby = standby
        self.state = IDLE if standby else TAKING_OVER
        """What it told last; at first, what it is about to do."""
        self.since = time.monotonic()
        """When it began to be what it is."""
        self.silent = 0.0
        """Seconds without a sign of life in which we looked."""
        self.killed = False

    def __str__(self) -> str:
        return f"the {'standby' if self.standby else 'decider'}, process {self.pid},"

    def hear(self) -> None:
        """Take its signs of life."""
        with contextlib.suppress(OSError):  # nothing there, or it is dead
            while said := self.link.recv(4096):
                self.silent = 0.0
                self.state = said[-1:]

    def signal(self, number: int) -> None:
        """Send it a signal; it was not reaped yet, so that its id is its own."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.killed, self.silent = True, 0.0
        self.signal(signal.SIGKILL)


class _Deaths:
    """Of one kind of child: how often one died soon after its start, and when the next may start."""

    def __init__(self) -> None:
        self.soon = 0
        self.due = 0.0

    def note(self, lived: float) -> float:
        """Note that one died; returns the pause before the next, in seconds."""
        if lived >= SOUND_SECONDS:
            self.soon = 0
        elif lived < SOON_SECONDS:
            self.soon += 1
        first, longest = PAUSES
        pause = (
            min(first * 2.0 ** min(self.soon - 2, 30), longest) if self.soon > 1 and lived < SOON_SECONDS else 0.0
        )
        self.due = time.monotonic() + pause
        return pause


class _Supervisor:
    """One run of the server."""

    def __init__(self, config: Config, sockets: Sockets, lock: int, mask: frozenset[int]) -> None:
        self._config = config
        self._sockets = sockets
        self._lock = lock
        self._mask = mask
        self._decider: _Child | None = None
        self._standby: _Child | None = None
        self._decider_deaths, self._standby_deaths = _Deaths(), _Deaths()
        self._started = False
        """Whether a decider ever listened: before that, what ends it ends the server."""
        self._announced = False
        self._ending = False
        self._ending_for = 0.0
        """Seconds since we were told to end."""
        self._status: int | None = None
        """Of the last decider."""

    def run(self) -> int:
        """Keep one decider deciding, until told to end."""
        gc.freeze()  # a child's collector should not touch, and so copy, what is ours
        looked = time.monotonic()
        # Even a process that was killed may stay, in a system call that never ends.
        while not self._ending or (self._children() and self._ending_for < 2 * END_SECONDS):
            if not self._ending:
                self._start_missing()
            got = signal.sigtimedwait(_SIGNALS, CYCLE_SECONDS)
            if got is not None:
                self._obey(got.si_signo)
            for child in self._children():
                child.hear()
            self._look_at_states()
            self._bury()
            # Where we were not running (stopped, suspended, starved) nobody could be heard: that does not count.
            now = time.monotonic()
            self._watch(min(now - looked, 2 * CYCLE_SECONDS))
            looked = now
        if self._decider is not None:
            return 128 + signal.SIGKILL
        return 0 if self._status is None else self._status

    def _children(self) -> list[_Child]:
        return [child for child in (self._decider, self._standby) if child is not None]

    # ---- starting

    def _start_missing(self) -> None:
        now = time.monotonic()
        if self._decider is None:
            if now >= self._decider_deaths.due and not self._promote():
                self._decider = self._fork(self._decider_deaths, standby=False)
        elif (
            self._config.listen.standby
            and self._standby is None
            and self._decider.state == READY  # till then it loads the book, and should do so alone
            and now >= self._standby_deaths.due
        ):
            self._standby = self._fork(self._standby_deaths, standby=True)

    def _promote(self) -> bool:
        """Let the standby decide, if there is one that can hear."""
        standby = self._standby
        if standby is None or standby.killed:
            return False
        try:
            standby.link.send(TAKE_OVER)
        except OSError:  # it is dying
            standby.kill()
            return False
        standby.standby, standby.silent, standby.since = False, 0.0, time.monotonic()
        self._decider, self._standby = standby, None
        return True

    def _fork(self, deaths: _Deaths, *, standby: bool) -> _Child | None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._cannot_fork(error, deaths)
            return None
        ours.setblocking(False)
        theirs.setblocking(False)
        duty = Duty(self._sockets, theirs, self._mask, standby, self._started, not self._announced)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._cannot_fork(error, deaths)
            return None
        if pid == 0:
            self._be_child(duty, ours)
        theirs.close()
        return _Child(pid, ours, standby=standby)

    def _cannot_fork(self, error: OSError, deaths: _Deaths) -> None:
        pause = deaths.note(0.0)
        NO_PROCESS.tell(why=error.strerror, pause=pause)

    def _be_child(self, duty: Duty, supervisors_end: socket.socket) -> NoReturn:
        """Decide, and end; in the child. It leaves by _exit: what a usual exit does is the supervisor's to do."""
        status = 1
        try:
            # The locks and links of the supervisor end with the supervisor, so nobody else may hold them.
            os.close(self._lock)
            for link in (supervisors_end, *(child.link for child in self._children())):
                link.close()
            status = decide(self._config, duty)
        except BaseException as fault:  # nothing may get out into the supervisor's code
            kind = "standby" if duty.standby else "decider"
            PROCESS_FAULT.tell(fault, kind=kind, pid=os.getpid())
            logsetup.finish()
        finally:
            os._exit(status)  # every line was flushed when it was written; to flush here might wait for a reader

    # ---- signals

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end(number)
        elif number == signal.SIGHUP:
            self._reread()

    def _end(self, number: int) -> None:
        if not self._ending:
            self._ending = True
            self._sockets.close()  # now the decider's are the last ones
            if self._standby is not None:
                self._standby.kill()
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
        for child in self._children():
            child.signal(signal.SIGHUP)

    # ---- life and death

    def _look_at_states(self) -> None:
        if self._decider is not None:
            self._started = self._started or self._decider.state in (LISTENING, READY)
            self._announced = self._announced or self._decider.state == READY

    def _watch(self, passed: float) -> None:
        """Kill who hangs, and who takes too long to end."""
        for child in self._children():
            child.silent += passed
            limit = START_SECONDS if child.state == TAKING_OVER else HANG_SECONDS
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
                for child in self._children():
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
            for child in self._children():
                if child.pid == pid:
                    child.hear()
                    self._look_at_states()
                    child.link.close()
                    if child is self._decider:
                        self._decider_died(child, code)
                    else:
                        self._standby_died(child, code)

    def _decider_died(self, child: _Child, code: int) -> None:
        self._decider = None
        self._status = code if code >= 0 else 128 - code
        if self._ending:
            if code < 0 and not child.killed:
                PROCESS_CUT_OFF.tell(child=str(child), how=_how(code))
            return
        if not self._started and code > 0:  # it has said what is wrong, and would only say it again
            self._end(signal.SIGTERM)
            return
        pause = self._decider_deaths.note(time.monotonic() - child.since)
        next_one = "another" if self._standby is None or self._standby.killed else "the standby"
        when = _when(pause, self._decider_deaths)
        DECIDER_DIED.tell(child=str(child), how=_how(code), next=next_one, when=when)
        counters.bump(self._config.calls.path, "restarts_decider")

    def _standby_died(self, child: _Child, code: int) -> None:
        self._standby = None
        if not self._ending:
            pause = self._standby_deaths.note(time.monotonic() - child.since)
            STANDBY_DIED.tell(child=str(child), how=_how(code), when=_when(pause, self._standby_deaths))
            counters.bump(self._config.calls.path, "restarts_standby")


def _how(code: int) -> str:
    """Return how a process ended, as a clause."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with status {code}" if code else "ended though the supervisor was not told to"


def _when(pause: float, deaths: _Deaths) -> str:
    """Return when the next one starts, and why so late."""
    if not pause:
        return " at once"
    return f" in {pause:.3g} s, as {deaths.soon} died within {SOON_SECONDS:.0f} s of their start"


@contextlib.contextmanager
def _claim(folder: Path) -> Iterator[tuple[int, bool]]:
    """Hold the lock of the one supervisor of a set of calls.

    Yields its descriptor, and whether there may be orphans. The lock ends with the process however it ends, as
    long as no child keeps the descriptor. The file names its holder, and is empty after an end in order: a name
    without a lock tells that a supervisor was killed. Raises InUseError, which names the process that has it,
    StoreError where the folder cannot be had.
    """
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii", errors="replace")
    except OSError as error:
        raise StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).strip()
            raise InUseError(
                f"another process decides on the set of calls in {folder}: the server of process {holder or '?'}; "
                "end it first, or give this server a path of its own ([calls] path)"
            ) from None
        try:
            file.seek(0)
            orphans = bool(file.read(20).strip())
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}") from error
        try:
            yield file.fileno(), orphans
        except CannotListenError:  # in order as well: nobody was forked
            file.truncate(0)
            raise
        file.truncate(0)


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
