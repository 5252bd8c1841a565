"""The differential suite notices a side that is broken deliberately, and its report is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from property.ways.comparison import Difference, Sides, compare, general_side
from property.ways.reached import Reached, returns
from property.ways.report import explained
from property.ways.scenario import Scenario, Setup, Stream
from property.ways.shrinking import reduced
from property.ways.sides import Side
from property.ways.streams import scenario

from identengine.calls.backend import LegResult
from identengine.engine.lifecycle import Asker
from identengine.model.records import Decision, Request
from identengine.stats.registry import PLACE

SEEDS = 60
"""Number of scenarios within which each deliberate fault has to show."""
SECONDS = 10.0
"""Processor time to shrink one of them, in seconds."""


class Usual(Side):
    """The usual side, to be broken by a subclass."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, usual=True)


class WrongByte(Usual):
    """A side that answers ``ambiguous`` for calls of termination as well."""

    def _datagrams(self, step: Any) -> Any:
        seen = super()._datagrams(step)
        seen["answers"] = [
            (place, raw.replace(b'"ambiguous":true', b'"ambiguous":null')) for place, raw in seen["answers"]
        ]
        return seen


class ForgetfulCounter(Usual):
    """A side that does not count overcommitted calls."""

    def take(self, step: Any) -> Any:
        place = PLACE["overcommits"]
        before = self._cells[place]
        seen = super().take(step)
        self._cells[place] = before
        return seen


class FastClock(Usual):
    """A side whose clock is fast after datagrams, so that its legs expire later."""

    def _datagrams(self, step: Any) -> Any:
        self._now += 0.25
        return super()._datagrams(step)


class SilentReject(Usual):
    """A side that reports no reject because of capacity."""

    def _on_reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        if decision.reason != "client_capacity":
            super()._on_reject(asker, request, decision)


class UnsavedLegs(Usual):
    """A side whose mirror does not store the changes of one connection."""

    def take(self, step: Any) -> Any:
        if isinstance(step, Stream) and step.connection == 1:
            self._journal.write = _store_nothing  # type: ignore[method-assign]
            try:
                return super().take(step)
            finally:
                del self._journal.write
        return super().take(step)


def _store_nothing(*_: Any) -> None:
    pass


class LateBook(Usual):
    """A side that keeps the first version of the book after a change."""

    def _serve(self, case: Any, *, empty: bool = False) -> None:
        super()._serve(self._setup.versions[0], empty=empty)


def found_by(broken: Callable[[Setup], Side]) -> tuple[Difference, Scenario, Sides]:
    """Return the first difference between a broken side and the general way."""
    sides = broken, general_side
    for seed in range(SEEDS):
        one = scenario(seed, 300)
        if (found := compare(one, sides)) is not None:
            return found, one, sides
    raise AssertionError(f"{broken} goes unnoticed in {SEEDS} scenarios")


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (WrongByte, {"answers"}),
        (ForgetfulCounter, {"cells"}),
        (FastClock, {"legs", "answers"}),
        (SilentReject, {"on reject"}),
        (UnsavedLegs, {"lost by the restart", "changed by the restart", "legs"}),
        (LateBook, {"answers"}),
    ],
)
def test_a_broken_side_is_noticed(broken: Callable[[Setup], Side], what: set[str]) -> None:
    found, one, sides = found_by(broken)
    assert found.what in what
    text = explained(found, one, sides, SECONDS)
    print(f"\n{text}")
    assert f"seed {one.seed}:" in text
    assert "version 0" in text
    small = text.count("        {")  # a line of each decoded message
    assert small <= one.messages / 10


def test_equal_sides_do_not_differ() -> None:
    one = scenario(1, 300)
    assert compare(one, (general_side, general_side)) is None


def test_a_scenario_depends_on_its_seed_alone() -> None:
    assert scenario(5, 300).steps == scenario(5, 300).steps
    assert scenario(5, 300).steps != scenario(6, 300).steps


def test_reduced_keeps_only_the_items_that_matter() -> None:
    def keeps(items: Sequence[int]) -> bool:
        return {3, 17, 18} <= set(items)

    assert list(reduced(range(40), keeps, lambda: False)) == [3, 17, 18]
    assert list(reduced([1], lambda _: True, lambda: False)) == []


def step_of(value: int) -> LegResult | None:
    if value > 3:
        return None
    if value > 2:
        return LegResult(True)
    return None


def test_an_unreached_return_is_named() -> None:
    reached = Reached([step_of])
    with reached.watching():
        assert step_of(3)
        assert step_of(4) is None
    assert reached.missed() == ["step_of: return None"]
    assert (reached.values["step_of"], reached.nones["step_of"]) == (1, 1)
    assert [text for _, text in returns("def f():\n  if a:\n    return 1\n  else:\n    return\n")] == [
        "if a: return 1",
        "unless a: return",
    ]
