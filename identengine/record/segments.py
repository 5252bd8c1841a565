"""The files of the record: their names, their header, and the frames of their entries.

A file is a *segment*: a header, then frames. A frame is a mark, the length and checksum of its body, the time, and
the body (:mod:`identengine.record.entry`). One process writes a segment, from its creation to its end, so that two
processes never share one. Segments are numbered in the order of their creation. Whole oldest segments are removed.

Rule: a frame is complete, or it is skipped. After damage, reading continues at the next mark.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FORMAT = 1
HEADER = struct.Struct(">16sI")
"""Magic and format of a segment."""
MAGIC = b"identengine/rec\n"
FRAME = struct.Struct(">4sIId")
"""Mark, length of the body in bytes, checksum of time and body, and time in Unix seconds."""
MARK = b"\xc1\xed\xc1R"
"""Begins a frame. 0xC1 is no type of MessagePack, and no byte of a text in UTF-8."""
LONGEST_BODY = 1 << 16
"""Longest body of an entry, in bytes."""

_NAME = re.compile(r"decisions-([0-9]{12})\.rec")
_TIME = struct.Struct(">d")


class Segment(NamedTuple):
    """A segment in a folder."""

    number: int
    path: Path


def default_folder(store: Path) -> Path:
    """Return the default folder of the record of the store at ``store``, which is next to it."""
    # "." and ".." are not names of a folder.
    named = store if store.name not in ("", "..") else store.resolve()
    return named.parent / f"{named.name}.record"


def segments(folder: Path) -> list[Segment]:
    """Return the segments in a folder, the oldest first. Raise OSError if the folder cannot be listed."""
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(Segment(int(name[1]), path) for name, path in named if name)


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment."""
    return folder / f"decisions-{number:012d}.rec"


def header() -> bytes:
    """Return the header of a segment."""
    return HEADER.pack(MAGIC, FORMAT)


def frame(at: float, body: bytes) -> bytes:
    """Return the head of the frame of a body, which follows it."""
    return FRAME.pack(MARK, len(body), checksum(at, body), at)


def checksum(at: float, body: bytes | memoryview) -> int:
    """Return the checksum of a frame."""
    return zlib.crc32(body, zlib.crc32(_TIME.pack(at)))


class Frame(NamedTuple):
    """The place of a body in a segment."""

    at: float
    begin: int
    end: int
    checksum: int

    def body(self, raw: bytes) -> memoryview | None:
        """Return the body, or None if it is damaged."""
        body = memoryview(raw)[self.begin : self.end]
        return body if checksum(self.at, body) == self.checksum else None


def frames(raw: bytes) -> list[Frame]:
    """Return the frames of a segment, in their order. Their bodies are not checked."""
    found: list[Frame] = []
    place, size, head, unpack, make = HEADER.size, len(raw), FRAME.size, FRAME.unpack_from, Frame._make
    while place >= 0:
        while place + head <= size:  # one step is about 0.5 microseconds
            mark, length, check, at = unpack(raw, place)
            begin = place + head
            end = begin + length
            if mark != MARK or end > size or length > LONGEST_BODY:
                break
            # A wrong length may lead past other frames. The next mark shows if it is right.
            if end != size and raw[end : end + 4] != MARK and checksum(at, raw[begin:end]) != check:
                break
            found.append(make((at, begin, end, check)))
            place = end
        place = raw.find(MARK, place + 1)
    return found


def _frame_at(raw: bytes, place: int) -> Frame | None:
    """Return the frame that begins at a place, or None if none does or it is incomplete."""
    if not raw.startswith(MARK, place) or place + FRAME.size > len(raw):
        return None
    _, length, check, at = FRAME.unpack_from(raw, place)
    begin = place + FRAME.size
    if length > LONGEST_BODY or begin + length > len(raw):
        return None
    return Frame(at, begin, begin + length, check)


def _frame_around(raw: bytes, place: int) -> Frame | None:
    """Return the sound frame whose body contains a place, or None."""
    mark = raw.rfind(MARK, max(0, place - LONGEST_BODY), place)
    while mark >= 0:
        found = _frame_at(raw, mark)
        if found is not None and found.begin <= place < found.end and found.body(raw) is not None:
            return found
        mark = raw.rfind(MARK, max(0, place - LONGEST_BODY), mark)
    return None


def frames_with(raw: bytes, needles: Iterable[bytes]) -> list[Frame]:
    """Return the sound frames whose bodies hold one of the needles, in their order."""
    found: dict[int, Frame] = {}
    for needle in needles:
        place = raw.find(needle, HEADER.size)
        while place >= 0:
            around = _frame_around(raw, place)
            if around is not None:
                found[around.begin] = around
            place = raw.find(needle, place + 1 if around is None else around.end)
    return [found[begin] for begin in sorted(found)]
