"""The injector of faults: it raises at each line at which a real fault could arise, and at no other."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support import faults


def test_no_fault_keeps_a_with_block_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python traces the line of ``with`` again before it calls ``__exit__``."""
    monkeypatch.setattr(faults, "PACKAGE", str(Path(__file__).parents[1]))
    opened: list[io.BytesIO] = []

    def work() -> None:
        for _ in range(2):
            with io.BytesIO() as stream:
                opened.append(stream)
                stream.write(b"a")
            len(opened)

    raised = set()
    for injector in faults.at_every_line(MemoryError, Path(__file__).parent.name):
        injector.run(work)
        raised.add(injector.raised_in.rpartition(":")[2])
        assert all(stream.closed for stream in opened)
    first = work.__code__.co_firstlineno + 1
    assert raised == {"", *(str(first + line) for line in range(5))}
