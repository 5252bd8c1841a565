"""The old side of a take-over: whoever asks is told what there is, and watched until it decides or fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from identengine.log.events import NEWCOMER
from identengine.net.sockets import NamedSocket
from identengine.server.supervisor import handover
from identengine.server.supervisor.children import HANG_SECONDS
from identengine.server.supervisor.handover import HandoverSocket, OtherServer
from identengine.server.supervisor.processes import Watched

LOAD_SECONDS = 900.0
"""How long a new program may load its book."""
SILENT_SECONDS = 30.0
"""How long it may be silent meanwhile, when nothing hangs on it."""


class Step(Enum):
    """What a look at the one that takes over may find."""

    COMMIT = auto()
    """It can decide: hand over."""
    DONE = auto()
    """It decides."""
    FAILED = auto()
    """It does not take over; :attr:`OutgoingTakeover.why`."""


class OutgoingTakeover:
    """Lets one server at a time take over."""

    def __init__(self, folder: Path) -> None:
        """Listen in the folder of the set of calls, whose lock we hold; raises StoreError."""
        self._handover_socket = HandoverSocket(folder)
        self._peer: OtherServer | None = None
        self._process: Watched | None = None
        """Whoever is at the other end of the connection."""
        self._successor: Watched | None = None
        """Whom we started ourselves."""
        self.committed = False
        """Whether it has the lock and we wait until it decides."""
        self.why = ""

    @property
    def pid(self) -> int | None:
        """The process that takes over, if one does."""
        return self._peer.pid if self._peer is not None else None

    @property
    def awaited(self) -> bool:
        """Whether there is a take-over, or one that we asked for ourselves is to come."""
        return self._peer is not None or self._successor is not None

    def descriptors(self) -> Iterator[int]:
        """Yield what no child may keep."""
        yield self._handover_socket.fileno()
        for one in (self._peer, self._process, self._successor):
            if one is not None:
                yield one.fileno()

    def expect(self, pid: int) -> None:
        """Watch a process that we started to take over."""
        self._successor = Watched(pid)

    def look(self, passed: float, sockets: list[NamedSocket], refusal: str | None) -> Step | None:
        """Hear what there is; ``passed``: seconds since the last look; ``refusal``: why nobody may come."""
        self._receive(refusal)
        if self._peer is not None:
            return self._attend(self._peer, passed, sockets)
        if self._successor is not None and self._successor.ended():
            self._failed(
                f"the new program, process {self._successor.pid}, ended before it asked; see what it said"
            )
            return Step.FAILED
        return None

    def give(self, lock: int) -> bool:
        """Give the lock away, as a copy; returns whether there is somebody to get it."""
        assert self._peer is not None  # noqa: S101 - it has committed itself
        self._peer.silent = 0.0
        self.committed = self._peer.say(handover.Yours(), lock)
        return self.committed

    def pass_on(self, number: int) -> None:
        """Send a signal that concerns both servers to the one that takes over; it blocked them before it asked."""
        if self._process is not None:
            self._process.send(number)

    def refuse(self, why: str) -> None:
        """Let nobody take over: we are to end. Who has our lock by now is told to end as well."""
        if self._peer is not None:
            if self.committed and self._process is not None:
                self._process.send(signal.SIGTERM)
            else:
                self._peer.say(handover.No(why))
        self._forget()

    def close(self) -> None:
        """Leave: another one has taken over. Its next message comes to nobody."""
        self._forget()
        self._handover_socket.close()

    def _receive(self, refusal: str | None) -> None:
        """Let in who comes, if it is the only one."""
        newcomer = self._handover_socket.knock()
        if newcomer is None:
            return
        if self._peer is not None:
            refusal = f"process {self._peer.pid} is taking over already"
        elif self._successor is not None and newcomer.pid != self._successor.pid:
            refusal = f"process {self._successor.pid} was started to take over"
        if refusal is None:
            try:
                self._process = Watched(newcomer.pid)
            except OSError:
                refusal = "there is no such process"
        if refusal is not None:
            newcomer.say(handover.No(refusal))
            newcomer.close()
            return
        self._peer = newcomer
        NEWCOMER.tell(pid=newcomer.pid)

    def _attend(self, peer: OtherServer, passed: float, sockets: list[NamedSocket]) -> Step | None:
        peer.silent += passed
        while True:
            try:
                heard = peer.hear()
            except EOFError:
                return self._failed(f"process {peer.pid}, which was going to take over, ended")
            if heard is None:
                break
            message, descriptors = heard
            for descriptor in descriptors:
                os.close(descriptor)  # there is none that we want
            step = self._obey(peer, message, sockets)
            if step is not None:
                return step
        if self.committed and peer.silent > HANG_SECONDS:
            assert self._process is not None  # noqa: S101 - it is watched since it came
            self._process.send(signal.SIGKILL)  # it has our lock: not both of us may go on
            return self._failed(f"process {peer.pid} gave no sign of life while it took over, and was killed")
        if not self.committed:
            late = time.monotonic() - peer.since > LOAD_SECONDS
            if late or peer.silent > SILENT_SECONDS:
                return self._failed(f"process {peer.pid} was going to take over and does not get on")
        return None

    def _obey(self, peer: OtherServer, message: handover.Message, sockets: list[NamedSocket]) -> Step | None:
        if isinstance(message, handover.TakeoverRequest):
            if message.protocol != handover.PROTOCOL:
                why = f"it is asked by version {message.protocol} of the hand-over, and speaks {handover.PROTOCOL}"
                peer.say(handover.No(f"{why}: end it, and start the new one"))
                return self._failed(why)
            if not handover.offer(peer, sockets):
                return self._failed(f"process {peer.pid}, which was going to take over, ended")
        elif isinstance(message, handover.Commit) and not self.committed:
            return Step.COMMIT
        elif isinstance(message, handover.TakeoverDone) and self.committed:
            return Step.DONE
        elif isinstance(message, handover.No):
            return self._failed(f"process {peer.pid} does not take over: {message.why}")
        return None

    def _failed(self, why: str) -> Step:
        self.why = why
        self._forget()
        return Step.FAILED

    def _forget(self) -> None:
        """Deal with this one no more."""
        for one in (self._peer, self._process, self._successor):
            if one is not None:
                one.close()
        self._peer = self._process = self._successor = None
        self.committed = False
