"""How the server is, for readiness and metrics: asked at the decider's control socket, once a second at most.

So nobody who asks for it over HTTP, however often, makes the decider work more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar, cast

import msgspec

from identengine.net.operator import FILE
from identengine.net.unix import at_folder
from identengine.stats.metrics import MOST_ROWS
from identengine.wire import operator
from identengine.wire.operator import Counted, Noted, Status, Usage, Use

FRESH = 1.0
"""Seconds that an answer is good for."""
PATIENCE = 2.0
"""Seconds that all that is asked at once may take; what is known of the fullest by then is shown."""
_MOST_BYTES = 1 << 20

R = TypeVar("R", Status, Usage, Noted)
T = TypeVar("T")


class Readiness(msgspec.Struct, frozen=True):
    """Whether calls should be sent here; if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()


class Everything(NamedTuple):
    """How the server is; None and nothing where nobody answers."""

    status: Status | None = None
    accounts: tuple[Use, ...] = ()
    """The fullest."""
    clients: tuple[Use, ...] = ()


class StatusCache:
    """Asks at the control socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self.draining = False
        """Whether the server was told to end."""
        self._folder = folder
        self._status = _Remembered(self._ask_status)
        self._everything = _Remembered(self._ask_everything)

    async def everything(self) -> Everything:
        """Return how the server is, and whose limits are fullest."""
        return await self._everything.get()

    async def readiness(self) -> Readiness:
        """Return whether the book is loaded, calls are open and kept, the store is well and nothing ends.

        Anybody may ask, so the reasons are fixed words; the alarms, with their paths and commands, are in the log.
        """
        reasons: list[str] = ["the server is ending"] if self.draining else []
        status = await self._status.get()
        if status is None:
            reasons.append("the process that decides does not answer")
        else:
            reasons += status.unready
        return Readiness(not reasons, tuple(reasons))

    async def count(
        self, counts: Mapping[Counted, int], malformed: Iterable[operator.MalformedCount] = ()
    ) -> bool:
        """Have this counted; returns whether it was. What was not answered in time may be, though."""
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE), self._connected() as decider:
                await decider.ask(operator.CountRequest(dict(counts), tuple(malformed)), Noted)
                return True
        return False

    async def _ask_status(self) -> Status | None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE), self._connected() as decider:
                return await decider.ask(operator.StatusRequest(), Status)
        return None

    async def _ask_everything(self) -> Everything:
        found = Everything()
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE), self._connected() as decider:
                found = Everything(await decider.ask(operator.StatusRequest(), Status))
                async for accounts in decider.fullest("accounts"):
                    found = found._replace(accounts=accounts)
                async for clients in decider.fullest("clients"):
                    found = found._replace(clients=clients)
        return found

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_OperatorConnection]:
        with at_folder(self._folder, FILE) as name:
            reader, writer = await asyncio.open_unix_connection(name, limit=_MOST_BYTES)
        try:
            yield _OperatorConnection(reader, writer)
        finally:
            writer.close()


class _OperatorConnection(NamedTuple):
    """A connection to the control socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, ask: operator.OperatorRequest, wanted: type[R]) -> R:
        """Return the answer. Raises OSError, or ValueError where it is another one."""
        self.writer.write(operator.line(ask))
        reply = operator.read_reply(await self.reader.readline())
        if not isinstance(reply, wanted):
            raise ValueError(f"{type(reply).__name__} is no answer")  # noqa: TRY004 - what a peer says is no type
        return reply

    async def fullest(self, of: Literal["accounts", "clients"]) -> AsyncIterator[tuple[Use, ...]]:
        """Yield the fullest of what was looked at so far, page by page."""
        cursor: int | None = 0
        rows: list[Use] = []
        while cursor is not None:
            page = await self.ask(operator.UsageRequest(of, cursor, MOST_ROWS), Usage)
            rows = heapq.nsmallest(MOST_ROWS, [*rows, *page.rows], key=attrgetter("rank"))
            cursor = page.cursor
            yield tuple(rows)


class _Remembered(Generic[T]):
    """An answer that is asked for anew when it is older than :data:`FRESH`; once, however many want it."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._one = asyncio.Lock()
        self._answer: T | None = None
        self._asked = float("-inf")

    async def get(self) -> T:
        """Return it."""
        loop = asyncio.get_running_loop()
        async with self._one:
            if loop.time() - self._asked >= FRESH:
                self._answer = await self._ask()
                self._asked = loop.time()
            return cast("T", self._answer)
