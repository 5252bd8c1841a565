"""The batches of the engine, which the responders of all protocols share. No I/O.

Messages of several protocols that arrive together are one batch: one reading of the clock, one transaction. A
responder joins a batch with its first message. Rule: a responder that has not joined costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from identengine.engine.core import Engine
from identengine.engine.requests import RolledBack


class Participant(Protocol):
    """A responder that has messages in a batch."""

    def complete(self, rolled_back: RolledBack | None) -> None:
        """Complete the answers of the batch, and forget the batch.

        ``rolled_back`` are the accepted calls that could not be stored. Their answers must be replaced.
        """


def _ignore(*_: object) -> None:
    """Do nothing: the default of a callback."""


class EngineBatches:
    """The batches of an engine (:class:`identengine.wire.responder.Batches`).

    ``uptime`` returns the seconds since the process began to serve, and ``clock`` the time of the set of calls.
    ``on_decided`` is called for each batch, with the seconds that it took and the number of its requests.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        clock: Callable[[], float] = float,
        on_decided: Callable[[float, int], None] = _ignore,
    ) -> None:
        self.is_open = False
        """True between :meth:`begin` and :meth:`end`."""
        self._engine, self._uptime, self._clock, self._on_decided = engine, uptime, clock, on_decided
        self.joined: list[Participant] = []
        """The responders that have messages in the open batch. Each adds itself once, with its first message."""
        self._began = 0.0

    def begin(self) -> None:
        """Implement :meth:`identengine.wire.responder.Batches.begin`."""
        self._began = self._uptime()
        self._engine.begin(self._clock())
        self.is_open = True

    def end(self) -> None:
        """Implement :meth:`identengine.wire.responder.Batches.end`.

        Each responder completes its answers, also after a fault of another one. Then the fault is raised.
        """
        engine = self._engine
        rolled_back: RolledBack | None = None
        failed: Exception | None = None
        try:
            try:
                rolled_back = engine.end()
            except Exception as fault:
                failed = fault
            for participant in self.joined:
                try:
                    participant.complete(rolled_back)
                except Exception as fault:  # the others must forget the batch too
                    failed = fault
            if failed is not None:
                raise failed
            requests = engine.count()
            try:
                if requests:
                    self._on_decided(self._uptime() - self._began, requests)
            except Exception as fault:  # the answers are valid even if they are not counted
                engine.faults.append(fault)
        finally:
            self.is_open = False
            self.joined.clear()
