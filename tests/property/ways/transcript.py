"""Writes what one side shows, so that two checkouts of the program can be compared over the same scenarios.

``python tests/property/ways/transcript.py 0 100`` prints a line with a hash for each seed, and
``transcript.py 17`` all effects of one seed. Copy this folder into the other checkout, run both, and compare the
outputs. Effects that depend on the process are left out.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(tests), str(tests.parent)]

from property.ways.comparison import AFTER
from property.ways.report import decoded
from property.ways.scenario import Scenario
from property.ways.sides import Side
from property.ways.streams import scenario

from identengine.stats.registry import PLACE, REGISTRY

MESSAGES = 500


def lines(one: Scenario) -> Iterator[str]:
    """Yield everything that one side shows in a scenario."""
    side = Side(one.setup, usual=True)
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
    if what in ("answers", "late"):
        return str([(place, raw, decoded(raw) if isinstance(raw, bytes) else raw) for place, *_, raw in value])
    return str(value)


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
