"""Takes up the set of calls as the last decider left it (engine.md 5.8)."""

from __future__ import annotations

import asyncio
import gc

from identengine.calls.backend import Settings
from identengine.calls.journal import Journal
from identengine.calls.journalfile import InUseError
from identengine.calls.memory import Calls
from identengine.config.schema import CallsConfig
from identengine.log.events import CALLS_DAMAGED, CALLS_IN_USE
from identengine.server.link import ORPHAN_SECONDS


async def open_journal(calls: CallsConfig, stop: asyncio.Event) -> Journal:
    """Open the mirror of the set of calls; raises StoreError.

    It is waited for, until ``stop``, where another decider has it still: one whose supervisor was killed and that
    drains, or one that hands over and settles.
    """
    loop = asyncio.get_running_loop()
    patience, mention = loop.time() + ORPHAN_SECONDS, loop.time() + 1.0
    while True:
        try:
            return Journal(calls.path, calls.max_legs, calls.lapsed_max, _damaged)
        except InUseError:
            if loop.time() > patience or stop.is_set():
                raise
        if loop.time() > mention:
            CALLS_IN_USE.tell(path=str(calls.path))
            mention = patience
        await asyncio.sleep(0.005)


def restored(journal: Journal, calls: CallsConfig) -> Calls:
    """Return the calls that a mirror holds; it mirrors them from now on."""
    made = Calls(
        Settings(
            max_legs=calls.max_legs,
            lapsed_max=calls.lapsed_max,
            reserved=calls.reserved,
            active=calls.active,
            grace=calls.grace,
            global_capacity=calls.global_capacity,
        ),
        journal,
    )
    gc.disable()  # it would look again and again through what is kept for long
    kept = journal.read()
    made.restore(*kept, journal.clock())
    gc.freeze()
    gc.enable()
    return made


def _damaged(why: str) -> None:
    CALLS_DAMAGED.tell(why=why)
