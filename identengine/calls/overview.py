"""The set of calls as operators see it: its legs, the use of its counters, and its gauges.

Rule: plain values only, so that no layer above knows how a backend keeps its legs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from identengine.calls.backend import CallsAnswer, CallsMessage, LegSelector
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, direction_of
from identengine.calls.numbers import Numbers
from identengine.model.records import Direction

Of: TypeAlias = Literal["accounts", "clients"]
"""The counters that a question is about: those of accounts or of clients.

Counters are numbered as :mod:`identengine.calls.levels` describes.
"""


class LegView(msgspec.Struct, frozen=True, gc=False):
    """One leg as operators see it. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    call: str
    """Key of the call, made by :func:`~identengine.calls.legs.call_key`."""
    leg: str
    """Key of the leg, made by :func:`~identengine.calls.legs.leg_key`."""
    switch: str
    """Name of the switch that last authorized, started, updated or listed the leg (engine.md 5.6)."""
    state: State
    account_id: int
    client_ids: tuple[int, ...]
    """The clients on which the leg counts: the account's own client first, then the resellers above it."""
    since: float
    """Time when the leg was counted first."""
    due: float
    """Time when the lease ends, or when a lapsed leg will be forgotten."""
    numbers: Numbers = Numbers()

    @property
    def direction(self) -> Direction:
        """Return the direction of the leg."""
        return direction_of(self.leg)


class LegFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions that legs of a listing must meet. A condition of None accepts all legs."""

    states: frozenset[State] = frozenset((RESERVED, ACTIVE, LAPSED))
    account_id: int | None = None
    client_id: int | None = None
    """A client on which the leg counts, directly or as a reseller above the account's client."""
    switch: str | None = None
    scope: str | None = None
    """Scope of the call's key."""
    direction: Direction | None = None
    leg_id: str | None = None
    """Id of the leg. ``""`` selects legs without an id."""
    account: Callable[[int], bool] | None = None
    """True for the ids of the accounts whose legs are listed."""
    number: str | None = None
    """The caller's or the dialled number, or the end of one of them (:mod:`identengine.calls.numbers`)."""
    taken_by: float | None = None
    """Latest time of the set's clock at which the leg may have been counted first."""


class Gauges(msgspec.Struct, frozen=True, gc=False):
    """The current use of the set, and counters of events since the process began."""

    held: int
    """Number of legs that hold slots."""
    reserved: int
    """Number of held legs that are reserved. All other held legs are active."""
    lapsed: int
    """Number of lapsed legs that the set remembers."""
    max_legs: int
    """Number of legs that the set has room for (``[calls] max_legs``)."""
    global_capacity: int | None
    """The limit on all legs together, or None without such a limit."""
    overfull: bool
    """True if the set admits no leg because the mirror has no room."""
    lapsed_reserved: int
    """Number of reserved legs whose leases expired."""
    lapsed_active: int
    """Number of active legs whose leases expired."""
    retransmitted: int
    """Number of authorizations that were answered as retransmissions (engine.md 5.3)."""
    turned_away: int
    """Number of legs that were rejected because the set had no room for them."""


class Overview(Protocol):
    """The operator's view of a backend. It works in short steps that hold no resource between them.

    A walk over all pages returns each leg that exists during the whole walk. It may return a leg twice if the leg
    changes meanwhile.
    """

    def gauges(self) -> Gauges:
        """Return the current use of the set."""

    def page(self, cursor: int, count: int, conditions: LegFilter) -> tuple[list[LegView], int | None]:
        """Return those of about ``count`` legs from a cursor on that pass the filter, and the next cursor.

        The first cursor is 0. The next one is None after the last leg.
        """

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """Return counters that are not zero, out of ``count`` counters from ``first``. None after the last one."""

    def matching(self, selector: LegSelector, conditions: LegFilter) -> list[LegView]:
        """Return the legs that ``selector`` names and that pass the filter."""

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch, as :meth:`Backend.apply` does."""
