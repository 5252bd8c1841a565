"""What a switch says of its calls after it asked: read, checked, put as the set of calls takes it (engine.md 5).

Wrong use is no reject: it comes back as :class:`BadParameter`, which an interface tells in its own way (-32602).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import msgspec

from identengine.calls.backend import LegSelector, LimitsNow, Refresh, Stop, SyncPart
from identengine.calls.legs import call_key, shortened
from identengine.calls.levels import (
    ClientLevels,
    Levels,
    Limit,
    account_counter,
    account_of,
    clients_of,
    limits_of,
)
from identengine.identify.index import AccountEntry, Book
from identengine.identify.query import DIRECTIONS, decimal
from identengine.model.records import CallList, CallRequest, Direction, Interface

MOST_PARTS = 100_000
"""Parts that one list may have."""
LONGEST_INTERVAL = 7 * 24 * 3600
"""Between two updates of a call, in seconds."""

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
    """A parameter that cannot be used; the message has no effect."""

    field: str
    """Name of the parameter (interfaces.md 3)."""
    value: str | None
    """Its value as text; None if it is missing."""
    expected: str
    """What a value has to be."""


class Asker(NamedTuple):
    """Who says it: the switch, and the scope that its call ids are of (engine.md 5.1)."""

    switch: str
    scope: str
    interface: Interface = "udp"
    """What it asked through."""


def levels_of(entry: AccountEntry, direction: Direction) -> Levels:
    """Return where a leg of an account counts, and the limits there."""
    if direction is _ORIGINATION:
        return entry.levels
    account = entry.account
    return Levels(
        account_counter(account.id, direction), account.term_capacity, None, entry.client_entry.terminating
    )


def levels_then(account: int, counters: tuple[int, ...], book: Book | None) -> Levels:
    """Return the levels at which a leg was taken, with the limits as they are now (engine.md 5.2).

    ``account`` and ``counters`` are the numbers of the account's counter and of its clients'.
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
    return Levels(levels.account, levels.capacity, levels.cps, client)


def carries_identity(request: CallRequest) -> bool:
    """Whether a message says whose call it is, should that not be known (engine.md 5.4)."""
    return any(getattr(request, field) not in (None, "") for field in _IDENTITY)


def stop(request: CallRequest, asker: Asker) -> Stop | BadParameter:
    """Return ``stop`` as the set of calls takes it."""
    selector = _selector(request.call_id, request.leg_id, request.direction, asker)
    return selector if type(selector) is BadParameter else Stop(selector)


def refresh(
    method: str,
    request: CallRequest,
    asker: Asker,
    identify: Callable[[], Levels | None] | None,
    levels: LimitsNow,
) -> Refresh | BadParameter:
    """Return ``start`` or ``update`` as the set of calls takes it."""
    selector = _selector(request.call_id, request.leg_id, request.direction, asker)
    if isinstance(selector, BadParameter):
        return selector
    try:
        interval = None if request.interval is None else decimal(request.interval, LONGEST_INTERVAL)
    except ValueError:
        return BadParameter("interval", str(request.interval), f"seconds from 1 to {LONGEST_INTERVAL}")
    return Refresh("update" if method == "update" else "start", selector, asker.switch, interval, identify, levels)


def sync_part(request: CallList, asker: Asker) -> SyncPart | BadParameter:
    """Return ``sync`` as the set of calls takes it."""
    list_id = (request.list_id or "").strip()
    if not list_id:
        return BadParameter("list_id", request.list_id, "a name for this list, another one for the next,")
    counts = []
    for field, value in (("part", request.part), ("parts", request.parts)):
        try:
            counts.append(1 if value is None else decimal(value, MOST_PARTS) or 1)
        except ValueError:
            return BadParameter(field, str(value), f"a whole number from 1 to {MOST_PARTS}")
    part, parts = counts
    if part > parts:
        return BadParameter("part", str(request.part), f"a whole number from 1 to parts, which is {parts}")
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
        return BadParameter(
            "calls", msgspec.json.encode(entry).decode("utf-8", "replace"), "[call_id, leg_id, direction] each"
        )
    return selector


def _selector(
    call_id: str | None, leg_id: str | None, direction: str | None, asker: Asker
) -> LegSelector | BadParameter:
    if not call_id or call_id.isspace():
        return BadParameter("call_id", call_id, "the id of a call")
    way = None
    if direction is not None and direction.strip():
        way = DIRECTIONS.get(direction.strip())
        if way is None:
            return BadParameter("direction", direction, "origination or termination")
    leg = shortened(leg_id) if leg_id and not leg_id.isspace() else None
    return LegSelector(call_key(asker.scope, call_id), way, leg)
