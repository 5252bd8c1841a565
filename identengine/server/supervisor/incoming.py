"""The new side of a take-over: from the first copy of the sockets to the moment in which we are the server."""

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

WIDOW_SECONDS = 3.0
"""How long the lock of an old server that died is waited for."""
FAREWELL_SECONDS = 5.0
"""How long the old server may take to tell its service manager of us."""


class Stage(Enum):
    """How far it is."""

    LOADING = auto()
    """Our standby loads the book; the old one serves."""
    COMMITTED = auto()
    """We said that we can."""
    WIDOWED = auto()
    """The old one is gone before it gave us anything: its lock is to be had."""
    OURS = auto()
    """We have the lock; our decider waits for the calls, or restores them."""
    PARTING = auto()
    """Our decider decides, and the old one is on its way out."""
    OVER = auto()
    """We are the server."""


class IncomingTakeover:
    """One take-over."""

    def __init__(self, peer: OtherServer, folder: Path) -> None:
        """``peer``: the old server; ``folder``: of the set of calls."""
        self.pid = peer.pid
        """The old server's process."""
        self.stage = Stage.LOADING
        self.lock: ServerLock | None = None
        """The lock, as soon as it is ours."""
        self._peer = peer
        self._folder = folder
        self._since = time.monotonic()

    def descriptors(self) -> Iterator[int]:
        """Yield what no child may keep."""
        if self.stage is not Stage.OVER:
            yield self._peer.fileno()

    def look(self, passed: float, standby: Child | None, decider: Child | None) -> None:
        """Go on as far as can be; raises HandoverError where it has failed, and the old one goes on."""
        self._peer.silent += passed
        if self.stage is not Stage.WIDOWED:
            self._peer.alive()
            self._hear()
        if self.stage is Stage.LOADING:
            self._look_at_book(standby)
        elif self.stage is Stage.COMMITTED and self._peer.silent > HANG_SECONDS:
            raise HandoverError(f"process {self.pid} does not hand over: it hangs or is stopped")
        elif self.stage is Stage.WIDOWED:
            self._inherit()
        elif self.stage is Stage.OURS and decider is not None and decider.state in (LISTENING, READY):
            self._enter(Stage.PARTING)
            self._peer.say(handover.TakeoverDone())
        elif self.stage is Stage.PARTING and time.monotonic() - self._since > FAREWELL_SECONDS:
            self._end()

    def give_up(self, why: str) -> None:
        """Tell the old one that it stays the server, if that was not over yet."""
        if self.stage is Stage.OVER:
            return
        self._peer.say(handover.No(why))
        self._end()

    def _hear(self) -> None:
        while self.stage not in (Stage.WIDOWED, Stage.OVER):
            try:
                heard = self._peer.hear()
            except EOFError:
                if self.stage in (Stage.LOADING, Stage.COMMITTED):
                    self._enter(Stage.WIDOWED)
                elif self.stage is Stage.PARTING:
                    self._end()
                return  # where we have the lock already, its death changes nothing
            if heard is None:
                return
            message, descriptors = heard
            if isinstance(message, handover.No):
                raise HandoverError(f"process {self.pid} does not hand over: {message.why}")
            if isinstance(message, handover.Yours) and len(descriptors) == 1 and self.stage is Stage.COMMITTED:
                self.lock = ServerLock.given(self._folder, descriptors[0])
                self._enter(Stage.OURS)

    def _look_at_book(self, standby: Child | None) -> None:
        if standby is None or standby.killed:
            raise HandoverError("the process that loaded the book has died")
        if standby.state == BOOKLESS:
            raise HandoverError("the book or its key cannot be loaded; why, is said above")
        if standby.state == LOADED:
            self._enter(Stage.COMMITTED)
            self._peer.silent = 0.0
            self._peer.say(handover.Commit())

    def _inherit(self) -> None:
        """Take the lock of an old server that is gone; if another has it, that one serves."""
        try:
            self.lock = ServerLock.take(self._folder)
        except InUseError as error:
            if time.monotonic() - self._since > WIDOW_SECONDS:
                raise HandoverError(f"process {self.pid} broke off, and {error}") from error
        else:
            self._end()

    def _enter(self, stage: Stage) -> None:
        self.stage, self._since = stage, time.monotonic()

    def _end(self) -> None:
        self._peer.close()
        self._enter(Stage.OVER)
