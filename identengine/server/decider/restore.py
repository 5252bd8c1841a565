"""Restores the set of calls as the last decider left it (engine.md 5.8)."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from identengine.calls.backend import Settings
from identengine.calls.journal import Journal
from identengine.calls.journalfile import InUseError
from identengine.calls.legs import scope_of
from identengine.calls.memory import Calls
from identengine.calls.mirror import MirrorReports
from identengine.config.schema import CallsConfig
from identengine.log.events import (
    CALLS_DAMAGED,
    CALLS_IN_USE,
    CALLS_LOST,
    CALLS_MISSING,
    CALLS_SAVED,
    CALLS_UNSAVED,
)
from identengine.server.link import ORPHAN_SECONDS

COLLECTED = 2_000
"""Number of new objects after which the garbage collector runs.

Requests make no cyclic garbage. Messages that cannot be read do, which a larger number would keep for too long.
"""


async def open_journal(calls: CallsConfig, stop: asyncio.Event) -> Journal:
    """Open the mirror of the set of calls. Raise StoreError if it cannot be opened.

    While another decider has the mirror open, wait for it, until ``stop`` is set. That decider may drain after its
    supervisor was killed, or it may be handing over.
    """
    loop = asyncio.get_running_loop()
    patience, mention = loop.time() + ORPHAN_SECONDS, loop.time() + 1.0
    while True:
        try:
            return Journal(calls.path, calls.max_legs, calls.lapsed_max, _damaged, _reports(calls.path))
        except InUseError:
            if loop.time() > patience or stop.is_set():
                raise
        if loop.time() > mention:
            CALLS_IN_USE.tell(path=str(calls.path))
            mention = patience
        await asyncio.sleep(0.005)


def restored(journal: Journal, calls: CallsConfig, *, replaces: bool) -> tuple[Calls, set[str]]:
    """Return the calls that a mirror holds, with the mirror attached, and the scopes of their ids.

    ``replaces`` is true if an earlier decider kept calls. Log an alarm if its mirror is missing or incomplete.
    """
    made = Calls(
        Settings(
            max_legs=calls.max_legs,
            lapsed_max=calls.lapsed_max,
            reserved=calls.reserved,
            active=calls.active,
            grace=calls.grace,
            cps_burst=calls.cps_burst,
            global_capacity=calls.global_capacity,
        ),
        journal,
    )
    gc.disable()  # a collection would traverse the restored legs again and again
    rows, tombstones, notes = journal.read()
    if replaces and journal.created:
        CALLS_MISSING.tell(why=f"an earlier decider kept calls in {journal.path}, but the file is missing")
    elif journal.incomplete:
        held = sum(row.left for row in rows)
        CALLS_MISSING.tell(
            why=f"the last decider died while it wrote {journal.path} again; the file holds {held} legs"
        )
    made.restore(rows, tombstones, notes, journal.clock())
    scopes = {scope_of(leg.call) for row in rows for leg in row.living()}
    gc.freeze()
    gc.set_threshold(COLLECTED)
    gc.enable()
    return made, scopes


def _reports(folder: Path) -> MirrorReports:
    """Return the calls that log the loss of the mirror."""
    return MirrorReports(
        lambda why: CALLS_LOST.tell(why=why),
        lambda why: CALLS_UNSAVED.tell(why=why),
        lambda: CALLS_SAVED.tell(path=str(folder)),
    )


def _damaged(why: str) -> None:
    CALLS_DAMAGED.tell(why=why)
