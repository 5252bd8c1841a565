"""The processes that the supervisor forks: one of each role, each with a link to tell its state by.

Forked without exec: a child inherits what was checked and bound, and its code is there. A role is one entry of
:class:`Role`; who it is and when it is wanted is the business of :mod:`identengine.server.supervisor.run`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import NoReturn

from identengine.log import handlers
from identengine.log.events import NO_PROCESS, PROCESS_FAULT
from identengine.server.link import IDLE, TAKE_OVER, TAKING_OVER, SupervisorEnd
from identengine.server.supervisor.sigio import wake_by

HANG_SECONDS = 5.0
"""A child that is silent for so long hangs."""
START_SECONDS = 60.0
"""The same while it starts or restores the calls, when its loop does not turn."""
SOON_SECONDS = 10.0
"""Who dies within so long of its start, died soon."""
SOUND_SECONDS = 60.0
"""Who lived for so long makes earlier deaths forgotten."""
PAUSES = 0.5, 30.0
"""Before the start after the second death that came soon, and at most; they double."""


class Role(Enum):
    """What a child is for; the value is its name in messages."""

    DECIDER = "decider"
    STANDBY = "standby"
    """Becomes the decider when that dies."""
    HTTP = "front"
    """Serves HTTP, and asks the decider."""
    LEAVING = "former decider"
    """Has let go of the calls, or is about to, for another server's decider; it still parts from TCP peers."""


class Child:
    """One process that was forked."""

    def __init__(self, role: Role, pid: int, link: SupervisorEnd) -> None:
        self.role = role
        self.pid = pid
        self.link = link
        self.since = time.monotonic()
        """When it began to be what it is."""
        self.silent = 0.0
        """Seconds without a sign of life in which we looked."""
        self.leaving: float | None = None
        """Seconds since it was told to end; None: it was not told."""
        self.killed = False

    def __str__(self) -> str:
        return f"the {self.role.value}, process {self.pid},"

    @property
    def state(self) -> bytes:
        """What it told last; at first, what it is about to do."""
        return self.link.state

    @property
    def late(self) -> bool:
        """Whether the newest config is not in force there, and is to be: not at one that is about to end."""
        return self.link.behind and not self.killed and self.role is not Role.LEAVING

    @property
    def patience(self) -> float:
        """How many seconds it may be silent."""
        return START_SECONDS if self.state == TAKING_OVER else HANG_SECONDS

    @property
    def well(self) -> bool:
        """Whether it lives and beats, as far as we know."""
        return not self.killed and self.silent <= self.patience

    def hear(self) -> None:
        """Take its signs of life, and send it what it had no room for."""
        if self.link.hear():
            self.silent = 0.0
        with contextlib.suppress(OSError):  # it is dead
            self.link.flush()

    def tell(self, word: bytes) -> bool:
        """Say something to it; returns whether it can hear."""
        return self._reach(partial(self.link.tell, word))

    def hand(self, config: bytes) -> bool:
        """Send it a config; returns whether it can hear."""
        return self._reach(partial(self.link.hand, config))

    def _reach(self, send: Callable[[], None]) -> bool:
        if self.killed:
            return False
        try:
            send()
        except OSError:  # it is dying
            self.kill()
            return False
        return True

    def signal(self, number: int) -> None:
        """Send it a signal; it was not reaped yet, so that its id is its own."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.killed, self.silent = True, 0.0
        self.signal(signal.SIGKILL)


class Deaths:
    """Of one role: how often one died soon after its start, and when the next may start."""

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

    def over(self) -> bool:
        """Whether the pause is over."""
        return time.monotonic() >= self.due

    def when(self, pause: float) -> str:
        """Return when the next one starts, and why so late, as the end of a sentence."""
        if not pause:
            return " at once"
        return f" in {pause:.3g} s, as {self.soon} died within {SOON_SECONDS:.0f} s of their start"


class Children:
    """Those there are, at most one of each role."""

    def __init__(self, private: Callable[[], Iterable[int]]) -> None:
        """``private`` returns the descriptors that no child may keep: what is to end with the supervisor."""
        self._private = private
        self._of: dict[Role, Child] = {}
        self.deaths = {role: Deaths() for role in Role}

    def get(self, role: Role) -> Child | None:
        """Return the child of a role, if there is one."""
        return self._of.get(role)

    def all(self) -> list[Child]:
        """Return all there are."""
        return list(self._of.values())

    def fork(self, role: Role, run: Callable[[socket.socket], int], state: bytes = IDLE) -> Child | None:
        """Start one, which calls ``run`` with its end of the link and ends with the status that returns.

        ``state`` is what it is about to do. None, with an alarm, where no process can be had.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._cannot_fork(role, error)
            return None
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._cannot_fork(role, error)
            return None
        if pid == 0:
            self._be(run, theirs, ours)
        theirs.close()
        wake_by(ours)
        child = self._of[role] = Child(role, pid, SupervisorEnd(ours, state))
        return child

    def take_over(self) -> bool:
        """Let the standby decide; returns whether there is one that can hear."""
        standby = self.get(Role.STANDBY)
        if standby is None or not standby.tell(TAKE_OVER):
            return False
        self.promote(Role.STANDBY, Role.DECIDER)
        return True

    def promote(self, role: Role, to: Role) -> None:
        """Make the child of one role that of another, which has none. Its state stays what it tells."""
        child = self._of[to] = self._of.pop(role)
        child.role, child.silent, child.since = to, 0.0, time.monotonic()

    def forget(self, pid: int) -> Child | None:
        """Return the child that was this process and is reaped, with its last words heard; None: it was none."""
        for child in self.all():
            if child.pid == pid:
                child.hear()
                child.link.close()
                del self._of[child.role]
                return child
        return None

    def _cannot_fork(self, role: Role, error: OSError) -> None:
        pause = self.deaths[role].note(0.0)
        NO_PROCESS.tell(why=error.strerror, pause=pause)

    def _be(self, run: Callable[[socket.socket], int], link: socket.socket, other_end: socket.socket) -> NoReturn:
        """Be the child, and end. It leaves by _exit: what a usual exit does is the supervisor's to do."""
        status = 1
        try:
            # The locks and links of the supervisor end with the supervisor, so nobody else may hold them.
            for descriptor in self._private():
                os.close(descriptor)
            other_end.close()
            for child in self.all():
                child.link.close()
            status = run(link)
        except BaseException as fault:  # nothing may get out into the supervisor's code
            PROCESS_FAULT.tell(fault, pid=os.getpid())
            handlers.finish()
        finally:
            os._exit(status)  # every line was flushed when it was written; to flush here might wait for a reader


def how(code: int) -> str:
    """Return how a process ended, as a clause; ``code`` as os.waitstatus_to_exitcode returns it."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with status {code}" if code else "ended though the supervisor was not told to"
