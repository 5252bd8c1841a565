"""A leg, and the row of legs that holds it, as the set of calls and its mirror keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

import msgspec

from identengine.calls.legs import ACTIVE, Content, State, direction_of, leg_key, scope_of
from identengine.calls.levels import Cells, clients_of, counters_of
from identengine.calls.numbers import has_number, numbers_of
from identengine.calls.overview import (
    LegFilter,
    LegView,
)
from identengine.model.records import Direction


class Leg(msgspec.Struct, gc=False, array_like=True):
    """One leg. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    row: int
    """Serial number of its row (:mod:`identengine.calls.rows`)."""
    place: int
    """Place in the row, counted from 0."""
    call: str
    """Key of the call, made by :func:`~identengine.calls.legs.call_key`."""
    leg: str
    """Key of the leg within the call, made by :func:`~identengine.calls.legs.leg_key`."""
    switch: str
    """Name of the switch that last authorized, started, updated or listed the leg (engine.md 5.6)."""
    state: State
    cells: Cells
    """The counters of the leg. They do not change while it is held."""
    since: float
    """Time when the leg was counted first."""
    due: float
    """Time when the lease of a held leg, or the memory of a lapsed leg, ends."""
    lease: float
    """Duration of the lease that a start or update grants, in seconds."""
    missed: str | None = None
    """Id of the last complete list of the leg's switch, if that list omitted the leg (engine.md 5.6)."""
    content: Content | None = None
    """Content that a retransmission must have, while the leg is reserved (engine.md 5.3). A fingerprint later."""
    answer: bytes | None = None
    """While the leg is reserved: the answer to a retransmission, an encoded Decision.

    Afterwards its end, which holds the numbers of the call (:mod:`identengine.calls.numbers`).
    """

    @property
    def account_id(self) -> int:
        """Id of the account on which the leg counts."""
        return self.cells[0].number >> 1

    @property
    def counters(self) -> tuple[int, ...]:
        """Numbers of the clients' counters on which the leg counts."""
        return counters_of(self.cells)

    @property
    def renewed(self) -> float:
        """Latest time that the leg proves: when it was counted first, or when its active lease began."""
        return max(self.since, self.due - self.lease) if self.state == ACTIVE else self.since

    def view(self) -> LegView:
        """Return the leg as an operator sees it."""
        clients = tuple(clients_of(self.counters))
        return LegView(
            self.call,
            self.leg,
            self.switch,
            self.state,
            self.account_id,
            clients,
            self.since,
            self.due,
            numbers_of(self.answer),
        )


class Row(msgspec.Struct, gc=False, eq=False):
    """The legs that a batch took or changed, which are one value of the mirror."""

    serial: int
    """Serial number. Later rows have larger ones."""
    kind: State
    """The state of its legs. They leave the row when their state changes."""
    legs: list[Leg | None]
    """By place: the leg, or None if it left the row."""
    left: int = 0
    """Number of legs in the row, once the row is sealed. Before, it is -1 if a leg has left the row, or else 0."""
    due: float = inf
    """Time before which no leg of the row is due, once the row is sealed. Before, 0 if legs were put into it."""
    dead: int = 0
    """The places that legs left since the row was sealed, as a bit each."""
    noted: int = 0
    """Number of legs in the row at the end of the last batch that changed it, or 0 before the row is sealed."""
    tick: int = 0
    """Tick of its entry in the wheel."""
    stored: int = -1
    """Generation of the mirror that holds the row, or -1 before the row was stored."""
    marked: bool = False
    """True if the mirror holds dead places of the row."""

    def living(self) -> list[Leg]:
        """Return the legs that are in the row."""
        return [leg for leg in self.legs if leg is not None]


def filtered(legs: Iterable[Leg], conditions: LegFilter) -> Iterator[LegView]:
    """Yield views of the legs that meet the conditions. Other legs are not converted, since most do not match."""
    states, account_id, client_id = conditions.states, conditions.account_id, conditions.client_id
    number, account = conditions.number, conditions.account
    ends = None if conditions.leg_id is None else {leg_key(each, conditions.leg_id) for each in Direction}
    for leg in legs:
        if leg.state not in states or (account_id is not None and leg.account_id != account_id):
            continue
        if conditions.taken_by is not None and leg.since > conditions.taken_by:
            continue
        if conditions.switch is not None and leg.switch != conditions.switch:
            continue
        if client_id is not None and client_id not in clients_of(leg.counters):
            continue
        if conditions.scope is not None and scope_of(leg.call) != conditions.scope:
            continue
        if conditions.direction is not None and direction_of(leg.leg) is not conditions.direction:
            continue
        if ends is not None and leg.leg not in ends:
            continue
        if account is not None and not account(leg.account_id):
            continue
        if number is not None and not has_number(leg.answer, number):
            continue
        yield leg.view()
