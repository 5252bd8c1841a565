"""The new side of a take-over (:mod:`identengine.server.supervisor.handover`): from the copies of the sockets on.

Rule: until the lock is received, a failure leaves the old server as it was. Afterwards this server is the server,
and the end of the old one changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from identengine.calls.journalfile import InUseError
from identengine.server.link import BOOKLESS, LISTENING, LOADED, READY
from identengine.server.supervisor import handover
from identengine.server.supervisor.children import HANG_SECONDS, Child
from identengine.server.supervisor.handover import HandoverError, OtherServer
from identengine.server.supervisor.lock import ServerLock

LOCK_SECONDS = 3.0
"""Longest wait for the lock of an old server that died, in seconds."""
FAREWELL_SECONDS = 5.0
"""Longest time in which the old server must report this one to the service manager, in seconds."""


class Stage(Enum):
    """The progress of a take-over."""

    LOADING = auto()
    """The standby of this server loads the book. The old server serves."""
    COMMITTED = auto()
    """The book is loaded, and Commit was sent."""
    PEER_DIED = auto()
    """The old server died before it gave up the lock. This server tries to take the lock."""
    RESTORING = auto()
    """This server has the lock. Its decider waits for the calls, or restores them."""
    DECIDING = auto()
    """The decider of this server decides, and the old server is about to exit."""
    OVER = auto()
    """This server is the only one."""


class IncomingTakeover:
    """One take-over of the sockets and calls of another server."""

    def __init__(self, peer: OtherServer, folder: Path) -> None:
        """Take over from ``peer``, the old server. ``folder`` is that of the set of calls."""
        self.pid = peer.pid
        """Process of the old server."""
        self.stage = Stage.LOADING
        self.lock: ServerLock | None = None
        """The lock, or None until it is received."""
        self._peer = peer
        self._folder = folder
        self._since = time.monotonic()

    def descriptors(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep."""
        if self.stage is not Stage.OVER:
            yield self._peer.fileno()

    def advance(self, passed: float, standby: Child | None, decider: Child | None) -> None:
        """Do the steps that are possible now. ``passed`` is the time since the last call, in seconds.

        Raise HandoverError if the take-over has failed, so that the old server continues. Raise StoreError if the
        lock cannot be written.
        """
        self._peer.silent += passed
        if self.stage is not Stage.PEER_DIED:
            self._peer.alive()
            self._read_messages()
        if self.stage is Stage.LOADING:
            self._look_at_book(standby)
        elif self.stage is Stage.COMMITTED and self._peer.silent > HANG_SECONDS:
            raise HandoverError(f"process {self.pid} does not hand over: it hangs or is stopped")
        elif self.stage is Stage.PEER_DIED:
            self._take_lock()
        elif self.stage is Stage.RESTORING and decider is not None and decider.state in (LISTENING, READY):
            self._enter(Stage.DECIDING)
            self._peer.send(handover.TakeoverDone())
        elif self.stage is Stage.DECIDING and time.monotonic() - self._since > FAREWELL_SECONDS:
            self._end()

    def give_up(self, why: str) -> None:
        """Cancel the take-over, unless it is complete. The old server stays the server."""
        if self.stage is Stage.OVER:
            return
        self._peer.send(handover.No(why))
        self._end()

    def _read_messages(self) -> None:
        while self.stage not in (Stage.PEER_DIED, Stage.OVER):
            try:
                received = self._peer.receive()
            except EOFError:
                if self.stage in (Stage.LOADING, Stage.COMMITTED):
                    self._enter(Stage.PEER_DIED)
                elif self.stage is Stage.DECIDING:
                    self._end()
                return  # with the lock, the death of the old server changes nothing
            if received is None:
                return
            message, descriptors = received
            if isinstance(message, handover.No):
                raise HandoverError(f"process {self.pid} does not hand over: {message.why}")
            if isinstance(message, handover.Yours) and len(descriptors) == 1 and self.stage is Stage.COMMITTED:
                self.lock = ServerLock.given(self._folder, descriptors[0])
                self._enter(Stage.RESTORING)

    def _look_at_book(self, standby: Child | None) -> None:
        if standby is None or standby.killed:
            raise HandoverError("the process that loaded the book has died")
        if standby.state == BOOKLESS:
            raise HandoverError(
                "the book or its key cannot be loaded. See the lines before this one for the cause."
            )
        if standby.state == LOADED:
            self._enter(Stage.COMMITTED)
            self._peer.silent = 0.0
            self._peer.send(handover.Commit())

    def _take_lock(self) -> None:
        """Take the lock of an old server that died. Raise HandoverError if another server has taken it."""
        try:
            self.lock = ServerLock.take(self._folder)
        except InUseError as error:
            if time.monotonic() - self._since > LOCK_SECONDS:
                raise HandoverError(f"process {self.pid} ended, and {error}") from error
        else:
            self._end()

    def _enter(self, stage: Stage) -> None:
        self.stage, self._since = stage, time.monotonic()

    def _end(self) -> None:
        self._peer.close()
        self._enter(Stage.OVER)
