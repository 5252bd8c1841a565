"""What keeps a copy of the set of calls that outlives the process, as the set sees it (engine.md 5.8)."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from identengine.calls.legtable import Leg
from identengine.calls.slots import Space
from identengine.calls.sync import Note


class RoomLeft(Enum):
    """How much room a mirror has left."""

    AMPLE = "ample"
    """There is room for legs and for what is remembered of them."""
    SCARCE = "scarce"
    """Room runs out: lapsed legs are to be forgotten before their time."""
    RESERVE = "reserve"
    """Only the reserve is left, which is for messages that free legs: no leg is admitted."""


class Changes(msgspec.Struct):
    """What has to go to the mirror: the places that changed, and rows and notes, of which None is gone."""

    small: Space[Leg]
    large: Space[Leg]
    tombstones: dict[int, bytes | None] = {}
    """By serial number, packed."""
    notes: dict[str, Note] = {}

    def condense(self) -> None:
        """Name each place once, since they may have to wait."""
        for space in (self.small, self.large):
            space.changed[:] = set(space.changed)

    def clear(self) -> None:
        """Begin anew, once the mirror has them."""
        self.small.changed.clear()
        self.large.changed.clear()
        self.tombstones.clear()
        self.notes.clear()


class MirrorFullError(Exception):
    """The mirror has no room for what changed."""


class Mirror(Protocol):
    """What keeps a copy of the set that outlives the process."""

    @property
    def room_left(self) -> RoomLeft:
        """How much room is left for what changes."""

    def write(self, changes: Changes) -> None:
        """Keep it, all or nothing. Raises MirrorFullError."""


class MirrorFile(Protocol):
    """The file of a mirror, as it is reported on."""

    @property
    def path(self) -> Path:
        """Where the file is."""

    @property
    def size(self) -> int:
        """Bytes that are taken for the file."""

    def used(self) -> int:
        """Return how many of them are in use."""
