"""What is asked of the set of calls and what it answers: the whole interface between the engine and a backend.

A backend is a :class:`Backend`: it is given a batch and answers it as if one by one in the order in which it came
(engine.md 5.3); before it returns, what the batch changed outlives the process. What only the engine knows of
calls that are there already, where they count say, is asked back through the callables of a message.

Everything in this interface is plain values, so that no layer above knows how a backend keeps its legs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, final

import msgspec

from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, direction_of
from identengine.calls.levels import Levels
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``[calls]`` (interfaces.md 7); times in seconds."""

    max_legs: int = 100_000
    lapsed_max: int = 1_000_000
    reserved: float = 200.0
    active: float = 7200.0
    grace: float = 60.0
    global_capacity: int | None = None


@final
class EncodedDecision(msgspec.Struct, frozen=True, gc=False):
    """A call that may pass: its Decision, encoded once, for the mirror and for who asked."""

    packed: bytes
    """In MessagePack."""

    def decision(self) -> Decision:
        """Return it in its parts."""
        return unpacked(self.packed)


def in_parts(decision: Decision | EncodedDecision) -> Decision:
    """Return a decision in its parts, however it came."""
    return decision.decision() if isinstance(decision, EncodedDecision) else decision


packed: Callable[[Decision], bytes] = msgspec.msgpack.Encoder().encode
"""Return a decision in MessagePack, as it is kept."""
unpacked: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
"""Return a decision that was kept."""


class Admit(msgspec.Struct, frozen=True, gc=False):
    """Reserve a slot for a call that was decided (engine.md 5.2, 5.3)."""

    call: str | None
    """None: the request has no call id, so it is held to the limits but takes no slot (engine.md 5.10)."""
    leg: str
    switch: str
    content: bytes
    """What makes a request the same as another; a call that is held already has the answer that it had."""
    decision: Decision | EncodedDecision
    levels: Levels | None
    """Where the call is to be counted; None where it was rejected."""


class LegSelector(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Legs of a call: a direction or leg id that is None matches all (engine.md 5.1)."""

    call: str
    direction: Direction | None
    leg_id: str | None

    @property
    def whole(self) -> bool:
        """Whether all legs of the call are meant."""
        return self.direction is None and self.leg_id is None


LimitsNow: TypeAlias = Callable[[int, tuple[int, ...]], Levels]
"""Returns the levels at which a leg was taken, with their limits as they are now (engine.md 5.2).

It is called with the account's counter and those of the clients (:mod:`identengine.calls.levels`)."""


class Refresh(msgspec.Struct, frozen=True):
    """``start`` and ``update`` (engine.md 5.4)."""

    method: Literal["start", "update"]
    selector: LegSelector
    switch: str
    interval: float | None
    """Seconds between updates, where they were announced."""
    identify: Callable[[], Levels | None] | None
    """Where an unknown call is to be counted; None where the message does not carry who it is."""
    levels: LimitsNow


class Stop(msgspec.Struct, frozen=True, gc=False):
    """``stop``: free the legs that it names (engine.md 5.4)."""

    selector: LegSelector


class SyncPart(msgspec.Struct, frozen=True):
    """``sync``: a part of a switch's complete list of its calls (engine.md 5.6)."""

    switch: str
    list_id: str
    part: int
    """From 1."""
    parts: int
    calls: tuple[LegSelector, ...]
    confirm_empty: bool


class SwitchReset(msgspec.Struct, frozen=True):
    """``switch_up`` and ``switch_down``: the switch has none of its older calls any more (engine.md 5.6)."""

    switch: str


CallsMessage: TypeAlias = Admit | Refresh | Stop | SyncPart | SwitchReset


@final
class Refused(msgspec.Struct, frozen=True):
    """There is no room for a call, or its leg cannot be; the answer that names the account is the engine's."""

    reason: Reason
    field: Literal["call_id", "leg_id"] | None = None
    """What is wrong with an ``invalid_request``."""


class LegResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of what is not a decision (interfaces.md 3, "Result of the life-cycle methods")."""

    ok: Literal[True]
    """Always true. Wrong use of a method is answered with an error instead."""
    unknown: bool = False
    """True if no leg matched and none was counted (engine.md 5.4)."""
    overcommit: bool = False
    """True if a leg was counted although a limit is exceeded (engine.md 5.4)."""
    missing: int | None = None
    """Listed legs that the set does not know (engine.md 5.6)."""
    freed: int | None = None
    """Slots that were freed."""
    repeated: bool = False
    """True if a list with this ``list_id`` was counted before; this list changed nothing (engine.md 5.6)."""


class Deferred:
    """An answer that takes steps between which other batches are decided (engine.md 5.8)."""

    def __init__(self) -> None:
        self.result: LegResult | None = None
        """The answer, once it is there."""
        self._waiting: list[Callable[[LegResult], None]] = []

    def then(self, call: Callable[[LegResult], None]) -> None:
        """Call back with the answer once it is there."""
        if self.result is not None:
            call(self.result)
        else:
            self._waiting.append(call)

    def finish(self, result: LegResult) -> None:
        """Give the answer."""
        self.result = result
        for call in self._waiting:
            call(result)
        self._waiting.clear()


CallsAnswer: TypeAlias = Decision | EncodedDecision | Refused | LegResult | Deferred


class Backend(Protocol):
    """A set of calls."""

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch; ``now`` is the time of the set's clock in seconds."""

    def work(self, now: float) -> bool:
        """Do one short step of what is due: lapses, lists, switches; returns whether more is left."""


Of: TypeAlias = Literal["accounts", "clients"]
"""Whose counters: keys of accounts are ``account_id << 1 | (the direction is termination)``, those of clients are
as in :mod:`identengine.calls.levels`."""


class LegView(msgspec.Struct, frozen=True, gc=False):
    """One leg as an operator sees it. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    call: str
    """:func:`~identengine.calls.legs.call_key`."""
    leg: str
    """:func:`~identengine.calls.legs.leg_key`."""
    switch: str
    """Name of the switch that last authorized, started, updated or listed the leg (engine.md 5.6)."""
    state: State
    account_id: int
    client_ids: tuple[int, ...]
    """The clients on whom the leg counts: the account's own client first, then the resellers above it."""
    since: float
    """When the leg was taken."""
    due: float
    """When the leg's lease ends; of a lapsed leg, when it is forgotten."""

    @property
    def direction(self) -> Direction:
        """Return the direction of the leg."""
        return direction_of(self.leg)


class LegFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which legs are asked for. A condition that is None lets all legs through."""

    states: frozenset[State] = frozenset((RESERVED, ACTIVE, LAPSED))
    account_id: int | None = None
    client_id: int | None = None
    """Any of the clients on whom the leg counts."""
    switch: str | None = None
    scope: str | None = None
    """The scope of the call's key."""
    direction: Direction | None = None
    leg_id: str | None = None
    """``""``: the leg without an id."""
    taken_by: float | None = None
    """The leg was taken at this time of the set's clock or before."""


class Gauges(msgspec.Struct, frozen=True, gc=False):
    """How full the set is, and what happened to its legs since the process began."""

    held: int
    """Legs that hold slots."""
    reserved: int
    """Legs of ``held`` that are reserved; the others are active."""
    lapsed: int
    """Legs that are remembered."""
    max_legs: int
    """Legs that the set has room for (``[calls] max_legs``)."""
    global_capacity: int | None
    """The limit on all legs together; None if there is none."""
    overfull: bool
    """True if no leg is admitted, since the mirror has no room."""
    lapsed_reserved: int
    """Reserved legs whose leases ended."""
    lapsed_active: int
    """Active legs whose leases ended."""
    retransmitted: int
    """Authorizations that were answered as before (engine.md 5.3)."""
    turned_away: int
    """Legs that the set had no room for."""


class Overview(Protocol):
    """What a backend shows to an operator, in short steps between which nothing stays open.

    A walk of all pages shows each leg that is there from its start to its end. A leg that is started meanwhile
    moves, and may be shown twice or not at all.
    """

    def gauges(self) -> Gauges:
        """Return how full the set is."""

    def page(self, first: int, count: int, wanted: LegFilter) -> list[LegView] | None:
        """Return the legs at ``count`` places from ``first`` on that fit; None behind the last place."""

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """Return those of ``count`` counters from the ``first`` on that are not zero; None behind the last."""

    def matching(self, selector: LegSelector, wanted: LegFilter) -> list[LegView]:
        """Return the legs that ``selector`` names and ``wanted`` lets through."""

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """As :meth:`Backend.apply`."""
