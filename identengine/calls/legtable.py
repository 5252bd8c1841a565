"""The table of legs in memory: a leg as it is kept, by its call and by its slot, counted while it is held.

What a leg may become and when is not decided here (:mod:`identengine.calls.memory`, the rules;
:mod:`identengine.calls.expiry`, time). A leg is in the table exactly as long as it is held or remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from identengine.calls.backend import LegFilter, LegSelector, LegView
from identengine.calls.counts import Cells, Counts
from identengine.calls.legs import LAPSED, State, direction_of, leg_key, scope_of
from identengine.calls.levels import clients_of
from identengine.calls.slots import Slots
from identengine.model.records import Direction

LEGS_OF_A_CALL = 256
"""Legs that one call may have: what names a call is answered in one step, however many they are."""


class Leg(msgspec.Struct, gc=False, array_like=True):
    """One leg. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    slot: int
    """Its place in the set, and its key in the mirror; used again once the leg is gone."""
    call: str
    """:func:`call_key`."""
    leg: str
    """:func:`leg_key`."""
    switch: str
    """Name of the switch that last authorized, started, updated or listed it (engine.md 5.6)."""
    state: State
    cells: Cells
    """Where it counts: where it did when it was taken."""
    since: float
    """When it was taken."""
    due: float
    """When its lease, or, lapsed, its memory ends."""
    lease: float
    """What a start or update gives it, in seconds."""
    missed: str | None = None
    """The last complete list of its switch, where that lacked it (engine.md 5.6)."""
    content: bytes | None = None
    """While it is reserved: what a request has to be like to be its retransmission (engine.md 5.3)."""
    answer: bytes | None = None
    """While it is reserved: what a retransmission is answered, a Decision in MessagePack."""

    @property
    def account_id(self) -> int:
        """Whose it is."""
        return self.cells[0].number >> 1

    @property
    def counters(self) -> tuple[int, ...]:
        """The numbers of the clients' counters that it is in."""
        return tuple(cell.number for cell in self.cells[1:])

    def view(self) -> LegView:
        """Return the leg as an operator sees it."""
        clients = tuple(clients_of(self.counters))
        return LegView(
            self.call, self.leg, self.switch, self.state, self.account_id, clients, self.since, self.due
        )


class LegTable:
    """The legs that are held or remembered."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.calls: dict[str, Leg | dict[str, Leg]] = {}
        """By call key: its leg, or its legs by leg key where it has several."""
        self.slots = Slots[Leg]()
        self.lapsed = 0
        """Legs that are remembered."""

    def restore(self, legs: Mapping[int, Leg]) -> None:
        """Take up the legs that a mirror kept, by their slots, and count those that are held."""
        self.slots.restore(legs)
        for leg in legs.values():
            leg.cells = self.counts.restore(leg.cells)
            if self.calls.setdefault(leg.call, leg) is not leg:
                self.add_beside(leg)
            if leg.state == LAPSED:
                self.lapsed += 1
            else:
                leg.cells = self.counts.add(leg.cells)

    def find(self, call: str, key: str) -> Leg | None:
        """Return the leg of these keys, held or lapsed; None if there is none."""
        there = self.calls.get(call)
        if isinstance(there, dict):
            return there.get(key)
        return there if there is not None and there.leg == key else None

    def matching(self, selector: LegSelector) -> list[Leg]:
        """Return the legs that ``selector`` names, held or lapsed."""
        there = self.calls.get(selector.call)
        if there is None:
            return []
        direction, leg_id = selector.direction, selector.leg_id
        if direction is None and leg_id is None and isinstance(there, Leg):
            return [there]
        if direction is not None and leg_id is not None:
            leg = self.find(selector.call, leg_key(direction, leg_id))
            return [] if leg is None else [leg]
        legs = list(there.values()) if isinstance(there, dict) else [there]
        if direction is not None:
            initial = leg_key(direction, None)
            legs = [leg for leg in legs if leg.leg[0] == initial]
        if leg_id is not None:
            ends = {leg_key(each, leg_id) for each in Direction}
            legs = [leg for leg in legs if leg.leg in ends]
        return legs

    def has_room_beside(self, call: str) -> bool:
        """Return whether a call may have one leg more. Legs that are only remembered make room."""
        there = self.calls.get(call)
        if not isinstance(there, dict) or len(there) < LEGS_OF_A_CALL:
            return True
        for leg in [leg for leg in there.values() if leg.state == LAPSED]:
            self.free(leg)
        return len(there) < LEGS_OF_A_CALL

    def add_beside(self, leg: Leg) -> None:
        """Keep a further leg of a call."""
        there = self.calls[leg.call]
        if isinstance(there, dict):
            there[leg.leg] = leg
        else:
            self.calls[leg.call] = {there.leg: there, leg.leg: leg}

    def free(self, leg: Leg) -> None:
        """Forget a leg altogether, and so give up its slot."""
        if leg.state == LAPSED:
            self.lapsed -= 1
        else:
            self.counts.remove(leg.cells)
        there = self.calls.pop(leg.call)
        if isinstance(there, dict):
            self._leave(there, leg)
        self.slots.remove(leg.slot)

    def _leave(self, there: dict[str, Leg], leg: Leg) -> None:
        """Keep the other legs of a call."""
        del there[leg.leg]
        if len(there) == 1:
            (self.calls[leg.call],) = there.values()
        else:
            self.calls[leg.call] = there

    def shrink(self, leg: Leg) -> None:
        """Move a leg that is reserved no more to where the small ones are, without what is for retransmissions."""
        self.slots.remove(leg.slot)
        leg.content = leg.answer = None
        leg.slot = self.slots.small.add(leg)


def fitting(legs: Iterable[Leg], wanted: LegFilter) -> Iterator[LegView]:
    """Yield the legs that a filter lets through. Only these become views, since most legs do not fit."""
    states, account_id, client_id = wanted.states, wanted.account_id, wanted.client_id
    ends = None if wanted.leg_id is None else {leg_key(each, wanted.leg_id) for each in Direction}
    for leg in legs:
        if leg.state not in states or (account_id is not None and leg.account_id != account_id):
            continue
        if wanted.taken_by is not None and leg.since > wanted.taken_by:
            continue
        if wanted.switch is not None and leg.switch != wanted.switch:
            continue
        if client_id is not None and client_id not in clients_of(leg.counters):
            continue
        if wanted.scope is not None and scope_of(leg.call) != wanted.scope:
            continue
        if wanted.direction is not None and direction_of(leg.leg) is not wanted.direction:
            continue
        if ends is not None and leg.leg not in ends:
            continue
        yield leg.view()
