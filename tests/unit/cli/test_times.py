"""Durations and points in time on the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import typer

from identengine.cli import times

NOW = datetime(2026, 12, 1, 15, 30, 20).timestamp()


@pytest.fixture(autouse=True)
def in_vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 12, 1, 15, 30, 20)

    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    monkeypatch.setattr(times, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: datetime(2026, 12, 1, 15, 30, 20).timestamp())
    yield
    monkeypatch.undo()
    time.tzset()


def shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:26]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2h", "2026-12-01T12:30:20.000000", "2026-12-01T12:30:20.000000"),
        ("2h ago", "2026-12-01T12:30:20.000000", "2026-12-01T12:30:20.000000"),
        (" 90S ", "2026-12-01T14:28:50.000000", "2026-12-01T14:28:50.000000"),
        ("1.5d", "2026-11-30T02:30:20.000000", "2026-11-30T02:30:20.000000"),
        ("now", "2026-12-01T14:30:20.000000", "2026-12-01T14:30:20.000000"),
        ("today", "2026-11-30T23:00:00.000000", "2026-12-01T22:59:59.999999"),
        ("Yesterday", "2026-11-29T23:00:00.000000", "2026-11-30T22:59:59.999999"),
        ("yesterday 14:00", "2026-11-30T13:00:00.000000", "2026-11-30T13:00:59.999999"),
        ("9:05", "2026-12-01T08:05:00.000000", "2026-12-01T08:05:59.999999"),
        ("14:03:07", "2026-12-01T13:03:07.000000", "2026-12-01T13:03:07.999999"),
        ("2026-11-30", "2026-11-29T23:00:00.000000", "2026-11-30T22:59:59.999999"),
        ("2026-10-25", "2026-10-24T22:00:00.000000", "2026-10-25T22:59:59.999999"),  # a day of 25 hours
        ("20261130", "2026-11-29T23:00:00.000000", "2026-11-30T22:59:59.999999"),
        ("2026-07-01 14:03", "2026-07-01T12:03:00.000000", "2026-07-01T12:03:59.999999"),
        ("2026-07-01T14:03:05", "2026-07-01T12:03:05.000000", "2026-07-01T12:03:05.999999"),
        ("2026-07-01 14:03:05+00:00", "2026-07-01T14:03:05.000000", "2026-07-01T14:03:05.999999"),
        ("2026-07-01T14:03:05.25Z", "2026-07-01T14:03:05.250000", "2026-07-01T14:03:05.250000"),
        ("2026-07-01T14Z", "2026-07-01T14:00:00.000000", "2026-07-01T14:59:59.999999"),
        ("20260701T140305Z", "2026-07-01T14:03:05.000000", "2026-07-01T14:03:05.999999"),
        ("1782914585", "2026-07-01T14:03:05.000000", "2026-07-01T14:03:05.999999"),
        ("@1782914585.5", "2026-07-01T14:03:05.500000", "2026-07-01T14:03:05.500000"),
    ],
)
def test_points_in_time(text: str, first: str, last: str) -> None:
    assert [shown(times.since(text)), shown(times.until(text))] == [first, last]


@pytest.mark.parametrize(
    "text",
    ["", "90", "2x", "soon", "25:00", "14:61", "2026-13-01", "yesterday noon", "0001-01-01", "-2h", "12/1/2026"],
)
def test_other_texts_are_explained(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"expected a time such as 2h, .*, got") as raised:
        times.point(text)
    assert f'got "{text}"' in str(raised.value)


def test_a_span_that_ends_before_it_begins_is_explained() -> None:
    times.in_order(5.0, 5.0)
    times.in_order(None, 5.0)
    times.in_order(5.0, None)
    with pytest.raises(typer.BadParameter, match="expected a time after --since, 1970-01-01 01:00:06"):
        times.in_order(6.0, 5.0)


@pytest.mark.parametrize(("text", "length"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_durations(text: str, length: float) -> None:
    assert times.seconds(text) == length
