"""Describes a difference to a person: the seed, the shrunken stream, the rows of the book, and both answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from property.ways.comparison import BOTH, Difference, Sides, compare
from property.ways.scenario import Datagrams, Scenario, Serve, Step, Stream
from property.ways.shrinking import shrunk

from identengine.stats.registry import HISTOGRAMS, PLACE, REGISTRY


def explained(found: Difference, scenario: Scenario, sides: Sides = BOTH, seconds: float = 30.0) -> str:
    """Return the report of a difference, from the smallest scenario that shows it."""
    cut = scenario.with_steps(scenario.steps[: found.step + 1])
    small = shrunk(
        cut if differs_alike(cut, found, sides) else scenario,
        lambda part: differs_alike(part, found, sides),
        seconds,
    )
    return described(compare(small, sides) or found, small)


def differs_alike(scenario: Scenario, found: Difference, sides: Sides) -> bool:
    """Return True if the sides differ in the same kind of observation. A fault of the suite is no difference."""
    other = compare(scenario, sides)
    return other is not None and other.what == found.what


def described(found: Difference, scenario: Scenario) -> str:
    """Return the report of a difference in a scenario."""
    setup = scenario.setup
    lines = [
        f"seed {scenario.seed}: the sides differ in {found.what!r} at step {found.step}",
        f"first:  {_shown(found.what, found.first)}",
        f"second: {_shown(found.what, found.second)}",
        f"calls: {setup.calls}",
        f"require_call_id={setup.require_call_id} match={setup.match} has_key={setup.has_key}"
        f" begins_empty={setup.begins_empty}",
        "steps:",
    ]
    for number, step in enumerate(scenario.steps):
        lines += [f"  {number}: {line}" for line in _step(step)]
    served = {step.version for step in scenario.steps if isinstance(step, Serve)} | {0}
    for number, case in enumerate(setup.versions):
        if number not in served:
            continue
        lines.append(f"version {number} ({case.rows.version}): {case.options} {dict(case.overrides)}")
        lines += [
            f"  {type(row).__name__} {msgspec.to_builtins(row)}"
            for row in (*case.rows.clients, *case.rows.accounts, *case.rows.dids)
        ]
    return "\n".join(lines)


def decoded(raw: bytes) -> Any:
    """Return an encoded message or answer as an object, or the bytes if they are neither JSON nor MessagePack."""
    try:
        return json.loads(raw)
    except ValueError:
        pass
    try:
        return msgspec.msgpack.decode(raw, ext_hook=lambda code, data: ("extension", code, bytes(data)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return raw


def _step(step: Step) -> list[str]:
    if not isinstance(step, Datagrams | Stream):
        return [str(step)]
    head = "Datagrams" if isinstance(step, Datagrams) else f"{step._replace(sent=())}"
    lines = [head]
    for sent in step.sent:
        old = " (too old)" if sent.too_old else ""
        lines.append(f"    {sent.host}{old} {sent.raw!r}")
        if (message := decoded(sent.raw)) != sent.raw:
            lines.append(f"        {message}")
    return lines


def _shown(what: str, value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    if what == "cells":
        return str([(_cell(place), *rest) for place, *rest in value])
    return str([_with_decoded(item) for item in value])


def _with_decoded(item: Any) -> Any:
    """Return a nested tuple with its bytes decoded too."""
    if isinstance(item, bytes):
        return item, decoded(item)
    return tuple(map(_with_decoded, item)) if isinstance(item, tuple) else item


def _cell(place: int) -> str:
    """Return the name of a cell of the counters."""
    names = [*(known.name for known in REGISTRY), *(histogram.name for histogram in HISTOGRAMS)]
    name = max((name for name in names if PLACE[name] <= place), key=lambda name: PLACE[name])
    return f"{name}[{place - PLACE[name]}]"
