"""The order in which the requests of one connection are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from identengine.loadgen.pattern import Pattern

Message: TypeAlias = tuple[int, int]
"""The index of a line of the mix, and the pass of the call."""


class Source:
    """The messages of one connection, in order: passes ``first``, ``first + step``, … through the mix.

    All messages of a call come from one source, which keeps their order. A line that is K passes late is left out
    of the first K passes. Additional passes at the end send it for the calls that have begun.
    """

    def __init__(self, patterns: Sequence[Pattern], first: int, step: int, passes: int | None) -> None:
        self._lines = [(index, -(-pattern.behind // step)) for index, pattern in enumerate(patterns)]
        self._first = first
        self._step = step
        self._passes = passes
        self._at = 0

    def finish(self) -> None:
        """Start no more passes."""
        self._passes = self._at + 1 if self._passes is None else min(self._passes, self._at + 1)

    def __iter__(self) -> Iterator[Message]:
        """Yield the index of the line and the pass of the call, for each message."""
        most = max(behind for _, behind in self._lines)
        while self._passes is None or self._at < self._passes + most:
            for index, behind in self._lines:
                begun = self._at - behind
                if begun >= 0 and (self._passes is None or begun < self._passes):
                    yield index, self._first + begun * self._step
            self._at += 1


class Order(Protocol):
    """The messages of one connection, one after another."""

    def next(self) -> Message | None:
        """Return the next message, or None if no message may be sent now."""

    def done(self, n: int) -> None:
        """Note that the message of pass ``n`` that was sent is answered or lost."""

    @property
    def finished(self) -> bool:
        """True if ``next`` has returned all messages."""


class AsWritten:
    """The order of the source. The server decides the requests of a connection in this order."""

    def __init__(self, source: Source) -> None:
        self.finished = False
        self._messages = iter(source)

    def next(self) -> Message | None:
        """Return the next message, or None after the last one."""
        message = next(self._messages, None)
        self.finished = message is None
        return message

    def done(self, n: int) -> None:
        """Do nothing, since no message waits for the answer to another one."""


class OneOfACall:
    """An order with at most one message of each pass in flight, for servers that may overtake requests.

    RADIUS has a port for authorizations and another one for accounting. A stop that arrives with its authorization
    could be decided first, and the slot would never be freed. Messages of other passes are sent meanwhile.
    """

    def __init__(self, source: Source) -> None:
        self._messages = iter(source)
        self._held: dict[int, deque[int]] = {}
        """Lines that wait, by the pass that has a message in flight."""
        self._ready: deque[Message] = deque()
        self._waiting = 0
        """Number of messages that are held or ready."""
        self._exhausted = False

    def next(self) -> Message | None:
        """Return the next message, or None if each message waits for the answer to another one."""
        if self._ready:
            self._waiting -= 1
            return self._ready.popleft()
        for index, n in self._messages:
            held = self._held.get(n)
            if held is None:
                self._held[n] = deque()
                return index, n
            held.append(index)
            self._waiting += 1
        self._exhausted = True
        return None

    def done(self, n: int) -> None:
        """Let the next message of the pass follow."""
        held = self._held[n]
        if held:
            self._ready.append((held.popleft(), n))
        else:
            del self._held[n]

    @property
    def finished(self) -> bool:
        """True if ``next`` has returned all messages."""
        return self._exhausted and not self._waiting
