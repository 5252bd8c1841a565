"""The processes that the supervisor forks: at most one of each role, each with a link that reports its state.

The supervisor forks without exec, so a child inherits the checked config, the bound sockets and its code. Rule:
this module knows how to start, reach and end a child; :mod:`identengine.server.supervisor.run` decides when.
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
"""Silence after which a child counts as hanging, in seconds."""
START_SECONDS = 60.0
"""The same for a child that starts or restores the calls, since its loop does not run meanwhile, in seconds."""
SOON_SECONDS = 10.0
"""Age below which the death of a child counts as early, in seconds."""
SOUND_SECONDS = 60.0
"""Age at which the death of a child resets the count of early deaths, in seconds."""
PAUSES = 0.5, 30.0
"""First and longest pause before the next start, from the second early death on, in seconds. The pause doubles."""


class Role(Enum):
    """The task of a child. The value is the label ``process`` of metrics."""

    DECIDER = "decider"
    """Decides requests."""
    STANDBY = "standby"
    """Has the book loaded and replaces a decider that dies."""
    HTTP = "http"
    """Serves HTTP as a client of the decider."""
    LEAVING = "leaving"
    """Has handed the calls over to the decider of another server, or is about to; it still closes TCP
    connections."""

    @property
    def title(self) -> str:
        """The name of the role in messages."""
        return _TITLES.get(self, self.value)


_TITLES = {Role.HTTP: "HTTP process", Role.LEAVING: "former decider"}


class Child:
    """One forked process."""

    def __init__(self, role: Role, pid: int, link: SupervisorEnd) -> None:
        self.role = role
        self.pid = pid
        self.link = link
        self.since = time.monotonic()
        """Start of the child in its current role, by the monotonic clock."""
        self.silent = 0.0
        """Time without a sign of life, in seconds. Times at which the supervisor did not run are not counted."""
        self.leaving: float | None = None
        """Time since the child was asked to stop, in seconds, or None if it was not asked."""
        self.killed = False
        """True if the supervisor has sent SIGKILL."""

    def __str__(self) -> str:
        return f"the {self.role.title} (pid {self.pid})"

    @property
    def state(self) -> bytes:
        """The state that the child sent last; at first, the state that it is about to enter."""
        return self.link.state

    @property
    def late(self) -> bool:
        """True if the child still has to apply the newest config, and is not about to end."""
        return self.link.behind and not self.killed and self.role is not Role.LEAVING

    @property
    def patience(self) -> float:
        """Longest allowed silence, in seconds."""
        return START_SECONDS if self.state == TAKING_OVER else HANG_SECONDS

    @property
    def healthy(self) -> bool:
        """True if the child was not killed and has sent a sign of life in time."""
        return not self.killed and self.silent <= self.patience

    def hear(self) -> None:
        """Read the signs of life of the child, and send frames that its socket had no room for."""
        if self.link.hear():
            self.silent = 0.0
        with contextlib.suppress(OSError):  # the child is dead
            self.link.flush()

    def tell(self, word: bytes) -> bool:
        """Send a frame without content. Return True if the child can receive it."""
        return self._reach(partial(self.link.tell, word))

    def hand(self, config: bytes) -> bool:
        """Send an encoded config. Return True if the child can receive it."""
        return self._reach(partial(self.link.hand, config))

    def hand_sockets(self, control: socket.socket, ask: socket.socket) -> bool:
        """Send copies of new Unix sockets. Return True if the child can receive them."""
        return self._reach(partial(self.link.hand_sockets, control, ask))

    def _reach(self, send: Callable[[], None]) -> bool:
        if self.killed:
            return False
        try:
            send()
        except OSError:  # the child is dying
            self.kill()
            return False
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the child. Its pid cannot belong to another process, since it is not reaped yet."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the child with SIGKILL."""
        self.killed, self.silent = True, 0.0
        self.signal(signal.SIGKILL)


class Deaths:
    """The early deaths of one role, and the time of the next start."""

    def __init__(self) -> None:
        self.soon = 0
        self.due = 0.0

    def note(self, lived: float) -> float:
        """Count a death at the age ``lived``. Return the pause before the next start, in seconds."""
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
        """Return True if the pause is over."""
        return time.monotonic() >= self.due

    def when(self, pause: float) -> str:
        """Return the time of the next start, with the reason for a pause, as the end of a sentence."""
        if not pause:
            return " at once"
        return f" in {pause:.3g} s, since {self.soon} died within {SOON_SECONDS:.0f} s of their start"


class Children:
    """The children that exist, at most one of each role."""

    def __init__(self, private: Callable[[], Iterable[int]]) -> None:
        """``private`` returns the descriptors that must close with the supervisor, so no child may keep them."""
        self._private = private
        self._of: dict[Role, Child] = {}
        self.deaths = {role: Deaths() for role in Role}

    def get(self, role: Role) -> Child | None:
        """Return the child of a role, or None."""
        return self._of.get(role)

    def all(self) -> list[Child]:
        """Return all children."""
        return list(self._of.values())

    def fork(self, role: Role, run: Callable[[socket.socket], int], state: bytes = IDLE) -> Child | None:
        """Start a child, or log an alarm and return None if the system provides no process.

        The child calls ``run`` with its end of the link, and exits with the returned status. ``state`` is the
        state that it is about to enter.
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
            self._run_child(run, theirs, ours)
        theirs.close()
        wake_by(ours)
        child = self._of[role] = Child(role, pid, SupervisorEnd(ours, state))
        return child

    def take_over(self) -> bool:
        """Make the standby the decider. Return False if no standby can be reached."""
        standby = self.get(Role.STANDBY)
        if standby is None or not standby.tell(TAKE_OVER):
            return False
        self.promote(Role.STANDBY, Role.DECIDER)
        return True

    def promote(self, role: Role, to: Role) -> None:
        """Move the child of one role to another role, which must be free. Its state does not change."""
        child = self._of[to] = self._of.pop(role)
        child.role, child.silent, child.since = to, 0.0, time.monotonic()

    def forget(self, pid: int) -> Child | None:
        """Read the last messages of a reaped child, remove and return it. Return None if it is not a child."""
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

    def _run_child(
        self, run: Callable[[socket.socket], int], link: socket.socket, other_end: socket.socket
    ) -> NoReturn:
        """Run as the child, then exit by _exit. Cleanup at exit is the supervisor's task."""
        status = 1
        try:
            # The locks and links of the supervisor must close when it dies, so no child may hold them.
            for descriptor in self._private():
                os.close(descriptor)
            other_end.close()
            for child in self.all():
                child.link.close()
            status = run(link)
        except BaseException as fault:  # no exception may reach the supervisor's code
            PROCESS_FAULT.tell(fault, pid=os.getpid())
            handlers.finish()
        finally:
            os._exit(status)  # each line was flushed when written; a flush here could block


def how(code: int) -> str:
    """Return the cause of a process's end, as a clause. ``code`` is of :func:`os.waitstatus_to_exitcode`."""
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"exited with status {code}" if code else "exited although the server was not asked to stop"
