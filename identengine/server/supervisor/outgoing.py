"""The old side of a take-over (:mod:`identengine.server.supervisor.handover`): it serves one new server at a time.

Rule: this server keeps all that it needs to continue until the new server decides.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from identengine.calls.journalfile import FORMAT
from identengine.errors import sentences
from identengine.log.events import NEWCOMER
from identengine.net.sockets import NamedSocket
from identengine.server.supervisor import handover
from identengine.server.supervisor.children import HANG_SECONDS
from identengine.server.supervisor.handover import HandoverSocket, OtherServer, TakeoverRequest
from identengine.server.supervisor.lock import PROTOCOL
from identengine.server.supervisor.processes import Watched

LOAD_SECONDS = 900.0
"""Longest time in which a new server may load its book, in seconds."""
SILENT_SECONDS = 30.0
"""Longest silence while the new server loads its book, in seconds. No call depends on it yet."""


class Step(Enum):
    """The next step of a hand-over."""

    COMMIT = auto()
    """The new server can decide: the lock and the calls must be handed over."""
    DONE = auto()
    """The new server decides."""
    FAILED = auto()
    """The new server does not take over. The reason is :attr:`OutgoingTakeover.why`."""


class OutgoingTakeover:
    """Accepts servers that want to take over, one at a time."""

    def __init__(self, folder: Path) -> None:
        """Listen in the folder of the set of calls, whose lock must be held. Raise StoreError on failure."""
        self._folder = folder
        self._handover_socket = HandoverSocket(folder)
        self._peer: OtherServer | None = None
        self._process: Watched | None = None
        """The process of the peer."""
        self._successor: Watched | None = None
        """The process that SIGUSR2 started, until it connects."""
        self.committed = False
        """True if the new server has the lock and is about to decide."""
        self.why = ""
        """Reason of the last failure."""

    @property
    def pid(self) -> int | None:
        """Process of the new server, or None."""
        return self._peer.pid if self._peer is not None else None

    @property
    def busy(self) -> bool:
        """True during a take-over, and while a successor that SIGUSR2 started has not connected yet."""
        return self._peer is not None or self._successor is not None

    def descriptors(self) -> Iterator[int]:
        """Yield the descriptors that no child may keep."""
        yield self._handover_socket.fileno()
        for one in (self._peer, self._process, self._successor):
            if one is not None:
                yield one.fileno()

    def expect(self, pid: int) -> None:
        """Expect a connection of this process, which was started to take over."""
        self._successor = Watched(pid)

    def advance(self, passed: float, sockets: list[NamedSocket], refusal: str | None) -> Step | None:
        """Read new connections and messages. Return the next step, or None.

        ``passed`` is the time since the last call, in seconds. ``sockets`` are those that a new server gets.
        ``refusal`` is the reason why no server may take over now, or None.
        """
        self._accept(refusal)
        if self._peer is not None:
            return self._read_messages(self._peer, passed, sockets)
        if self._successor is not None and self._successor.ended():
            self._failed(
                f"the new program, process {self._successor.pid}, exited before it asked to take over. See its "
                "output."
            )
            return Step.FAILED
        return None

    def hand_over(self, lock: int) -> bool:
        """Send the new server a copy of the lock. Return False if it has closed the connection."""
        assert self._peer is not None  # noqa: S101 - it has sent Commit
        self._peer.silent = 0.0
        self.committed = self._peer.send(handover.Yours(), lock)
        return self.committed

    def pass_on(self, number: int) -> None:
        """Send a signal to the new server, too. It blocked the signals before it connected."""
        if self._process is not None:
            self._process.send(number)

    def refuse(self, why: str) -> None:
        """Cancel the take-over, since this server is about to stop. Stop a new server that has the lock, too."""
        if self._peer is not None:
            if self.committed and self._process is not None:
                self._process.send(signal.SIGTERM)
            else:
                self._peer.send(handover.No(why))
        self._forget()

    def lost(self) -> bool:
        """Return True if no new server can connect by the path. Raise OSError if the folder cannot be examined."""
        return self._handover_socket.lost()

    def listen_again(self) -> None:
        """Listen on a new socket at the path. Raise StoreError on failure."""
        new = HandoverSocket(self._folder)
        self._handover_socket.close()
        self._handover_socket = new

    def close(self) -> None:
        """Stop listening and close the connection: the new server has taken over."""
        self._forget()
        self._handover_socket.close()

    def _accept(self, refusal: str | None) -> None:
        """Accept the next connection, or send the reason why it is refused."""
        newcomer = self._handover_socket.accept()
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
            newcomer.send(handover.No(refusal))
            newcomer.close()
            return
        self._peer = newcomer
        NEWCOMER.tell(pid=newcomer.pid)

    def _read_messages(self, peer: OtherServer, passed: float, sockets: list[NamedSocket]) -> Step | None:
        peer.silent += passed
        while True:
            try:
                received = peer.receive()
            except EOFError:
                return self._failed(f"process {peer.pid} ended before it had taken over")
            if received is None:
                break
            message, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)  # no message of the new server carries one
            step = self._on_message(peer, message, sockets)
            if step is not None:
                return step
        if self.committed and peer.silent > HANG_SECONDS:
            assert self._process is not None  # noqa: S101 - it is watched from its connection on
            self._process.send(signal.SIGKILL)  # it has the lock, and two deciders must never run
            return self._failed(f"process {peer.pid} sent no sign of life during the take-over and was killed")
        if not self.committed:
            late = time.monotonic() - peer.since > LOAD_SECONDS
            if late or peer.silent > SILENT_SECONDS:
                return self._failed(f"process {peer.pid} made no progress with the take-over")
        return None

    def _on_message(self, peer: OtherServer, message: handover.Message, sockets: list[NamedSocket]) -> Step | None:
        if isinstance(message, handover.TakeoverRequest):
            why = _refusal(message)
            if why is not None:
                peer.send(handover.No(sentences(why, handover.OTHER_FORMAT)))
                return self._failed(f"process {peer.pid} does not fit: {why}")
            if not handover.offer(peer, sockets):
                return self._failed(f"process {peer.pid} ended before it had taken over")
        elif isinstance(message, handover.Commit) and not self.committed:
            return Step.COMMIT
        elif isinstance(message, handover.TakeoverDone) and self.committed:
            return Step.DONE
        elif isinstance(message, handover.No):
            return self._failed(f"process {peer.pid} cancelled the take-over: {message.why}")
        return None

    def _failed(self, why: str) -> Step:
        self.why = why
        self._forget()
        return Step.FAILED

    def _forget(self) -> None:
        """Close the connection to the new server and forget it."""
        for one in (self._peer, self._process, self._successor):
            if one is not None:
                one.close()
        self._peer = self._process = self._successor = None
        self.committed = False


def _refusal(asked: TakeoverRequest) -> str | None:
    """Return the reason why the new server's program does not fit this one, or None if it does."""
    if asked.protocol != PROTOCOL:
        return f"expected version {PROTOCOL} of the hand-over protocol, got {asked.protocol}"
    if FORMAT not in asked.reads:
        reads = ", ".join(map(str, asked.reads))
        return f"the set of calls is of format {FORMAT}; the new program reads the formats {reads}"
    return None
