"""Writes what one side shows, so that two checkouts of the program can be compared over the same scenarios.

``python tests/property/ways/transcript.py 0 100`` prints a line with a hash for each seed, and
``transcript.py 17`` all effects of one seed. Copy this folder into the other checkout, run both, and compare the
outputs. The transcript leaves out the process id, the order of
members, and the candidates of ``explain``. It also leaves out early choices among lapsed legs of equal age.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(tests), str(tests.parent)]

import msgspec
from property.ways.comparison import AFTER
from property.ways.report import decoded
from property.ways.scenario import Scenario
from property.ways.sides import Side
from property.ways.streams import scenario

from identengine.stats.registry import PLACE, REGISTRY

MESSAGES = 500


def lines(one: Scenario) -> Iterator[str]:
    """Yield all effects of one side in a scenario."""
    setup = replace(one.setup, calls=msgspec.structs.replace(one.setup.calls, lapsed_max=10_000))
    side = Side(setup, usual=True)
    with mock.patch.object(os, "getpid", return_value=1):
        for number, step in enumerate((*one.steps, *AFTER)):
            seen = side.take(step) | side.state()
            for what in sorted(seen):
                yield f"{number} {what}: {_plain(what, seen[what])}"
    side.close()


def _plain(what: str, value: Any) -> str:
    if what == "cells":
        cells = (
            (known.name, value[PLACE[known.name] : PLACE[known.name] + len(known.series)]) for known in REGISTRY
        )
        return str({name: counts for name, counts in cells if any(counts)})
    if what in ("malformed", "on malformed"):  # in the order of the kinds of errors, not of the messages
        table = isinstance(value, dict)
        value = (
            sorted((name, *sorted(codes.items())) for name, codes in value.items())
            if table
            else sorted(map(str, value))
        )
    if what == "on reject":
        value = [(asker.switch, asker.scope, asker.interface, request, reject) for asker, request, reject in value]
    if what in ("answers", "late"):
        value = [(*place, _ordered(decoded(raw) if isinstance(raw, bytes) else raw)) for *place, raw in value]
    return str(value)


def _ordered(value: Any) -> Any:
    """Return an object with its members by name, and without the candidates of an explanation."""
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value) if name not in ("candidates", "cut")}
    return [_ordered(item) for item in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Print the transcript of one seed, or a hash for each of several seeds."""
    first, *last = map(int, sys.argv[1:])
    if not last:
        for line in lines(scenario(first, MESSAGES)):
            print(line)
        return
    for seed in range(first, last[0]):
        digest = hashlib.sha256("\n".join(lines(scenario(seed, MESSAGES))).encode(errors="backslashreplace"))
        print(seed, digest.hexdigest()[:16])


if __name__ == "__main__":
    main()
