"""Shrinks a scenario whose sides differ: fewer steps, fewer messages, fewer rows, as long as they differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from property.books import Case
from property.ways.books import without_rows
from property.ways.scenario import Datagrams, Scenario, Sent, Stream

from identengine.model.records import Account, Did

T = TypeVar("T")
Differs = Callable[[Scenario], bool]


class _Clock:
    """A limit on the processor time of shrinking."""

    def __init__(self, seconds: float) -> None:
        self._end = time.process_time() + seconds

    @property
    def is_over(self) -> bool:
        return time.process_time() > self._end


def reduced(items: Sequence[T], keeps: Callable[[Sequence[T]], bool], is_over: Callable[[], bool]) -> Sequence[T]:
    """Return a part of the items for which ``keeps`` is still true. No single item can be dropped from it."""
    size = len(items) // 2 or 1
    while items:
        place, before = 0, len(items)
        while place < len(items):
            if is_over():
                return items
            fewer = [*items[:place], *items[place + size :]]
            if keeps(fewer):
                items = fewer
            else:
                place += size
        if size == 1 and len(items) == before:
            break
        size = size // 2 or 1
    return items


def shrunk(scenario: Scenario, differs: Differs, seconds: float = 30.0) -> Scenario:
    """Return a small scenario whose sides differ. It is ``scenario`` if they do not differ reliably."""
    clock = _Clock(seconds)
    if not differs(scenario):
        return scenario
    before = -1
    while before != (size := _size(scenario)) and not clock.is_over:
        before = size
        scenario = _fewer_steps(scenario, differs, clock)
        scenario = _fewer_messages(scenario, differs, clock)
        scenario = _fewer_rows(scenario, differs, clock)
    return scenario


def _size(scenario: Scenario) -> int:
    rows = sum(len(_rows(case)) for case in scenario.setup.versions)
    return len(scenario.steps) + scenario.messages + rows


def _fewer_steps(scenario: Scenario, differs: Differs, clock: _Clock) -> Scenario:
    steps = reduced(scenario.steps, lambda left: differs(scenario.with_steps(tuple(left))), lambda: clock.is_over)
    return scenario.with_steps(tuple(steps))


def _fewer_messages(scenario: Scenario, differs: Differs, clock: _Clock) -> Scenario:
    for number, step in enumerate(scenario.steps):
        if isinstance(step, Datagrams | Stream) and len(step.sent) > 1:
            scenario = _fewer_messages_of(number, step, scenario, differs, clock)
    return scenario


def _fewer_messages_of(
    number: int, step: Datagrams | Stream, scenario: Scenario, differs: Differs, clock: _Clock
) -> Scenario:
    """Drop messages of one step."""

    def with_sent(sent: Sequence[Sent]) -> Scenario:
        steps = list(scenario.steps)
        steps[number] = step._replace(sent=tuple(sent))
        return scenario.with_steps(tuple(steps))

    return with_sent(reduced(step.sent, lambda sent: differs(with_sent(sent)), lambda: clock.is_over))


def _fewer_rows(scenario: Scenario, differs: Differs, clock: _Clock) -> Scenario:
    """Drop accounts and DIDs from all versions together, by their id or number."""
    versions = scenario.setup.versions
    keys = {_key(row) for case in versions for row in _rows(case)}

    def with_rows(kept: Sequence[tuple[str, int | str]]) -> Scenario:
        cases = [without_rows(case, {row for row in _rows(case) if _key(row) not in kept}) for case in versions]
        return replace(scenario, setup=replace(scenario.setup, versions=tuple(cases)))

    kept = reduced(sorted(keys, key=str), lambda left: differs(with_rows(left)), lambda: clock.is_over)
    return with_rows(kept)


def _rows(case: Case) -> list[Account | Did]:
    return [*case.rows.accounts, *case.rows.dids]


def _key(row: Account | Did) -> tuple[str, int | str]:
    return ("did", row.number) if isinstance(row, Did) else ("account", row.id)
