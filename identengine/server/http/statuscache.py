"""The state of the server, for readiness and metrics.

It is read from the decider's control socket at most once a second, so frequent HTTP requests cost the decider
nothing.
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
from identengine.net.unix import at_folder, peer_of
from identengine.stats.metrics import MOST_ROWS
from identengine.wire import operator
from identengine.wire.operator import Counted, Noted, Status, Usage, Use

FRESH = 1.0
"""The time for which an answer is reused, in seconds."""
PATIENCE = 2.0
"""The time limit of one refresh, in seconds. Afterwards the rows that have arrived are shown."""
_MOST_BYTES = 1 << 20

R = TypeVar("R", Status, Usage, Noted)
T = TypeVar("T")


class Health(msgspec.Struct, frozen=True):
    """The answer of the HTTP process itself."""

    alive: bool = True
    """Always true."""


class Readiness(msgspec.Struct, frozen=True):
    """The readiness of the server for calls."""

    ready: bool
    """True if calls may be sent to this server."""
    reasons: tuple[str, ...] = ()
    """Reasons why the server is not ready; empty if it is."""


class Everything(NamedTuple):
    """The state of the server and its use. It is empty if the decider does not answer."""

    status: Status | None = None
    accounts: tuple[Use, ...] = ()
    """Accounts that are nearest to their limits."""
    clients: tuple[Use, ...] = ()
    """Clients that are nearest to their limits."""


class StatusCache:
    """A cache of the answers of the control socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self.draining = False
        """True if the server is stopping."""
        self._folder = folder
        self._status = _Remembered(self._ask_status)
        self._everything = _Remembered(self._ask_everything)

    async def everything(self) -> Everything:
        """Return the state of the server, with the accounts and clients that are nearest to their limits."""
        return await self._everything.get()

    async def readiness(self) -> Readiness:
        """Return whether calls may be sent here, and the reasons if they may not.

        Clients need no token for this, so the reasons are fixed words. The alarms, with paths and commands, are in
        the log.
        """
        reasons: list[str] = ["the server is stopping"] if self.draining else []
        status = await self._status.get()
        if status is None:
            reasons.append(self._why_unanswered())
        else:
            reasons += status.unready
        return Readiness(not reasons, tuple(reasons))

    def _why_unanswered(self) -> str:
        """Return the reason why there is no status: the socket is missing, or its reader does not answer."""
        try:
            (self._folder / FILE).lstat()
        except OSError:
            return "the folder of the set of calls has no control socket"
        return "the decider does not answer"

    async def count(
        self, counts: Mapping[Counted, int], malformed: Iterable[operator.MalformedCount] = ()
    ) -> bool:
        """Add to the decider's counters. Return True if the decider confirmed it in time."""
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
            peer_of(writer.get_extra_info("socket")).require_server(self._folder)
            yield _OperatorConnection(reader, writer)
        finally:
            writer.close()


class _OperatorConnection(NamedTuple):
    """A connection to the decider's control socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, ask: operator.OperatorRequest, wanted: type[R]) -> R:
        """Return the answer.

        Raise OSError if the connection fails, and ValueError if the answer is of another type.
        """
        self.writer.write(operator.line(ask))
        reply = operator.read_reply(await self.reader.readline())
        if not isinstance(reply, wanted):
            raise ValueError(f"unexpected answer: {type(reply).__name__}")  # noqa: TRY004 - an answer, not an argument
        return reply

    async def fullest(self, of: Literal["accounts", "clients"]) -> AsyncIterator[tuple[Use, ...]]:
        """Yield, after each page, the rows so far that are nearest to their limits."""
        cursor: int | None = 0
        rows: list[Use] = []
        while cursor is not None:
            page = await self.ask(operator.UsageRequest(of, cursor, MOST_ROWS), Usage)
            rows = heapq.nsmallest(MOST_ROWS, [*rows, *page.rows], key=attrgetter("rank"))
            cursor = page.cursor
            yield tuple(rows)


class _Remembered(Generic[T]):
    """An answer that is refreshed when it is older than :data:`FRESH`. Concurrent callers share one refresh."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._one = asyncio.Lock()
        self._answer: T | None = None
        self._asked = float("-inf")

    async def get(self) -> T:
        """Return the answer, refreshed if necessary."""
        loop = asyncio.get_running_loop()
        async with self._one:
            if loop.time() - self._asked >= FRESH:
                self._answer = await self._ask()
                self._asked = loop.time()
            return cast("T", self._answer)
