"""Runs a scenario on two sides and returns their first difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from property.ways.scenario import Restart, Scenario, Setup
from property.ways.sides import Observed, Side

STATE_STEPS = 16
"""Number of steps after which the whole state is compared."""
AFTER = (Restart(dies=True), Restart(dies=False))
"""Steps after the last one: the set that is restored from the mirror has to be equal too."""


@dataclass(frozen=True)
class Difference:
    """The first difference of two sides, or a fault of both."""

    step: int
    """Index of the step, or the number of steps if a restart after them shows the difference."""
    what: str
    first: Any
    second: Any


Sides = tuple[Callable[[Setup], Side], Callable[[Setup], Side]]


def usual_side(setup: Setup) -> Side:
    """Return the side with both ways."""
    return Side(setup, usual=True)


def general_side(setup: Setup) -> Side:
    """Return the side on which the general way decides every message."""
    return Side(setup, usual=False)


BOTH: Sides = (usual_side, general_side)
Watch = Callable[[Scenario, int, Observed], None]
"""A function that sees each step of the first side: the scenario, the index of the step, and the observed."""


def compare(scenario: Scenario, sides: Sides = BOTH, watch: Watch | None = None) -> Difference | None:
    """Return the first difference of two sides, or None if they agree in everything."""
    first, second = (make(scenario.setup) for make in sides)
    try:
        for number, step in enumerate((*scenario.steps, *AFTER)):
            seen, other = first.take(step), second.take(step)
            if number % STATE_STEPS == 0 or number >= len(scenario.steps):
                seen, other = seen | first.state(), other | second.state()
            if (found := _unequal(number, seen, other)) is not None:
                return found
            if watch is not None and number < len(scenario.steps):
                watch(scenario, number, seen)
        return None
    finally:
        first.close()
        second.close()


def _unequal(step: int, seen: Observed, other: Observed) -> Difference | None:
    for what in ("lost by the restart", "changed by the restart"):
        if seen.get(what):
            return Difference(step, what, seen[what], [])
    if seen == other:
        return None
    for what in (*seen, *other):
        first, second = seen.get(what), other.get(what)
        if first != second:
            return Difference(step, what, *_narrowed(first, second))
    raise AssertionError("unequal without a difference")


def _narrowed(first: Any, second: Any) -> tuple[Any, Any]:
    """Return the items of two lists that are not in the other list, by place. Return other values as they are."""
    if not (isinstance(first, list) and isinstance(second, list)):
        return first, second
    places = range(max(len(first), len(second)))
    unequal = [place for place in places if first[place : place + 1] != second[place : place + 1]]
    return (
        [(place, *first[place : place + 1]) for place in unequal[:10]],
        [(place, *second[place : place + 1]) for place in unequal[:10]],
    )
