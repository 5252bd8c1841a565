"""Take-overs as the supervisor sees them: the lock, and whom it goes to.

A server that starts by itself has the lock and lets one other at a time take over (:mod:`outgoing`). A server that
takes over begins without the lock (:mod:`incoming`) and is like the first once it is alone.
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
from identengine.server.supervisor.handover import HandoverError
from identengine.server.supervisor.incoming import IncomingTakeover, Stage
from identengine.server.supervisor.lock import ServerLock
from identengine.server.supervisor.outgoing import OutgoingTakeover, Step
from identengine.server.supervisor.processes import start_successor


class Outcome(Enum):
    """What ends this server."""

    FAILED = auto()
    """It could not take over: the other one goes on."""
    TAKEN_OVER = auto()
    """Another one has taken over."""


class Takeover:
    """The lock of this server, and who takes over from whom."""

    def __init__(
        self,
        folder: Path,
        children: Children,
        *,
        lock: ServerLock | None = None,
        outgoing: OutgoingTakeover | None = None,
        incoming: IncomingTakeover | None = None,
    ) -> None:
        """``folder`` is that of the set of calls. With ``incoming``, ``lock`` and ``outgoing`` come later."""
        self.lock = lock
        """The lock; None before it is ours."""
        self.gone_to: int | None = None
        """The process that has taken over."""
        self._folder = folder
        self._children = children
        self._outgoing = outgoing
        self._incoming = incoming

    @property
    def loads(self) -> bool:
        """Whether another server serves on while our standby loads its book."""
        return self._incoming is not None and self._incoming.stage is Stage.LOADING

    @property
    def decides(self) -> bool:
        """Whether the decider is to be ours: we have the lock, and gave it to nobody."""
        return self.lock is not None and self.heir is None

    @property
    def heir(self) -> int | None:
        """The process that has our lock and is about to decide, if one is."""
        return self._outgoing.pid if self._outgoing is not None and self._outgoing.committed else None

    @property
    def leads(self) -> bool:
        """Whether we are the server that a service manager hears of."""
        return self._incoming is None and self.gone_to is None

    def descriptors(self) -> Iterator[int]:
        """Yield what no child may keep: what is to end with this process."""
        if self.lock is not None:
            yield self.lock.fileno()
        for one in (self._outgoing, self._incoming):
            if one is not None:
                yield from one.descriptors()

    def look(self, passed: float, sockets: list[NamedSocket], *, started: bool) -> Outcome | None:
        """Go on with a take-over, of another server or by another one; return what ends this server.

        ``passed``: seconds since the last look; ``sockets``: what another one gets; ``started``: whether a decider
        of ours has listened.
        """
        if self._incoming is not None:
            return self._take(self._incoming, passed)
        if self._outgoing is None:
            return None
        refusal = None if started else "it is still starting; try again when it is READY"
        if self._children.get(Role.LEAVING) is not None and not self._outgoing.committed:
            refusal = "the last take-over is not over yet; try again in a moment"
        step = self._outgoing.look(passed, sockets, refusal)
        if step is Step.COMMIT:
            self._hand_over(self._outgoing)
        elif step is Step.DONE:
            return self._go(self._outgoing)
        elif step is Step.FAILED:
            self.go_on(self._outgoing.why)
        return None

    def refuse(self, why: str) -> None:
        """Let nobody take over, and take over from nobody: this server is to end."""
        if self._outgoing is not None:
            self._outgoing.refuse(why)
        if self._incoming is not None and self.lock is None:
            self._incoming.give_up(why)

    def pass_on(self, number: int) -> None:
        """Send a signal that we obeyed to the process that takes over from us, if one does."""
        if self._outgoing is not None:
            self._outgoing.pass_on(number)

    def start_successor(self, mask: Iterable[int], *, started: bool) -> None:
        """Start the program as it is installed now, to take over from us. ``mask``: the signals that it blocks."""
        if self._outgoing is None or self._incoming is not None or self._outgoing.awaited or not started:
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

    def go_on(self, why: str) -> None:
        """Stay the server."""
        if self.lock is not None:
            with contextlib.suppress(OSError):  # no room; the lock is ours all the same, whoever it names
                self.lock.name_us()
        HAND_OVER_FAILED.tell(why=why)

    def close(self) -> None:
        """Let the other server know that it is alone from now on."""
        if self._outgoing is not None:
            self._outgoing.close()

    def release(self) -> None:
        """Say that all ended in order, where the lock is ours."""
        if self.lock is not None:
            self.lock.release()

    def _take(self, incoming: IncomingTakeover, passed: float) -> Outcome | None:
        try:
            incoming.look(passed, self._children.get(Role.STANDBY), self._children.get(Role.DECIDER))
            if self.lock is None and incoming.lock is not None:
                self.lock = incoming.lock
                self._children.take_over()  # at once: nobody decides now
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
        """Let go of lock and calls for another server. What we need to go on stays until it decides."""
        if self.lock is None or not outgoing.give(self.lock.fileno()):
            return  # its end is heard with the next look
        HANDING_OVER.tell(pid=outgoing.pid)
        decider = self._children.get(Role.DECIDER)
        if decider is not None:
            decider.tell(HAND_OVER)
            decider.leaving = 0.0
            self._children.promote(Role.DECIDER, Role.LEAVING)

    def _go(self, outgoing: OutgoingTakeover) -> Outcome:
        """Note that another one is the server now; it waits for :meth:`close`."""
        assert outgoing.pid is not None  # noqa: S101 - it has just said that it decides
        TAKEN_OVER.tell(pid=outgoing.pid)
        self.gone_to = outgoing.pid
        return Outcome.TAKEN_OVER
