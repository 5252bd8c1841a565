"""How the server is, for readiness and metrics: asked at the decider's control socket, once a second at most.

So nobody who asks for it over HTTP, however often, makes the decider work more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec

from identengine.net.control import FILE
from identengine.net.unix import at_folder
from identengine.wire import control
from identengine.wire.control import Status

FRESH = 1.0
"""Seconds that an answer is good for."""
PATIENCE = 2.0
_MOST_BYTES = 1 << 20


class Readiness(msgspec.Struct, frozen=True):
    """Whether calls should be sent here; if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()


class Watch:
    """Asks at the control socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self.draining = False
        """Whether the server was told to end."""
        self._folder = folder
        self._one = asyncio.Lock()
        self._status: Status | None = None
        self._asked = float("-inf")

    async def status(self) -> Status | None:
        """Return how the server is; None where nobody answers."""
        async with self._one:
            loop = asyncio.get_running_loop()
            if loop.time() - self._asked >= FRESH:
                self._status = await self._ask()
                self._asked = loop.time()
            return self._status

    async def readiness(self) -> Readiness:
        """Return whether the book is loaded, calls are open and kept, the store is well and nothing ends."""
        reasons = ["the server is ending"] if self.draining else []
        status = await self.status()
        if status is None:
            reasons.append("the process that decides does not answer; the log of the server says why")
        else:
            reasons += status.alarms  # no book, a set of calls that is full, a store that cannot be read
        return Readiness(not reasons, tuple(reasons))

    async def _ask(self) -> Status | None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE):
                with at_folder(self._folder, FILE) as name:
                    reader, writer = await asyncio.open_unix_connection(name, limit=_MOST_BYTES)
                try:
                    writer.write(control.line(control.AskStatus()))
                    reply = control.read_reply(await reader.readline())
                    return reply if isinstance(reply, Status) else None
                finally:
                    writer.close()
        return None
