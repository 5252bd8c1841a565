"""Reads the record of decisions, the newest decision first, also while a server writes it.

*Newest* is the order of writing, since the clock of the server may step back. A segment is read as a whole,
without a lock. Rule: damage hides the damaged entries alone, and :attr:`RecordReader.damaged` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec

from identengine.errors import RecordError
from identengine.model.numbers import requested_number
from identengine.record.entry import LONGEST_TEXT, Body, Recorded, decision_of, decode, masked_number, recorded
from identengine.record.segments import FORMAT, HEADER, MAGIC, Frame, frame_around, frames, segments


class RecordFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on entries. All of them must hold, and None is no condition."""

    since: float | None = None
    """Earliest time, in Unix seconds."""
    until: float | None = None
    """Time before which an entry must be, in Unix seconds."""
    accepted: bool | None = None
    account_id: int | None = None
    """Account of the decision, or that a request of termination named."""
    client_id: int | None = None
    number: str | None = None
    """Caller's or dialled number, in any spelling (engine.md 2.1)."""
    address: str | None = None
    """Address of ``src_ip``, or a network that contains it."""
    switch: str | None = None
    reason: str | None = None


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
        conditions = _conditions(wanted or RecordFilter())
        since, until = (wanted.since, wanted.until) if wanted else (None, None)
        for raw in self._segments():
            for found in reversed(list(frames(raw))):
                if (since is None or found.at >= since) and (until is None or found.at < until):
                    entry = self._entry(raw, found, conditions)
                    if entry is not None:
                        yield entry

    def of_call(self, call_id: str) -> list[Recorded]:
        """Return the entries of a call, the oldest first. Raise RecordError as :meth:`newest`.

        A switch, or several, may have used the same id for several calls.
        """
        call_id = call_id[:LONGEST_TEXT]
        needle = call_id.encode(errors="replace")
        entries: list[Recorded] = []
        for raw in self._segments():
            entries += reversed([*self._matching(raw, needle, call_id)] if needle else [])
        return entries[::-1]

    def oldest_at(self) -> float | None:
        """Return the time of the oldest entry, or None if there is none. Raise RecordError as :meth:`newest`."""
        oldest = None
        for raw in self._segments():
            first = next(frames(raw), None)
            oldest = first.at if first is not None else oldest
        return oldest

    def _matching(self, raw: bytes, needle: bytes, call_id: str) -> Iterator[Recorded]:
        place = raw.find(needle, HEADER.size)
        while place >= 0:
            found = frame_around(raw, place)
            if found is not None:
                entry = self._entry(raw, found, (lambda body: body.call_id == call_id,))
                if entry is not None:
                    yield entry
            place = raw.find(needle, place + 1 if found is None else found.end)

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
                continue
            if form > FORMAT:
                raise RecordError(
                    f"{segment.path} is of format {form}; this program reads up to {FORMAT}. "
                    "Use a newer identengine."
                )
            yield raw

    def _entry(self, raw: bytes, found: Frame, conditions: Iterable[Callable[[Body], bool]]) -> Recorded | None:
        body = found.body(raw)
        try:
            if body is None:
                self.damaged += 1
                return None
            decoded = decode(body)
            return recorded(found.at, decoded) if all(holds(decoded) for holds in conditions) else None
        except msgspec.MsgspecError:
            self.damaged += 1
            return None


def _conditions(wanted: RecordFilter) -> list[Callable[[Body], bool]]:
    """Return the conditions of a filter except those on the time, the cheapest first."""
    conditions: list[Callable[[Body], bool]] = []
    if wanted.switch is not None:
        conditions.append(lambda body: body.switch == wanted.switch)
    if wanted.address is not None:
        conditions.append(_address_condition(wanted.address))
    if wanted.number is not None:
        conditions.append(_number_condition(wanted.number))
    if wanted.accepted is not None:
        conditions.append(lambda body: decision_of(body).accepted is wanted.accepted)
    if wanted.reason is not None:
        conditions.append(lambda body: decision_of(body).reason == wanted.reason)
    if wanted.client_id is not None:
        conditions.append(lambda body: decision_of(body).client_id == wanted.client_id)
    if wanted.account_id is not None:
        account_id = str(wanted.account_id)
        conditions.append(
            lambda body: account_id in (str(body.account_id), str(decision_of(body).account_id)),
        )
    return conditions


def _address_condition(text: str) -> Callable[[Body], bool]:
    network = ip_network(text.strip(), strict=False)
    seen: dict[str | None, bool] = {None: False, "": False}

    def holds(body: Body) -> bool:
        source = body.src_ip
        if source not in seen:
            try:
                address = ip_address(source.strip().strip("[]"))  # type: ignore[union-attr]  # None is in the dict
                address = getattr(address, "ipv4_mapped", None) or address
                seen[source] = address in network
            except ValueError:
                seen[source] = False
        return seen[source]

    return holds


def _number_condition(text: str) -> Callable[[Body], bool]:
    number = requested_number(text)
    hidden = masked_number(number)

    def holds(body: Body) -> bool:
        wanted = hidden if body.masked else number
        return _is_number(body.dst_number, wanted) or _is_number(body.src_number, wanted)

    return holds


def _is_number(asked: str | None, wanted: str) -> bool:
    try:
        return asked is not None and (asked == wanted or requested_number(asked) == wanted)
    except ValueError:
        return False
