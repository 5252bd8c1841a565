"""How the process that decides stands: its counters and gauges, and what an operator has to be told.

Counters are in a file that outlives it (:mod:`identengine.counters`); :meth:`Reporter.note` writes what is counted
elsewhere, a few times a second.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Protocol

from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.counters import WRITE_SECONDS, CounterFile
from identengine.engine import Engine
from identengine.frequent import Frequent
from identengine.tally import KEEP, Tally
from identengine.wire.control import Ending, Status
from identengine.wire.jsonrpc import PROGRAM

RELIEVED = 0.9
"""A set that was full is well again when it is no fuller than this."""

_log = logging.getLogger("identengine")


class Troubled(Protocol):
    """Something that may be in trouble."""

    @property
    def alarm(self) -> str | None:
        """What is wrong, as long as it is."""


class Reporter:
    """Reports on one decider."""

    def __init__(
        self, calls: Calls, journal: Journal, counters: CounterFile, engine: Engine, book: Troubled
    ) -> None:
        """``book``: who sees to it that the newest version of the book is in use."""
        self.tally = Tally(counters.cells, Frequent(KEEP, counters.addresses()))
        self._calls = calls
        self._journal = journal
        self._counters = counters
        self._engine = engine
        self._book = book
        self._began = time.monotonic()
        self._addresses_written = 0.0
        self._turned_away = 0
        self._full = False
        self.tally.add("deciders_started")
        self.tally.gauge("started", int(time.time()))
        self.tally.gauge("pid", os.getpid())
        self.tally.gauge("max_legs", calls.settings.max_legs)

    def note(self, now: float, unsent: int, *, last: bool = False) -> None:
        """Write down how things are; ``unsent``: answers that the system did not take, since the process began."""
        tally, calls, book = self.tally, self._calls, self._engine.book
        tally.total("lapsed_reserved", calls.lapsed_reserved)
        tally.total("lapsed_active", calls.lapsed_active)
        tally.total("retransmissions", calls.retransmitted)
        tally.total("answers_unsent", unsent)
        tally.gauge("held", calls.held)
        tally.gauge("remembered", calls.lapsed)
        tally.gauge("book_version", book.version if book else 0)
        tally.gauge("noted", int(time.time()))
        if last or now - self._addresses_written >= WRITE_SECONDS:
            self._addresses_written = now
            self._counters.write_addresses(tally.addresses.counts())
            tally.gauge("mirror_used_bytes", self._journal.used())
            tally.gauge("mirror_bytes", self._journal.size)
        self._tell_of_room()

    def status(self) -> Status:
        """Answer how the server is."""
        book, calls, settings = self._engine.book, self._calls, self._calls.settings
        alarms = []
        if self._full:
            alarms.append(self._why_full())
        if book is None:
            alarms.append("there is no book yet: calls are rejected as not_ready; see the log")
        elif (trouble := self._book.alarm) is not None:
            alarms.append(f"book version {book.version} stays in use: {trouble}")
        return Status(
            program=PROGRAM,
            pid=os.getpid(),
            uptime=round(time.monotonic() - self._began, 1),
            version=book.version if book else None,
            accounts=len(book.bearers) if book else 0,
            held=calls.held,
            lapsed=calls.lapsed,
            max_legs=settings.max_legs,
            global_capacity=settings.global_capacity,
            alarms=tuple(alarms),
        )

    def ended(self, legs: list[Ending], freed: int) -> None:
        """Write down what an operator ended."""
        self.tally.add("freed_by_operator", freed)
        more = f" and {len(legs) - 3} more" if len(legs) > 3 else ""
        _log.info(
            "an operator ended %s%s: %d freed", ", ".join(repr(leg.call_id) for leg in legs[:3]), more, freed
        )

    def _tell_of_room(self) -> None:
        """Say once that calls are turned away for want of room, and once that it is over (engine.md 5.8)."""
        calls = self._calls
        turned_away, self._turned_away = calls.turned_away - self._turned_away, calls.turned_away
        if not self._full and (turned_away or calls.overfull):
            self._full = True
            _log.error("ALARM: %s", self._why_full())
        elif self._full and not calls.overfull and calls.held <= RELIEVED * calls.settings.max_legs:
            self._full = False
            _log.warning("the set of calls has room again: the alarm is over")

    def _why_full(self) -> str:
        most = self._calls.settings.max_legs
        if self._calls.overfull:
            return (
                f"the file {self._journal.path} that keeps the calls is full: calls are rejected as overload "
                "until some have ended; make room there, or raise [calls] max_legs, and restart"
            )
        return (
            f"the set of calls is full, all {most} places are taken: calls are rejected as overload until some "
            "have ended; see who holds them by `identengine calls`, or raise [calls] max_legs and restart"
        )
