"""Rejects in the log: once a second for each source and reason, bounded under forged sources (engine.md 7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from identengine.log.rejects import SOURCES, RejectLog


def test_counted_and_written_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "identengine")
    waiting: list[Callable[[], None]] = []
    log = RejectLog(waiting.append)
    for _ in range(1000):
        log.note("10.0.0.1", "unknown_source", "sbc1")
    log.note("10.0.0.1", "bad_password", "sbc1")
    log.note("a name\nof two lines" + "x" * 100, "unknown_source", "sbc2")
    log.note("192.0.2.1", "unknown peer")
    assert caplog.messages == []
    (write,) = waiting
    write()
    assert caplog.messages == [
        "rejected unknown_source from '10.0.0.1' by sbc1: 1000",
        "rejected bad_password from '10.0.0.1' by sbc1: 1",
        "rejected unknown_source from 'a name\\nof two lines" + "x" * 45 + "' by sbc2: 1",
        "rejected unknown peer from '192.0.2.1': 1",
    ]
    log.note("10.0.0.1", "unknown_source", "sbc1")
    assert len(waiting) == 2


def test_forged_sources_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "identengine")
    log = RejectLog(lambda write: None)
    for number in range(100_000):
        log.note(f"10.0.{number >> 8}.{number & 255}", "unknown_source", "sbc1")
    assert len(log._counts) == SOURCES
    log.write()
    assert len(caplog.messages) == SOURCES + 1
    assert caplog.messages[-1] == f"rejected unknown_source from other sources: {100_000 - SOURCES}"
