"""The turns of connections: all connections that one poll of the loop found readable share a batch.

A connection that has complete messages waits for its turn. After the poll, all waiting connections have their
turns, one after the other. A batch is closed at :data:`BATCH` messages, which bounds its transaction. If the turns
take longer than :data:`RUN_SECONDS`, the rest waits until the loop has polled again. Rule: no answer is written
before its batch is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from identengine.wire.responder import UNBATCHED, Batches

BATCH = 64
"""Number of messages at which a batch is closed. The turn of the last connection may exceed it."""


RUN_SECONDS = 0.005
"""Time after which a run of turns gives way to the other work of the loop, datagrams for example.

The last turn may exceed it, by the time that one turn needs.
"""


class Turn(Protocol):
    """A connection that waits for its turn. A turn has two parts, for a batch is closed between them."""

    def decide(self, now: float) -> int:
        """Decide messages of the connection. Return their number. ``now`` is a time of the monotonic clock."""

    def answer(self) -> None:
        """Write the answers to these messages."""

    def abort(self) -> None:
        """Close the connection after a fault."""


class Turns:
    """The connections that wait for their turns, in the order of their reads. All listeners may share them."""

    def __init__(self, batches: Batches = UNBATCHED) -> None:
        self._batches = batches
        self._waiting: deque[Turn] = deque()
        self._scheduled = False

    def wait(self, connection: Turn) -> None:
        """Let a connection wait for a turn. It must not wait already."""
        self._waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        """Let each waiting connection have one turn, as time permits. Further messages wait for the next run."""
        last, until = self._waiting[-1], time.monotonic() + RUN_SECONDS
        try:
            while self._run_batch(last, until) and time.monotonic() < until:
                pass
        finally:
            self._scheduled = bool(self._waiting)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._run)

    def _run_batch(self, last: Turn, until: float) -> bool:
        """Decide one batch and write its answers. Return True if ``last`` still waits for its turn.

        No turn begins after ``until``, a time of the monotonic clock, except the first one.
        """
        decided: list[Turn] = []
        size, more = 0, True
        self._batches.begin()
        now = time.monotonic()
        while more and size < BATCH:
            connection = self._waiting.popleft()
            more = connection is not last
            try:
                size += connection.decide(now)
                decided.append(connection)
            except Exception as fault:  # it must close this connection only
                _fail(connection, fault)
            if time.monotonic() > until:
                break
        try:
            self._batches.end()
        except Exception as fault:  # no answer of the batch may leave
            for connection in decided:
                _fail(connection, fault)
            return more
        for connection in decided:
            try:
                connection.answer()
            except Exception as fault:
                _fail(connection, fault)
        return more


def _fail(connection: Turn, fault: Exception) -> None:
    connection.abort()
    asyncio.get_running_loop().call_exception_handler(
        {"message": "a connection was closed by a fault of the program", "exception": fault}
    )
