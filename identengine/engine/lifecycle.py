"""The methods of a call's life: parameters in, checked messages to the set of calls out (engine.md 5).

Rule: wrong use of a method is not a reject. It is a :class:`BadParameter`, which each interface reports in its own
form (-32602).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, final

import msgspec
from msgspec.structs import force_setattr

from identengine.calls.backend import LegSelector, LimitsNow, Refresh, Stop, SyncPart
from identengine.calls.legs import call_key, shortened
from identengine.calls.levels import (
    ClientLevels,
    Levels,
    Limit,
    account_of,
    clients_of,
    limits_of,
)
from identengine.engine.decisions import terminating
from identengine.errors import expected, one_of
from identengine.identify.index import AccountEntry, Book
from identengine.identify.query import DIRECTIONS, decimal
from identengine.model.records import CallList, CallRequest, Direction, Interface
from identengine.model.usual import LONGEST_INTERVAL

MOST_PARTS = 100_000
"""Largest number of parts of a list."""

_ORIGINATION = Direction.ORIGINATION
_IDENTITY = (
    "account_id",
    "src_ip",
    "src_port",
    "protocol",
    "gateway",
    "name",
    "digest",
    "src_number",
    "dst_number",
)


@final
class BadParameter(msgspec.Struct, frozen=True):
    """A parameter that cannot be used. Its message has no effect."""

    field: str
    """Name of the parameter (interfaces.md 3)."""
    value: str | None
    """Value of the parameter as text; None if it is missing."""
    message: str
    """The parameter, the expected value and the received value."""


class Asker(msgspec.Struct, frozen=True, gc=False):
    """The sender of a request: a switch, and the scope of its call ids (engine.md 5.1)."""

    switch: str
    scope: str
    interface: Interface = "udp"
    """The interface that the request came through."""
    calls: str = ""
    """The beginning of the keys of its calls."""

    def __post_init__(self) -> None:
        force_setattr(self, "calls", call_key(self.scope, ""))


def levels_of(entry: AccountEntry, direction: Direction) -> Levels:
    """Return the levels at which a leg of an account counts, with their limits."""
    return entry if direction is _ORIGINATION else terminating(entry)


def levels_then(account: int, counters: tuple[int, ...], book: Book | None) -> Levels:
    """Return the levels at which a leg was taken, with their current limits (engine.md 5.2).

    ``account`` is the number of the account's counter, ``counters`` are the numbers of its clients' counters.
    """
    account_id, direction = account_of(account)
    entry = book.accounts.get(account_id) if book else None
    if entry is not None and entry.client_entry.levels(direction).counters == counters:
        return levels_of(entry, direction)
    limits: list[Limit] = []
    for above, client_id in enumerate(clients_of(counters)):
        client_entry = book.clients.get(client_id) if book else None
        if client_entry is not None:
            limits += limits_of(client_entry.client, direction, above)
    client = ClientLevels(counters, tuple(limits))
    if entry is None:
        return Levels(account, None, None, client)
    levels = levels_of(entry, direction)
    return Levels(levels.counter, levels.capacity, levels.cps, client)


def carries_identity(request: CallRequest) -> bool:
    """Return True if a message has fields that can identify an unknown call (engine.md 5.4)."""
    return any(getattr(request, field) not in (None, "") for field in _IDENTITY)


def unusable(field: str, request: CallRequest) -> BadParameter:
    """Return the error of a field of ``authorize`` that cannot be used (engine.md 2.5)."""
    return _bad(field, getattr(request, field), USABLE[field])


def stop(request: CallRequest, asker: Asker) -> Stop | BadParameter:
    """Return ``stop`` as a message to the set of calls."""
    selector = _selector(request.call_id, request.leg_id, request.direction, asker)
    return selector if type(selector) is BadParameter else Stop(selector)


def refresh(
    method: str,
    request: CallRequest,
    asker: Asker,
    identify: Callable[[], Levels | None] | None,
    levels: LimitsNow,
    numbers: bytes | None = None,
) -> Refresh | BadParameter:
    """Return ``start`` or ``update`` as a message to the set of calls.

    ``identify`` returns the levels of an unknown call, and ``numbers`` are its numbers. Both are ``None`` if the
    message has no fields for that.
    """
    selector = _selector(request.call_id, request.leg_id, request.direction, asker)
    if isinstance(selector, BadParameter):
        return selector
    try:
        interval = None if request.interval is None else decimal(request.interval, LONGEST_INTERVAL)
    except ValueError:
        return _bad("interval", request.interval, f"a number of seconds from 1 to {LONGEST_INTERVAL}")
    kind: Literal["start", "update"] = "update" if method == "update" else "start"
    return Refresh(kind, selector, asker.switch, interval, identify, levels, numbers)


def sync_part(request: CallList, asker: Asker) -> SyncPart | BadParameter:
    """Return ``sync`` as a message to the set of calls."""
    list_id = (request.list_id or "").strip()
    if not list_id:
        return _bad("list_id", request.list_id, "an id that no other list has")
    counts = []
    for field, value in (("part", request.part), ("parts", request.parts)):
        try:
            counts.append(1 if value is None else decimal(value, MOST_PARTS) or 1)
        except ValueError:
            return _bad(field, value, f"an integer from 1 to {MOST_PARTS}")
    part, parts = counts
    if part > parts:
        return _bad("part", request.part, f"an integer from 1 to the value of parts ({parts})")
    calls: list[LegSelector] = []
    for entry in request.calls or ():
        selector = _entry(entry, asker)
        if isinstance(selector, BadParameter):
            return selector
        calls.append(selector)
    return SyncPart(asker.switch, shortened(list_id), part, parts, tuple(calls), bool(request.confirm_empty))


def _entry(entry: Sequence[str | None], asker: Asker) -> LegSelector | BadParameter:
    call_id, leg_id, direction = (*entry, None, None, None)[:3]
    selector = _selector(call_id, leg_id, direction, asker)
    if isinstance(selector, BadParameter) or len(entry) > 3:
        text = msgspec.json.encode(entry).decode("utf-8", "replace")
        return _bad("calls", list(entry), "entries [call_id, leg_id, direction]", text)
    return selector


def _selector(
    call_id: str | None, leg_id: str | None, direction: str | None, asker: Asker
) -> LegSelector | BadParameter:
    if not call_id or call_id.isspace():
        return _bad("call_id", call_id, "the id of a call")
    way = None
    if direction is not None and direction.strip():
        way = DIRECTIONS.get(direction.strip())
        if way is None:
            return _bad("direction", direction, USABLE["direction"])
    leg = shortened(leg_id) if leg_id and not leg_id.isspace() else None
    return LegSelector(call_key(asker.scope, call_id), way, leg)


USABLE = {
    "direction": one_of(Direction),
    "account_id": "a positive integer",
    "src_ip": "an IPv4 or IPv6 address without a port",
    "src_port": "an integer from 1 to 65535",
    "dst_number": "a telephone number",
}
"""The usable values of each field that can make a request unusable."""


def _bad(field: str, value: object, usable: str, text: str | None = None) -> BadParameter:
    """Return the error of a parameter. ``text`` is its value as text if that is not ``str(value)``."""
    if value is None:
        return BadParameter(field, None, f"{field}: {expected(usable)}")
    return BadParameter(field, str(value) if text is None else text, f"{field}: {expected(usable, value)}")
