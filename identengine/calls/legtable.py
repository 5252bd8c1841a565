"""The table of all legs in memory, by call and by slot.

It counts legs while they are held. A leg is in the table exactly as long as it is held or remembered. The rules of
a leg's life are in :mod:`identengine.calls.memory`, and its expiry is in :mod:`identengine.calls.expiry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from identengine.calls.backend import LegFilter, LegSelector, LegView
from identengine.calls.counts import Cells, Counts
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, State, direction_of, leg_key, scope_of
from identengine.calls.levels import clients_of
from identengine.calls.slots import Slots
from identengine.model.records import Direction

LEGS_OF_A_CALL = 256
"""Maximum number of legs of one call. It bounds the work for a message that names a whole call."""


class Leg(msgspec.Struct, gc=False, array_like=True):
    """One leg. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    slot: int
    """Slot of the leg, which is also its key in the mirror. It is reused when the leg is gone."""
    call: str
    """Key of the call, made by :func:`call_key`."""
    leg: str
    """Key of the leg within the call, made by :func:`leg_key`."""
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
    content: bytes | None = None
    """While the leg is reserved: the fingerprint that a retransmission must match (engine.md 5.3)."""
    answer: bytes | None = None
    """While the leg is reserved: the answer to a retransmission, a Decision in MessagePack."""

    @property
    def account_id(self) -> int:
        """Id of the account on which the leg counts."""
        return self.cells[0].number >> 1

    @property
    def counters(self) -> tuple[int, ...]:
        """Numbers of the clients' counters on which the leg counts."""
        return tuple(cell.number for cell in self.cells[1:])

    @property
    def renewed(self) -> float:
        """Latest time that the leg proves: when it was counted first, or when its active lease began."""
        return max(self.since, self.due - self.lease) if self.state == ACTIVE else self.since

    def view(self) -> LegView:
        """Return the leg as an operator sees it."""
        clients = tuple(clients_of(self.counters))
        return LegView(
            self.call, self.leg, self.switch, self.state, self.account_id, clients, self.since, self.due
        )


class LegTable:
    """All legs that are held or remembered."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.calls: dict[str, Leg | dict[str, Leg]] = {}
        """By call key: the leg of the call, or its legs by leg key if it has several."""
        self.slots = Slots[Leg]()
        self.lapsed = 0
        """Number of lapsed legs."""

    def restore(self, legs: Mapping[int, Leg]) -> None:
        """Add the legs that a mirror stored, by their slots, and count the held legs."""
        self.slots.restore(legs)
        for leg in legs.values():
            leg.cells = self.counts.restore(leg.cells)
            if self.calls.setdefault(leg.call, leg) is not leg:
                self.add_further(leg)
            if leg.state == LAPSED:
                self.lapsed += 1
            else:
                leg.cells = self.counts.add(leg.cells)

    def rebuild(self) -> list[Leg]:
        """Derive everything else from the legs in the slots, after a fault left a change incomplete.

        Return the legs. If this method fails too, it can be called again.
        """
        legs: dict[int, Leg] = {}
        for slot, leg in self.slots.all():
            if id(leg) in legs:  # it was about to move to a small slot
                self.slots.remove(leg.slot)
            leg.slot = slot
            legs[id(leg)] = leg
        self.calls.clear()
        self.lapsed = 0
        self.counts.clear()
        self.restore({leg.slot: leg for leg in legs.values()})
        for leg in legs.values():
            if leg.state != RESERVED and leg.slot < 0:
                self.shrink(leg)
        return list(legs.values())

    def find(self, call: str, key: str) -> Leg | None:
        """Return the held or lapsed leg with these keys, or None if it does not exist."""
        there = self.calls.get(call)
        if isinstance(there, dict):
            return there.get(key)
        return there if there is not None and there.leg == key else None

    def matching(self, selector: LegSelector) -> list[Leg]:
        """Return the held and lapsed legs that ``selector`` names."""
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

    def may_add_leg(self, call: str) -> bool:
        """Return True if a call may have one more leg. Forget its lapsed legs if that is necessary."""
        there = self.calls.get(call)
        if not isinstance(there, dict) or len(there) < LEGS_OF_A_CALL:
            return True
        for leg in [leg for leg in there.values() if leg.state == LAPSED]:
            self.free(leg)
        return len(there) < LEGS_OF_A_CALL

    def add_further(self, leg: Leg) -> None:
        """Add a further leg of a call that has legs already."""
        there = self.calls[leg.call]
        if isinstance(there, dict):
            there[leg.leg] = leg
        else:
            self.calls[leg.call] = {there.leg: there, leg.leg: leg}

    def free(self, leg: Leg) -> None:
        """Remove a leg from the table, and free its slot."""
        if leg.state == LAPSED:
            self.lapsed -= 1
        else:
            self.counts.remove(leg.cells)
        there = self.calls.pop(leg.call)
        if isinstance(there, dict):
            self._keep_others(there, leg)
        self.slots.remove(leg.slot)

    def _keep_others(self, there: dict[str, Leg], leg: Leg) -> None:
        """Keep the other legs of a call when ``leg`` is removed."""
        del there[leg.leg]
        if len(there) == 1:
            (self.calls[leg.call],) = there.values()
        else:
            self.calls[leg.call] = there

    def shrink(self, leg: Leg) -> None:
        """Move a leg that is no longer reserved to a small slot, without its data for retransmissions.

        The leg has a slot at every moment, so that no fault in between loses it.
        """
        leg.content = leg.answer = None
        slot, leg.slot = leg.slot, self.slots.small.add(leg)
        self.slots.remove(slot)


def filtered(legs: Iterable[Leg], conditions: LegFilter) -> Iterator[LegView]:
    """Yield views of the legs that meet the conditions. Other legs are not converted, since most do not match."""
    states, account_id, client_id = conditions.states, conditions.account_id, conditions.client_id
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
        yield leg.view()
