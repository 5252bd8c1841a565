"""Take-overs as the supervisor sees them: the lock of this server, and its way from server to server.

A server that starts alone takes the lock and accepts one new server at a time
(:mod:`identengine.server.supervisor.outgoing`). A server that takes over starts without the lock
(:mod:`identengine.server.supervisor.incoming`); once it is the only server, it accepts others likewise. The
messages of both sides are in :mod:`identengine.server.supervisor.handover`.

The steps of a hand-over, as the two supervisors do them:

1. The old server offers its sockets. The new one forks a standby, which loads the book.
2. The new server's standby has the book. The old server sends the lock and tells its decider to hand over. It
   keeps this *former decider* until that has answered everything that it had received.
3. The new server has the lock. It makes its standby the decider, which waits for the set of calls and restores it.
4. The new server's decider reads the sockets. The old server reports the new process to the service manager, and
   stops.
5. If the new server fails before step 4, the old one writes its own pid into the lock again and forks a decider.

Rule: one server at a time holds the lock and lets its decider decide.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from pathlib import Path

from identengine.errors import StoreError
from identengine.log.events import (
    HAND_OVER_FAILED,
    HANDING_OVER,
    NO_DOOR,
    NO_SUCCESSOR,
    SUCCESSOR_IGNORED,
    SUCCESSOR_IMPOSSIBLE,
    SUCCESSOR_STARTED,
    TAKE_OVER_FAILED,
    TAKEN_OVER,
    TOOK_OVER,
)
from identengine.net.sockets import NamedSocket
from identengine.server.link import HAND_OVER
from identengine.server.supervisor.children import Children, Role
from identengine.server.supervisor.handover import FILE as SOCKET_FILE
from identengine.server.supervisor.handover import HandoverError
from identengine.server.supervisor.incoming import IncomingTakeover, Stage
from identengine.server.supervisor.lock import FILE as LOCK_FILE
from identengine.server.supervisor.lock import ServerLock
from identengine.server.supervisor.outgoing import OutgoingTakeover, Step
from identengine.server.supervisor.processes import start_successor


class Outcome(Enum):
    """The reason why a take-over ends this server."""

    FAILED = auto()
    """This server could not take over. The old server continues."""
    TAKEN_OVER = auto()
    """A new server has taken over."""


class Takeover:
    """The lock of this server, and its take-over from or by another server."""

    def __init__(
        self,
        folder: Path,
        children: Children,
        *,
        lock: ServerLock | None = None,
        outgoing: OutgoingTakeover | None = None,
        incoming: IncomingTakeover | None = None,
    ) -> None:
        """Start with the lock and ``outgoing``, or with ``incoming`` alone. ``folder`` is of the set of calls."""
        self.lock = lock
        """The lock, or None until this server has it."""
        self.replaced_by: int | None = None
        """Process of the server that has taken over, or None."""
        self._folder = folder
        self._children = children
        self._outgoing = outgoing
        self._incoming = incoming

    @property
    def loads(self) -> bool:
        """True if the standby of this server loads the book while the old server serves."""
        return self._incoming is not None and self._incoming.stage is Stage.LOADING

    @property
    def decides(self) -> bool:
        """True if a decider of this server must run: it has the lock and has not handed it over."""
        return self.lock is not None and self.successor is None

    @property
    def successor(self) -> int | None:
        """Process of the new server that has the lock and does not decide yet, or None."""
        return self._outgoing.pid if self._outgoing is not None and self._outgoing.committed else None

    @property
    def leads(self) -> bool:
        """True if this server reports to the service manager."""
        return self._incoming is None and self.replaced_by is None

    @property
    def settled(self) -> bool:
        """True if this server has the lock, and no other server is about to get it."""
        return self.lock is not None and self._incoming is None and self.decides and self.replaced_by is None

    def lost(self) -> list[str]:
        """Return the files in the folder that no other process would find any more.

        Call it only if this object is :attr:`settled`. Raise OSError if the folder cannot be examined.
        """
        lost = [LOCK_FILE] if self.lock is not None and self.lock.lost() else []
        return [*lost, SOCKET_FILE] if self._outgoing is None or self._outgoing.lost() else lost

    def restore(self, lost: list[str]) -> None:
        """Make the lost files again. Raise StoreError, or InUseError if another server has the lock.

        The new lock is taken before the old one is closed, and before any other file is made. So a second server
        that starts meanwhile either finds a lock that is held, or gets the folder and keeps it.
        """
        if LOCK_FILE in lost and self.lock is not None:
            taken = ServerLock.take(self._folder)
            self.lock.close()
            self.lock = taken
        if SOCKET_FILE in lost:
            if self._outgoing is None:
                self._outgoing = OutgoingTakeover(self._folder)
            else:
                self._outgoing.listen_again()

    def descriptors(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep, since they must close with this process."""
        if self.lock is not None:
            yield self.lock.fileno()
        for one in (self._outgoing, self._incoming):
            if one is not None:
                yield from one.descriptors()

    def advance(self, passed: float, sockets: list[NamedSocket], *, started: bool) -> Outcome | None:
        """Advance a take-over from or by another server. Return the outcome if it ends this server, else None.

        ``passed`` is the time since the last call, in seconds. ``sockets`` are those that a new server gets.
        ``started`` is true if a decider of this server has listened.
        """
        if self._incoming is not None:
            return self._advance_incoming(self._incoming, passed)
        if self._outgoing is None:
            return None
        refusal = None if started else "it is still starting. Try again when it is READY."
        if self._children.get(Role.LEAVING) is not None and not self._outgoing.committed:
            refusal = "the last take-over is not complete. Try again in a moment."
        step = self._outgoing.advance(passed, sockets, refusal)
        if step is Step.COMMIT:
            self._hand_over(self._outgoing)
        elif step is Step.DONE:
            return self._finish(self._outgoing)
        elif step is Step.FAILED:
            self.continue_serving(self._outgoing.why)
        return None

    def refuse(self, why: str) -> None:
        """Cancel take-overs in both directions, since this server is about to stop."""
        if self._outgoing is not None:
            self._outgoing.refuse(why)
        if self._incoming is not None and self.lock is None:
            self._incoming.give_up(why)

    def pass_on(self, number: int) -> None:
        """Send a signal to the new server, too, if there is one."""
        if self._outgoing is not None:
            self._outgoing.pass_on(number)

    def start_successor(self, mask: Iterable[int], *, started: bool) -> None:
        """Start the program as it is installed now, to take over. ``mask`` holds the signals that it blocks."""
        if self._outgoing is None or self._incoming is not None or self._outgoing.busy or not started:
            SUCCESSOR_IGNORED.tell()
            return
        if os.getpid() == 1:
            SUCCESSOR_IMPOSSIBLE.tell()
            return
        try:
            pid = start_successor(mask)
            self._outgoing.expect(pid)
        except OSError as error:
            NO_SUCCESSOR.tell(why=error.strerror)
            return
        SUCCESSOR_STARTED.tell(pid=pid)

    def continue_serving(self, why: str) -> None:
        """Continue as the server after a failed hand-over, and log the reason."""
        if self.lock is not None:
            with contextlib.suppress(
                OSError
            ):  # no room on the disk; the lock is held although the file names another process
                self.lock.write_pid()
        HAND_OVER_FAILED.tell(why=why)

    def close(self) -> None:
        """Close the connection to the new server, which is the only server then."""
        if self._outgoing is not None:
            self._outgoing.close()

    def release(self) -> None:
        """Mark the end as orderly in the file of the lock, if this server has it."""
        if self.lock is not None:
            self.lock.release()

    def _advance_incoming(self, incoming: IncomingTakeover, passed: float) -> Outcome | None:
        try:
            incoming.advance(passed, self._children.get(Role.STANDBY), self._children.get(Role.DECIDER))
            if self.lock is None and incoming.lock is not None:
                self.lock = incoming.lock
                self._children.take_over()  # at once: no process decides now
            if incoming.stage is Stage.OVER:
                self._incoming = None
                self._outgoing = OutgoingTakeover(self._folder)
                TOOK_OVER.tell(pid=incoming.pid)
        except (HandoverError, StoreError) as error:
            if self.lock is not None:
                NO_DOOR.tell(why=str(error))
                return None
            TAKE_OVER_FAILED.tell(why=str(error))
            incoming.give_up(str(error))
            return Outcome.FAILED
        return None

    def _hand_over(self, outgoing: OutgoingTakeover) -> None:
        """Hand lock and calls over to the new server, but keep all that is needed to continue if it fails."""
        if self.lock is None or not outgoing.hand_over(self.lock.fileno()):
            return  # the next call reads the end of the connection
        HANDING_OVER.tell(pid=outgoing.pid)
        decider = self._children.get(Role.DECIDER)
        if decider is not None:
            decider.tell(HAND_OVER)
            decider.leaving = 0.0
            self._children.promote(Role.DECIDER, Role.LEAVING)

    def _finish(self, outgoing: OutgoingTakeover) -> Outcome:
        """Note that the new server has taken over. It waits for :meth:`close`."""
        assert outgoing.pid is not None  # noqa: S101 - it has just sent TakeoverDone
        TAKEN_OVER.tell(pid=outgoing.pid)
        self.replaced_by = outgoing.pid
        return Outcome.TAKEN_OVER
