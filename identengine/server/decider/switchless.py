"""Finds held legs whose switch is no longer in the config.

No switch can update or stop such legs: an operator ends them, or their leases end. Rule: the search reads the set
of calls in short steps, between which requests are decided.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from identengine.calls.legs import ACTIVE, RESERVED, scope_of
from identengine.calls.overview import (
    LegFilter,
    Overview,
)
from identengine.config.schema import Switch
from identengine.errors import quoted
from identengine.log.events import SWITCHES_GONE

STEP = 256
"""Number of legs that one step reads."""
NAMED = 5
"""Switches that the log names. It counts the others."""
_HELD = LegFilter(states=frozenset((RESERVED, ACTIVE)))


async def report_switchless(calls: Overview, switches: Sequence[Switch]) -> None:
    """Log how many held legs have no switch among ``switches``, by the name of their old switch.

    A leg has no switch if the name of its switch is gone, or if no switch has the scope of its call id.
    """
    names = {switch.name for switch in switches}
    scopes = {switch.scope for switch in switches}
    legs: Counter[str] = Counter()
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = calls.page(cursor, STEP, _HELD)
        for leg in page:
            if leg.switch not in names or scope_of(leg.call) not in scopes:
                legs[leg.switch] += 1
        await asyncio.sleep(0)
    if legs:
        SWITCHES_GONE.tell(legs=legs.total(), switches=_listed(legs))


def _listed(legs: Counter[str]) -> str:
    """Return the number of legs of each switch.

    Only the switches with the most legs are named; the others are summed up.
    """
    most = legs.most_common(NAMED)
    parts = [f"{count} of {quoted(name)}" for name, count in most]
    if others := len(legs) - len(most):
        parts.append(f"{legs.total() - sum(count for _, count in most)} of {others} other switches")
    return ", ".join(parts)
