"""The calls and legs that a usual message certainly names (engine.md 5.1).

Rule: each function returns None if it is not certain, as for a blank id. Then the general way reads the message.
"""

from __future__ import annotations

from identengine.calls.backend import LegSelector
from identengine.engine.lifecycle import Asker
from identengine.model.records import Direction
from identengine.model.usual import UsualCallRequest, UsualRequest

_DIRECTIONS = {direction.value: direction for direction in Direction}


def leg_of(asked: UsualRequest) -> str | None:
    """Return the key of a leg that is not the one usual leg of its call, or None if that is not certain."""
    direction, leg_id = asked.direction, asked.leg_id
    way = "o" if direction is None or direction == "origination" else "t" if direction == "termination" else None
    if way is None or leg_id is None:
        return way
    return way + leg_id if leg_id > "!" and leg_id.isascii() else None


def whole_call(asked: UsualCallRequest, asker: Asker) -> str | None:
    """Return the key of a call of which a message names no leg, or None if that is not certain."""
    call_id = asked.call_id
    if not call_id or asked.leg_id is not None or asked.direction is not None:
        return None
    return asker.calls + call_id if call_id > "!" and call_id.isascii() else None


def named_legs(asked: UsualCallRequest, asker: Asker) -> LegSelector | None:
    """Return the legs that a message names by direction or leg id, or None if they are not certain."""
    call_id, leg_id, direction = asked.call_id, asked.leg_id, asked.direction
    if not call_id or not (call_id > "!" and call_id.isascii()):
        return None
    if leg_id is not None and not (leg_id > "!" and leg_id.isascii()):
        return None
    way = None if direction is None else _DIRECTIONS.get(direction)
    if direction is not None and way is None:
        return None
    return LegSelector(asker.calls + call_id, way, leg_id)
