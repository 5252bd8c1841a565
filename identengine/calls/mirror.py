"""The interface between the set of calls and its mirror, which outlives the process (engine.md 5.8)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from identengine.calls.leg import Row
from identengine.calls.sync import Note


class RoomLeft(Enum):
    """The space that a mirror has left."""

    AMPLE = "ample"
    """There is space for held and lapsed legs."""
    SCARCE = "scarce"
    """Space is running out. Lapsed legs are forgotten before their time."""
    RESERVE = "reserve"
    """Only the reserve is left, for messages that free legs. No leg is admitted."""


class Changes(msgspec.Struct):
    """Changes that the mirror has not stored yet: changed rows of legs, rows of stops, and notes.

    A row of stops, or a note, of None is deleted.
    """

    rows: dict[int, Row]
    """The rows of legs, by serial number.

    A row without legs is deleted. The mirror stores a row whole if :attr:`Row.stored` is not its generation, and
    else only the dead places.
    """
    tombstones: dict[int, bytes | None] = {}
    """Encoded rows of stops, by serial number."""
    notes: dict[str, Note] = {}


class MirrorError(Exception):
    """The mirror did not store the changes."""


class MirrorFullError(MirrorError):
    """The mirror has no space for the changes."""


class Mirror(Protocol):
    """A store that keeps a copy of the set of calls beyond the life of the process."""

    @property
    def room_left(self) -> RoomLeft:
        """Space that is left for further changes."""

    @property
    def generation(self) -> int:
        """Number that changes when an empty mirror replaces one that was lost. It must then be filled again."""

    def write(self, changes: Changes) -> None:
        """Store all changes or none. Raise MirrorError if they were not stored."""

    def complete(self) -> None:
        """Note that the new mirror holds the whole set."""


class MirrorReports(NamedTuple):
    """The calls that report the loss of a mirror to the operator."""

    lost: Callable[[str], None] = lambda _: None
    """Report that the files of the mirror are lost, and why. The mirror is written again."""
    unsaved: Callable[[str], None] = lambda _: None
    """Report that no mirror can be written, and why."""
    over: Callable[[], None] = lambda: None
    """Report that the mirror holds the whole set again."""


class MirrorFile(Protocol):
    """The file of a mirror, for reports."""

    @property
    def path(self) -> Path:
        """Path of the file."""

    @property
    def size(self) -> int:
        """Allocated size of the file, in bytes."""

    @property
    def trouble(self) -> str | None:
        """Reason why the file does not hold the whole set, as an alarm, or None if it does."""

    def used(self) -> int:
        """Return the number of bytes in use."""
