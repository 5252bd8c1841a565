"""Reports on the process that decides: its counters and gauges, its alarms, and the answer to ``status``.

The counters are in a file that outlives the process (:mod:`identengine.stats.file`). :meth:`Reporter.note` copies
figures that other modules count into that file, a few times a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from identengine.calls.mirror import MirrorFile
from identengine.calls.overview import (
    Gauges,
    Overview,
)
from identengine.engine.core import Engine
from identengine.errors import quoted
from identengine.log import handlers
from identengine.log.event import Event
from identengine.log.events import CALLS_ENDED, CALLS_FILE_FULL, CALLS_FULL, CALLS_ROOM_AGAIN
from identengine.model.records import Interface
from identengine.stats.file import WRITE_SECONDS, CounterFile, Tables
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.malformed import MalformedCounts
from identengine.stats.registry import CONNECTED
from identengine.stats.tally import KEEP, Tally
from identengine.wire.operator import Ending, Status, Unready
from identengine.wire.program import PROGRAM

RELIEVED = 0.9
"""Fill level, as a share of ``max_legs``, at which a set that was full counts as relieved."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BookStatus(Protocol):
    """The state of the book as its follower reports it."""

    loads: int
    loaded_at: float
    load_seconds: float
    load_pause: float

    @property
    def alarm(self) -> str | None:
        """Text of the current alarm about the newest version, or None."""

    @property
    def unusable(self) -> bool:
        """True if the newest version cannot be loaded."""

    @property
    def created_at(self) -> float:
        """Creation time of the version in use, in Unix seconds; 0 if there is no book."""


class RecordStatus(Protocol):
    """The state of the record of decisions."""

    alarm: str | None
    """Text of the current alarm, or None."""

    @property
    def written(self) -> int:
        """Number of decisions that were written."""

    @property
    def lost(self) -> int:
        """Number of decisions that could not be written."""

    def report(self) -> None:
        """Log the beginning and the end of an alarm."""


class Reporter:
    """Reports on one decider."""

    def __init__(
        self,
        calls: Overview,
        journal: MirrorFile,
        counters: CounterFile,
        engine: Engine,
        book: BookStatus,
        record: RecordStatus,
    ) -> None:
        tables = counters.tables()
        addresses, malformed = HeavyHitters(KEEP, tables.addresses), MalformedCounts(tables.malformed)
        self.tally = Tally(counters.cells, addresses, malformed, tables.rejected)
        self._calls = calls
        self._journal = journal
        self._counters = counters
        self._engine = engine
        self._book = book
        self._record = record
        self._began = time.monotonic()
        self._addresses_written = 0.0
        self._refused = 0
        self._full = False
        self.tally.add("deciders_started")
        self.tally.gauge("started", int(time.time()))
        self.tally.gauge("pid", os.getpid())
        self.tally.gauge("max_legs", calls.gauges().max_legs)
        for interface in CONNECTED:  # the connections of the last process closed with it
            self.tally.gauge(f"connections_{interface}", 0)

    def note(self, now: float, unsent: int, connections: Mapping[Interface, int], *, last: bool = False) -> None:
        """Write the current figures. With ``last``, also write those that are written only once in a while.

        ``unsent`` counts the answers that the system has not accepted since the process started. ``connections``
        counts the open connections of each interface.
        """
        tally, calls, book = self.tally, self._calls.gauges(), self._engine.book
        tally.total("lapsed_reserved", calls.lapsed_reserved)
        tally.total("lapsed_active", calls.lapsed_active)
        tally.total("retransmissions", calls.retransmitted)
        tally.total("answers_unsent", unsent)
        tally.gauge("held", calls.held)
        tally.gauge("reserved", calls.reserved)
        tally.gauge("active", calls.held - calls.reserved)
        tally.gauge("remembered", calls.lapsed)
        for interface, count in connections.items():
            tally.gauge(f"connections_{interface}", count)
        tally.total("faults", self._engine.faults.total)
        self._note_book(book.version if book else 0)
        tally.gauge("noted", int(time.time()))
        if last or now - self._addresses_written >= WRITE_SECONDS:
            self._addresses_written = now
            if self._counters.lost():
                self.tally.use(self._counters.renew())
            addresses, malformed = tally.addresses.counts(), tally.malformed_counts.counts()
            self._counters.write_tables(Tables(addresses, malformed, tally.rejected))
            tally.gauge("mirror_used_bytes", self._journal.used())
            tally.gauge("mirror_bytes", self._journal.size)
            tally.gauge("resident_bytes", _resident())
            tally.total("cpu_microseconds", int(time.process_time() * 1e6))
            tally.total("log_lines_dropped", handlers.dropped())
        tally.total("decisions_recorded", self._record.written)
        tally.total("decisions_unrecorded", self._record.lost)
        self._record.report()
        self._report_room(calls)

    def _note_book(self, version: int) -> None:
        tally, book = self.tally, self._book
        tally.gauge("book_version", version)
        tally.total("book_loads", book.loads)
        tally.gauge("book_made", int(book.created_at))
        tally.gauge("book_taken_up", int(book.loaded_at))
        tally.gauge("book_load_microseconds", int(book.load_seconds * 1e6))
        tally.gauge("book_pause_microseconds", int(book.load_pause * 1e6))

    def status(self) -> Status:
        """Return the status of the server."""
        book, calls = self._engine.book, self._calls.gauges()
        alarms: list[str] = []
        unready: list[Unready] = []
        if self._full:
            unready.append("the set of calls is full")
            alarm, fields = self._why_full(calls)
            alarms.append(alarm.said(**fields))
        if (lost := self._journal.trouble) is not None:
            alarms.append(lost)
        if book is None:
            unready.append("no book")
            alarms.append("no book is loaded: calls are rejected as not_ready. See the log for the cause.")
        elif (trouble := self._book.alarm) is not None:
            alarms.append(trouble)
            if self._book.unusable:
                unready.append("the store cannot be read")
        if self._record.alarm is not None:
            alarms.append(self._record.alarm)
        return Status(
            program=PROGRAM,
            pid=os.getpid(),
            uptime=round(time.monotonic() - self._began, 1),
            version=book.version if book else None,
            accounts=len(book.accounts) if book else 0,
            held=calls.held,
            lapsed=calls.lapsed,
            max_legs=calls.max_legs,
            global_capacity=calls.global_capacity,
            alarms=tuple(alarms),
            unready=tuple(unready),
        )

    def ended(self, legs: list[Ending], freed: int) -> None:
        """Count and log the legs that an operator ended, and the number of slots that were freed."""
        self.tally.add("freed_by_operator", freed)
        more = f" and {len(legs) - 3} more" if len(legs) > 3 else ""
        CALLS_ENDED.tell(calls=", ".join(quoted(leg.call_id) for leg in legs[:3]) + more, freed=freed)

    def _report_room(self, calls: Gauges) -> None:
        """Log once that the set of calls is full, and once that it has room again (engine.md 5.8)."""
        refused, self._refused = calls.turned_away - self._refused, calls.turned_away
        if not self._full and (refused or calls.overfull):
            self._full = True
            alarm, fields = self._why_full(calls)
            alarm.tell(**fields)
        elif self._full and not calls.overfull and calls.held <= RELIEVED * calls.max_legs:
            self._full = False
            CALLS_ROOM_AGAIN.tell()

    def _why_full(self, calls: Gauges) -> tuple[Event, dict[str, str | int]]:
        if calls.overfull:
            return CALLS_FILE_FULL, {"path": str(self._journal.path)}
        return CALLS_FULL, {"max_legs": calls.max_legs}


def _resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
