"""Answers the commands of operators about the set of calls (:mod:`identengine.wire.operator`).

It does no I/O. Rule: each answer is one step of about a millisecond, independent of the number
of calls: a page of legs, a page of counters, or a few stops. No command touches the set itself. A call is ended by
the same message that its switch would have sent.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Literal, Protocol

from identengine.calls.backend import (
    LegResult,
    LegSelector,
    Stop,
)
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, call_id_of, call_key, scope_of, shortened
from identengine.calls.levels import account_counter, account_of, client_counters, client_of
from identengine.calls.leveluse import LevelUse, LevelUses
from identengine.calls.overview import (
    LegFilter,
    LegView,
    Overview,
)
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
    rank_of,
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
        book, wall = self._engine.book, self._wall()
        wanted = _leg_filter(ask.filter, now, book)
        if ask.filter.call_id is not None:
            legs = self._named(ask.filter.call_id, wanted)
            return LegPage(tuple(_row(leg, book, now, wall) for leg in legs), None)
        rows: list[LegRow] = []
        cursor: int | None = ask.cursor
        for _ in range(PAGES):
            if cursor is None or len(rows) >= LEGS:
                break
            page, cursor = self._calls.page(cursor, LEGS, wanted)
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
        use, limit = (_account_use, _account_limit) if ask.of == "accounts" else (_client_use, _client_limit)
        # A row costs more than its rank, and most counters get no row.
        ranked = [(rank_of(held, limit(key, book)), key, held) for key, held in counters]
        full = sum(rank[0] <= -1.0 for rank, _, _ in ranked) if ask.full else 0
        best = heapq.nsmallest(max(ask.most, full), ranked)
        rows = sorted((use(key, held, book) for _, key, held in best), key=attrgetter("rank"))
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


def _leg_filter(wanted: Filter, now: float, book: Book | None) -> LegFilter:
    """Return an operator's filter as the set of calls expects it, without the call id."""
    name = wanted.account_name
    return LegFilter(
        states=_STATES_OF[wanted.state],
        account_id=wanted.account_id,
        client_id=wanted.client_id,
        switch=wanted.switch,
        scope=wanted.scope,
        direction=None if wanted.direction is None else Direction(wanted.direction),
        leg_id=wanted.leg_id,
        number=wanted.number,
        account=None if name is None else partial(_has_name, book, name.casefold()),
        taken_by=None if wanted.older is None else now - wanted.older,
    )


def _has_name(book: Book | None, text: str, account_id: int) -> bool:
    """Return True if the name of an account contains a text, which is in lower case."""
    entry = book.accounts.get(account_id) if book else None
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
    level, number, column, used, limit, full = use
    name = None
    if book is not None and number is not None:
        if level == "account":
            entry = book.accounts.get(number)
            name = entry.account.name if entry else None
        else:
            client = book.clients.get(number)
            name = client.client.name if client else None
    return Level(level, number, name, column, used, limit, full)


def _account_use(counter: int, held: int, book: Book | None) -> Use:
    account_id, direction = account_of(counter)
    way = _DIRECTIONS[direction is Direction.TERMINATION]
    entry = book.accounts.get(account_id) if book else None
    return Use(account_id, entry.account.name if entry else None, way, held, _account_limit(counter, book))


def _account_limit(counter: int, book: Book | None) -> int | None:
    entry = book.accounts.get(counter >> 1) if book else None
    if entry is None:
        return None
    return entry.account.term_capacity if counter & 1 else entry.account.orig_capacity


def _client_use(counter: int, held: int, book: Book | None) -> Use:
    client_id, direction = client_of(counter)
    way = "both" if direction is None else _DIRECTIONS[direction is Direction.TERMINATION]
    entry = book.clients.get(client_id) if book else None
    return Use(client_id, entry.client.name if entry else None, way, held, _client_limit(counter, book))


def _client_limit(counter: int, book: Book | None) -> int | None:
    entry = book.clients.get(-counter if counter < 0 else counter >> 1) if book else None
    if entry is None:
        return None
    client = entry.client
    return client.capacity if counter < 0 else client.term_capacity if counter & 1 else client.orig_capacity
