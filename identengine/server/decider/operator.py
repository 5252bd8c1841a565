"""Answers the commands of operators about the set of calls (:mod:`identengine.wire.operator`).

It does no I/O. Rule: each answer is one step of about a millisecond, independent of the number
of calls: a page of legs, a page of counters, or a few stops. No command touches the set itself. A call is ended by
the same message that its switch would have sent.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Literal, Protocol

from identengine.calls.backend import LegFilter, LegResult, LegSelector, LegView, Overview, Stop
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, call_id_of, call_key, scope_of, shortened
from identengine.calls.levels import account_counter, account_of, client_counters, client_of
from identengine.calls.leveluse import LevelUse, LevelUses
from identengine.engine.core import Engine
from identengine.engine.lifecycle import levels_of, levels_then
from identengine.errors import expected
from identengine.identify.index import Book
from identengine.model.records import Direction
from identengine.stats.tally import Tally
from identengine.wire.operator import (
    MOST_ENDED,
    CountRequest,
    Ended,
    Ending,
    EndRequest,
    Filter,
    LegPage,
    LegRow,
    LegsRequest,
    Level,
    Levels,
    LevelsRequest,
    Noted,
    OperatorFailure,
    OperatorReply,
    OperatorRequest,
    Status,
    StatusRequest,
    Usage,
    UsageRequest,
    Use,
)

LEGS = 256
"""Number of legs that one look-up reads. It completes a row of legs, so it may read some more."""
PAGES = 8
"""Largest number of look-ups in one step. A step ends earlier if it has found :data:`LEGS` rows."""
COUNTERS = 1000
"""Counters that one step looks at."""
MOST_CLIENTS = 256
"""Largest number of clients that a request for levels names."""
MOST_ROWS = 200
"""Largest number of rows of use in one answer."""
_CURSORS = range(1 << 48)
"""Cursors that an answer can hold. There are never as many legs or counters."""

_DIRECTIONS: tuple[Literal["origination"], Literal["termination"]] = ("origination", "termination")
_STATES: dict[State, Literal["reserved", "active", "lapsed"]] = {
    RESERVED: "reserved",
    ACTIVE: "active",
    LAPSED: "lapsed",
}
_STATES_OF: dict[str, frozenset[State]] = {
    "held": frozenset((RESERVED, ACTIVE)),
    "reserved": frozenset((RESERVED,)),
    "active": frozenset((ACTIVE,)),
    "lapsed": frozenset((LAPSED,)),
    "any": frozenset((RESERVED, ACTIVE, LAPSED)),
}


class CallsOverview(Overview, LevelUses, Protocol):
    """A set of calls that reports the use of levels, too."""


class OperatorService:
    """Answers the requests of operators."""

    def __init__(
        self,
        engine: Engine,
        calls: CallsOverview,
        scopes: Callable[[], Iterable[str]],
        status: Callable[[], Status],
        on_ended: Callable[[list[Ending], int], None],
        tally: Tally | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Answer for this engine and its calls.

        ``scopes`` returns every scope that the id of a held call may have. ``on_ended`` is called with the legs
        that an operator ended and the number of freed slots. ``tally`` counts what the HTTP process reports.
        ``wall`` returns the time in Unix seconds.
        """
        self._engine = engine
        self._calls = calls
        self._scopes = scopes
        self._status = status
        self._on_ended = on_ended
        self._tally = tally
        self._wall = wall

    def answer(self, ask: OperatorRequest, now: float) -> OperatorReply:
        """Return the answer to one request; ``now`` is the time of the set's clock."""
        if isinstance(ask, StatusRequest):
            return self._status()
        if isinstance(ask, LegsRequest):
            return self._page(ask, now)
        if isinstance(ask, UsageRequest):
            return self._usage(ask)
        if isinstance(ask, CountRequest):
            if self._tally is not None:
                for name, more in ask.counts.items():
                    self._tally.add(name, more)
                for row in ask.malformed:
                    self._tally.malformed(row.switch, row.code, row.count)
            return Noted()
        if isinstance(ask, LevelsRequest):
            return self._levels(ask)
        return self._end(ask, now)

    def _page(self, ask: LegsRequest, now: float) -> OperatorReply:
        if ask.cursor not in _CURSORS:
            return OperatorFailure(f"cursor: {expected('0 or the cursor of the last answer', ask.cursor)}")
        wanted, book, wall = _leg_filter(ask.filter, now), self._engine.book, self._wall()
        name = ask.filter.account_name
        if ask.filter.call_id is not None:
            legs = self._named(ask.filter.call_id, wanted)
            return LegPage(tuple(_row(leg, book, now, wall) for leg in legs), None)
        rows: list[LegRow] = []
        cursor: int | None = ask.cursor
        for _ in range(PAGES):
            if cursor is None or len(rows) >= LEGS:
                break
            page, cursor = self._calls.page(cursor, LEGS, wanted)
            if name is not None:
                page = [leg for leg in page if _has_name(leg, name.casefold(), book)]
            rows += [_row(leg, book, now, wall) for leg in page]
        return LegPage(tuple(rows), cursor)

    def _named(self, call_id: str, wanted: LegFilter) -> list[LegView]:
        scopes = sorted(set(self._scopes())) if wanted.scope is None else [wanted.scope]
        calls = [LegSelector(call_key(one, call_id), None, None) for one in scopes]
        return [leg for call in calls for leg in self._calls.matching(call, wanted)]

    def _usage(self, ask: UsageRequest) -> OperatorReply:
        if ask.cursor not in _CURSORS or not 0 < ask.most <= MOST_ROWS:
            wrong = expected(f"a cursor of at least 0 and 1 to {MOST_ROWS} rows", (ask.cursor, ask.most))
            return OperatorFailure(f"cursor, most: {wrong}")
        counters = self._calls.usage(ask.of, ask.cursor, COUNTERS)
        if counters is None:
            return Usage((), None)
        book = self._engine.book
        use = _account_use if ask.of == "accounts" else _client_use
        rows = heapq.nsmallest(ask.most, (use(key, held, book) for key, held in counters), key=attrgetter("rank"))
        return Usage(tuple(rows), ask.cursor + COUNTERS)

    def _levels(self, ask: LevelsRequest) -> OperatorReply:
        if len(ask.client_ids) > MOST_CLIENTS:
            return OperatorFailure(
                f"client_ids: {expected(f'at most {MOST_CLIENTS} clients', len(ask.client_ids))}"
            )
        book, direction = self._engine.book, Direction(ask.direction)
        entry = book.accounts.get(ask.account_id) if book else None
        if ask.client_ids:
            counters = [number for each in ask.client_ids for number in client_counters(each, direction)]
            levels = levels_then(account_counter(ask.account_id, direction), tuple(counters), book)
        elif entry is not None:
            levels = levels_of(entry, direction)
        else:
            return OperatorFailure(f"account_id: {expected('an account of the book in use', ask.account_id)}")
        return Levels(tuple(_level(use, book) for use in self._calls.level_uses(levels)))

    def _end(self, ask: EndRequest, now: float) -> OperatorReply:
        if len(ask.legs) > MOST_ENDED:
            return OperatorFailure(f"legs: {expected(f'at most {MOST_ENDED} legs', len(ask.legs))}")
        there = [one for one in dict.fromkeys(ask.legs) if self._is_there(one)]
        answers = self._calls.apply([Stop(_exactly(one)) for one in there], now)
        freed = sum(answer.freed or 0 for answer in answers if isinstance(answer, LegResult))
        if there:
            self._on_ended(there, freed)
        return Ended(freed, len(ask.legs) - len(there))

    def _is_there(self, one: Ending) -> bool:
        return any(leg.since == one.since for leg in self._calls.matching(_exactly(one), LegFilter()))


def _exactly(one: Ending) -> LegSelector:
    """Return the selector of one leg. An empty leg id selects the leg without an id; None would select all."""
    return LegSelector(call_key(one.scope, one.call_id), Direction(one.direction), shortened(one.leg_id))


def _leg_filter(wanted: Filter, now: float) -> LegFilter:
    """Return an operator's filter as the set of calls expects it, without the call id."""
    return LegFilter(
        states=_STATES_OF[wanted.state],
        account_id=wanted.account_id,
        client_id=wanted.client_id,
        switch=wanted.switch,
        scope=wanted.scope,
        direction=None if wanted.direction is None else Direction(wanted.direction),
        leg_id=wanted.leg_id,
        number=wanted.number,
        taken_by=None if wanted.older is None else now - wanted.older,
    )


def _has_name(leg: LegView, text: str, book: Book | None) -> bool:
    """Return True if the name of the leg's account contains a text, which is in lower case."""
    entry = book.accounts.get(leg.account_id) if book else None
    return entry is not None and text in entry.account.name.casefold()


def _row(leg: LegView, book: Book | None, now: float, wall: float) -> LegRow:
    entry = book.accounts.get(leg.account_id) if book else None
    client_id = leg.client_ids[0]
    client_entry = book.clients.get(client_id) if book else None
    return LegRow(
        scope=scope_of(leg.call),
        call_id=call_id_of(leg.call),
        leg_id=leg.leg[1:],
        direction=leg.direction,
        account_id=leg.account_id,
        account_name=entry.account.name if entry else None,
        client_id=client_id,
        client_name=client_entry.client.name if client_entry else None,
        switch=leg.switch,
        state=_STATES[leg.state],
        since=leg.since,
        age=round(now - leg.since, 1),
        left=round(leg.due - now, 1),
        started=round(wall - now + leg.since, 3),
        src_number=leg.numbers.src,
        dst_number=leg.numbers.dst,
        client_ids=leg.client_ids,
    )


def _level(use: LevelUse, book: Book | None) -> Level:
    name = None
    if book is not None and use.id is not None:
        if use.level == "account":
            entry = book.accounts.get(use.id)
            name = entry.account.name if entry else None
        else:
            client = book.clients.get(use.id)
            name = client.client.name if client else None
    return Level(use.level, use.id, name, use.column, use.use, use.limit, use.full)


def _account_use(counter: int, held: int, book: Book | None) -> Use:
    account_id, direction = account_of(counter)
    way = _DIRECTIONS[direction is Direction.TERMINATION]
    entry = book.accounts.get(account_id) if book else None
    if entry is None:
        return Use(account_id, None, way, held, None)
    account = entry.account
    limit = account.orig_capacity if direction is Direction.ORIGINATION else account.term_capacity
    return Use(account_id, account.name, way, held, limit)


def _client_use(counter: int, held: int, book: Book | None) -> Use:
    client_id, direction = client_of(counter)
    way = "both" if direction is None else _DIRECTIONS[direction is Direction.TERMINATION]
    client_entry = book.clients.get(client_id) if book else None
    if client_entry is None:
        return Use(client_id, None, way, held, None)
    client = client_entry.client
    limits = {
        None: client.capacity,
        Direction.ORIGINATION: client.orig_capacity,
        Direction.TERMINATION: client.term_capacity,
    }
    return Use(client_id, client.name, way, held, limits[direction])
