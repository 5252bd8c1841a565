"""The events of the record of decisions (engine.md 8.8); :mod:`identengine.log.events` has all others."""

from __future__ import annotations

from identengine.log.event import Event

RECORD_UNWRITTEN = Event(
    "record_unwritten",
    "alarm",
    "decisions cannot be written to their record: %(why)s",
    "Free space on its file system, or correct its owner, its mode or [record] path. The server tries again each "
    "second, and counts the decisions that are not recorded.",
)
RECORD_WRITTEN = Event(
    "record_written",
    "warning",
    "decisions are recorded again; since the start of this process %(lost)d were not recorded",
)
