"""Reads the record of decisions, the newest decision first, also while a server writes it.

*Newest* is the order of writing, since the clock of the server may step back. A segment is read as a whole,
without a lock. Rule: damage hides the damaged entries alone, and :attr:`RecordReader.damaged` counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from identengine.errors import RecordError
from identengine.record.conditions import Conditions, RecordFilter
from identengine.record.entry import LONGEST_TEXT, Recorded, decode, decode_asked, recorded
from identengine.record.segments import FORMAT, HEADER, MAGIC, Frame, frames, frames_with, header, segments
from identengine.record.uris import without_passwords


class RecordReader:
    """A reader of one folder."""

    def __init__(self, folder: Path) -> None:
        """Read the record in ``folder``: [record] path of the config, or its default."""
        self.folder = folder
        self.damaged = 0
        """Number of entries that were skipped so far, because they are damaged."""

    def newest(self, wanted: RecordFilter | None = None) -> Iterator[Recorded]:
        """Return an iterator over the entries that a filter selects, the newest first.

        Raise RecordError if the folder has no record, or if the record cannot be read. Raise ValueError if the
        number or address of the filter is invalid.
        """
        conditions = Conditions(wanted or RecordFilter())
        for raw in self._segments():
            for found in conditions.select(raw):
                entry = self._entry(raw, found, conditions)
                if entry is not None:
                    yield entry

    def of_call(self, call_id: str) -> list[Recorded]:
        """Return the entries of a call, the oldest first. Raise RecordError as :meth:`newest`.

        A switch, or several, may have used the same id for several calls.
        """
        call_id = without_passwords(call_id)[:LONGEST_TEXT]
        needle = call_id.encode(errors="replace")
        found = [self._of_call(raw, needle, call_id) for raw in self._segments()] if needle else []
        return [entry for entries in reversed(found) for entry in entries]

    def oldest_at(self) -> float | None:
        """Return the time of the oldest entry, or None for an empty record. Raise as :meth:`newest` does."""
        oldest = None
        for raw in self._segments():
            found = frames(raw)
            oldest = found[0].at if found else oldest
        return oldest

    def _of_call(self, raw: bytes, needle: bytes, call_id: str) -> list[Recorded]:
        """Return the entries of a call in a segment, the oldest first."""
        entries = [self._entry(raw, found, None) for found in frames_with(raw, [needle])]
        return [one for one in entries if one and (one.request.call_id or "")[:LONGEST_TEXT] == call_id]

    def _segments(self) -> Iterator[bytes]:
        """Return an iterator over the bytes of the segments, the newest first."""
        try:
            found = segments(self.folder)
        except FileNotFoundError:
            raise RecordError(
                f"no record of decisions at {self.folder}. A server makes it with the first decision that it "
                "records; check [record] decisions and path of its config."
            ) from None
        except OSError as error:
            raise RecordError(f"cannot read the record of decisions {self.folder}: {error.strerror}") from error
        for segment in reversed(found):
            try:
                raw = segment.path.read_bytes()
            except FileNotFoundError:  # the server has removed it meanwhile, since it was the oldest
                continue
            except OSError as error:
                raise RecordError(
                    f"cannot read the record of decisions {segment.path}: {error.strerror}"
                ) from error
            if len(raw) < HEADER.size:
                continue
            magic, form = HEADER.unpack_from(raw)
            if magic != MAGIC:
                self.damaged += 1
                raw = header() + raw  # the server may have appended entries to a file that was truncated
            elif form > FORMAT:
                raise RecordError(
                    f"{segment.path} is of format {form}; this program reads up to {FORMAT}. "
                    "Use a newer identengine."
                )
            yield raw

    def _entry(self, raw: bytes, found: Frame, conditions: Conditions | None) -> Recorded | None:
        """Return the entry of a frame, or None if it is damaged or not selected."""
        body = memoryview(raw)[found.begin : found.end]
        try:
            if conditions is not None and conditions.asked:
                asked = decode_asked(body)
                for holds in conditions.asked:
                    if not holds(asked):
                        return None
            if found.body(raw) is None:
                self.damaged += 1
                return None
            decoded = decode(body)
            if conditions is not None and not conditions.hold(decoded):
                return None
            return recorded(found.at, decoded)
        except msgspec.MsgspecError:
            self.damaged += 1
            return None
