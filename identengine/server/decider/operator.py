"""Answers what an operator's commands ask of the set of calls (:mod:`identengine.wire.operator`).

No I/O, no clock. Each answer is one step of about a millisecond, whatever is held: a page of legs, a page of
counters, a few stops. No command ever touches the set itself, and ending a call is the message that a switch would
have sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Literal

from identengine.calls.backend import Done, Named, Overview, Stop
from identengine.calls.legs import (
    ACTIVE,
    LAPSED,
    RESERVED,
    Leg,
    State,
    call_id_of,
    call_key,
    leg_key,
    scope_of,
    shortened,
)
from identengine.calls.levels import client_of, clients_of
from identengine.engine.core import Engine
from identengine.identify.index import Book
from identengine.model.records import Direction
from identengine.wire.operator import (
    MOST_ENDED,
    Ask,
    AskCalls,
    AskEnd,
    AskNote,
    AskStatus,
    AskUsage,
    Calls,
    Ended,
    Ending,
    Filter,
    Noted,
    Reply,
    Row,
    Status,
    Trouble,
    Usage,
    Use,
)

LEGS = 256
"""Places that are looked at together; there are two spaces of them, so that it may be twice as many legs."""
PAGES = 8
"""How often one step does so, as long as less than so many rows were found."""
COUNTERS = 1000
"""Counters that one step looks at."""
MOST_ROWS = 200
"""Rows of use in one answer."""

_WAYS: tuple[Literal["origination"], Literal["termination"]] = ("origination", "termination")
_STATES: dict[State, Literal["reserved", "active", "lapsed"]] = {
    RESERVED: "reserved",
    ACTIVE: "active",
    LAPSED: "lapsed",
}
_WANTED: dict[str, frozenset[State]] = {
    "held": frozenset((RESERVED, ACTIVE)),
    "reserved": frozenset((RESERVED,)),
    "active": frozenset((ACTIVE,)),
    "lapsed": frozenset((LAPSED,)),
}


class Desk:
    """Where an operator's requests are answered."""

    def __init__(
        self,
        engine: Engine,
        calls: Overview,
        scopes: Callable[[], Iterable[str]],
        status: Callable[[], Status],
        on_ended: Callable[[list[Ending], int], None],
        count: Callable[[str, int], None],
    ) -> None:
        """Answer for this engine and its calls.

        ``scopes``: those of the switches in force; ``on_ended`` is told which legs an operator ended, ``count`` of
        which counter there is more, and how much.
        """
        self._engine = engine
        self._calls = calls
        self._scopes = scopes
        self._status = status
        self._on_ended = on_ended
        self._count = count

    def answer(self, ask: Ask, now: float) -> Reply:
        """Answer one request; ``now`` is the time of the set's clock."""
        if isinstance(ask, AskStatus):
            return self._status()
        if isinstance(ask, AskCalls):
            return self._page(ask, now)
        if isinstance(ask, AskUsage):
            return self._usage(ask)
        if isinstance(ask, AskNote):
            for name, more in ask.counts.items():
                self._count(name, more)
            return Noted()
        return self._end(ask, now)

    def _page(self, ask: AskCalls, now: float) -> Reply:
        if ask.cursor < 0:
            return Trouble("cursor: 0 or that of the answer before is wanted")
        wanted, book = ask.filter, self._engine.book
        if wanted.call_id is not None:
            legs = self._named(wanted.call_id, wanted.scope)
            return Calls(tuple(_row(leg, book, now) for leg in _fitting(legs, wanted, now)), None)
        rows: list[Row] = []
        cursor = ask.cursor
        for _ in range(PAGES):
            page = self._calls.page(cursor, LEGS)
            if page is None:
                return Calls(tuple(rows), None)
            rows += [_row(leg, book, now) for leg in _fitting(page, wanted, now)]
            cursor += LEGS
            if len(rows) >= LEGS:
                break
        return Calls(tuple(rows), cursor)

    def _named(self, call_id: str, scope: str | None) -> list[Leg]:
        scopes = sorted(set(self._scopes())) if scope is None else [scope]
        return [leg for one in scopes for leg in self._calls.matching(Named(call_key(one, call_id), None, None))]

    def _usage(self, ask: AskUsage) -> Reply:
        if ask.cursor < 0 or not 0 < ask.most <= MOST_ROWS:
            return Trouble(f"cursor, most: 0 or more, and 1 to {MOST_ROWS} are wanted")
        counters = self._calls.usage(ask.of, ask.cursor, COUNTERS)
        if counters is None:
            return Usage((), None)
        book = self._engine.book
        use = _account_use if ask.of == "accounts" else _client_use
        rows = heapq.nsmallest(ask.most, (use(key, held, book) for key, held in counters), key=attrgetter("rank"))
        return Usage(tuple(rows), ask.cursor + COUNTERS)

    def _end(self, ask: AskEnd, now: float) -> Reply:
        if len(ask.legs) > MOST_ENDED:
            return Trouble(f"legs: at most {MOST_ENDED} are wanted")
        there = [one for one in dict.fromkeys(ask.legs) if self._is_there(one)]
        answers = self._calls.apply([Stop(_exactly(one)) for one in there], now)
        freed = sum(answer.freed or 0 for answer in answers if isinstance(answer, Done))
        if there:
            self._on_ended(there, freed)
        return Ended(freed, len(ask.legs) - len(there))

    def _is_there(self, one: Ending) -> bool:
        return any(leg.since == one.since for leg in self._calls.matching(_exactly(one)))


def _exactly(one: Ending) -> Named:
    """Name one leg and no other: an empty leg id is the leg without one, where None would be all of the call's."""
    return Named(call_key(one.scope, one.call_id), Direction(one.direction), shortened(one.leg_id))


def _fitting(legs: Iterable[Leg], wanted: Filter, now: float) -> Iterator[Leg]:
    """Yield the legs that a filter lets through; one by one, since most are none as a rule."""
    states, account_id, client_id = _WANTED[wanted.state], wanted.account_id, wanted.client_id
    before = None if wanted.older is None else now - wanted.older
    ends = None if wanted.leg_id is None else {leg_key(each, wanted.leg_id) for each in Direction}
    for leg in legs:
        if leg.state not in states or (account_id is not None and leg.account_id != account_id):
            continue
        if before is not None and leg.since > before:
            continue
        if wanted.switch is not None and leg.switch != wanted.switch:
            continue
        if client_id is not None and client_id not in clients_of(leg.counters):
            continue
        if wanted.scope is not None and scope_of(leg.call) != wanted.scope:
            continue
        if wanted.direction is not None and leg.direction.value != wanted.direction:
            continue
        if ends is not None and leg.leg not in ends:
            continue
        yield leg


def _row(leg: Leg, book: Book | None, now: float) -> Row:
    bearer = book.bearers.get(leg.account_id) if book else None
    client_id = clients_of(leg.counters)[0]
    owner = book.owners.get(client_id) if book else None
    return Row(
        scope=scope_of(leg.call),
        call_id=call_id_of(leg.call),
        leg_id=leg.leg[1:],
        direction=leg.direction,
        account_id=leg.account_id,
        account_name=bearer.account.name if bearer else None,
        client_id=client_id,
        client_name=owner.client.name if owner else None,
        switch=leg.switch,
        state=_STATES[leg.state],
        since=leg.since,
        age=round(now - leg.since, 1),
        left=round(leg.due - now, 1),
    )


def _account_use(counter: int, held: int, book: Book | None) -> Use:
    account_id, way = counter >> 1, counter & 1
    bearer = book.bearers.get(account_id) if book else None
    if bearer is None:
        return Use(account_id, None, _WAYS[way], held, None)
    account = bearer.account
    return Use(account_id, account.name, _WAYS[way], held, account.term_capacity if way else account.orig_capacity)


def _client_use(counter: int, held: int, book: Book | None) -> Use:
    client_id, direction = client_of(counter)
    way = "both" if direction is None else _WAYS[direction is Direction.TERMINATION]
    owner = book.owners.get(client_id) if book else None
    if owner is None:
        return Use(client_id, None, way, held, None)
    client = owner.client
    limits = {
        None: client.capacity,
        Direction.ORIGINATION: client.orig_capacity,
        Direction.TERMINATION: client.term_capacity,
    }
    return Use(client_id, client.name, way, held, limits[direction])
