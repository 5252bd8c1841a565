"""The engine with its garbage collector watched: ``python -m benchmarks.watched FILE serve --config …``.

Each collection in any of its processes adds a line to FILE: process, generation, nanoseconds. Processes inherit
the watch when they are forked. The line is written after the collection and not counted.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from identengine.__main__ import main


class Pause(NamedTuple):
    """One collection."""

    pid: int
    generation: int
    nanoseconds: int


def read(path: Path) -> Iterator[Pause]:
    """Yield the recorded collections."""
    for line in path.read_text(encoding="ascii").splitlines():
        yield Pause(*map(int, line.split()))


def _watch(path: Path) -> None:
    began = 0

    def note(phase: str, about: dict[str, Any]) -> None:  # the signature that the interpreter requires
        nonlocal began
        if phase == "start":
            began = time.perf_counter_ns()
            return
        took = time.perf_counter_ns() - began
        with path.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {about['generation']} {took}\n")

    path.touch()
    gc.callbacks.append(note)


if __name__ == "__main__":
    _watch(Path(sys.argv.pop(1)))
    main()
