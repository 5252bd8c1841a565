"""Durations and points in time on the command line: ``2h``, ``yesterday 14:00``, ``2026-11-30``.

Rule: local time counts unless a text names another zone. A text that is less exact names a longer point: a date is
a whole day, and ``14:03`` a minute. ``--since`` begins with its first instant, and ``--until`` ends with its last.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import NamedTuple

import typer

from identengine.errors import expected

EXAMPLES = '2h, "yesterday 14:00", 2026-11-30 or 2026-11-30T14:03'
"""Points in time as help texts and messages show them."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"\s+ago$")
_EPOCH = re.compile(r"@?(\d{9,11})(\.\d+)?")
"""Unix time, as ``--json`` shows it. From 1973 on it has nine digits; a date without hyphens has eight."""
_DAYS = {"today": 0, "yesterday": 1}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_TICK = timedelta(microseconds=1)


class Point(NamedTuple):
    """A point in time: its first and its last instant, in seconds of Unix time."""

    first: float
    last: float


def seconds(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``10m``, ``2h``, ``1d`` or ``1w``. Raise BadParameter otherwise."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(expected("a time such as 90s, 10m, 2h or 1d", text))
    return float(found[1]) * _SECONDS[found[2]]


def since(text: str | float) -> float:
    """Return the first instant of a point in time. Raise BadParameter if the text is not a point in time."""
    return point(text).first if isinstance(text, str) else text  # typer passes defaults, too


def until(text: str | float) -> float:
    """Return the last instant of a point in time. Raise BadParameter if the text is not a point in time."""
    return point(text).last if isinstance(text, str) else text


since.__name__ = until.__name__ = "time"  # the type that help texts show


def point(text: str) -> Point:
    """Return a point in time. Raise BadParameter if the text is not a point in time.

    Relative texts are ``now``, a duration before now (``2h``, ``2h ago``), a time of today, ``yesterday 14:00``.
    Absolute texts are a date, a date with a time (ISO 8601), and Unix time.
    """
    words = text.strip().lower()
    try:
        return _before_now(words) or _of_day(words) or _of_calendar(text.strip())
    except (ValueError, OverflowError, OSError):  # the last two for years that the clock does not have
        raise typer.BadParameter(expected(f"a time such as {EXAMPLES}", text)) from None


def in_order(first: float | None, last: float | None) -> None:
    """Raise BadParameter if a time span ends before it begins."""
    if first is not None and last is not None and last < first:
        begun, ended = (datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds") for at in (first, last))
        raise typer.BadParameter(expected(f"a time after --since, {begun}", ended), param_hint="--until")


def _before_now(words: str) -> Point | None:
    now = time.time()
    if words == "now":
        return Point(now, now)
    if epoch := _EPOCH.fullmatch(words):
        at = float(words.removeprefix("@"))
        return Point(at, at if epoch[2] else at + 1 - _TICK.total_seconds())
    length = _AGO.sub("", words)
    found = _DURATION.fullmatch(length)
    if found is None or not found[2]:
        return None
    at = now - float(found[1]) * _SECONDS[found[2]]
    return Point(at, at)


def _of_day(words: str) -> Point | None:
    """Return the point of ``today``, ``yesterday 14:00`` or ``14:03``, or None. Raise ValueError."""
    day, _, clock = words.partition(" ")
    if day not in _DAYS:
        day, clock = "today", words
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS[day])
    if day == words:
        return _span(midnight, timedelta(days=1))
    found = _CLOCK.fullmatch(clock.strip())
    if found is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups())
    return _span(midnight.replace(hour=hour, minute=minute, second=second), _exact(clock))


def _of_calendar(text: str) -> Point:
    """Return the point of a date, or of a date with a time. Raise ValueError."""
    at = datetime.fromisoformat(text)
    _, _, clock = text.upper().replace(" ", "T", 1).partition("T")
    return _span(at, _exact(clock) if clock else timedelta(days=1))


def _exact(clock: str) -> timedelta:
    """Return the length of the time that a clock names: a minute, a second or an instant."""
    digits = re.split(r"[Zz+-]", clock)[0]
    if "." in digits or "," in digits:
        return _TICK
    parts = digits.count(":") + 1 if ":" in digits else len(digits) // 2
    return (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))[min(parts, 3) - 1]


def _span(at: datetime, length: timedelta) -> Point:
    return Point(at.timestamp(), (at + length - _TICK).timestamp())
